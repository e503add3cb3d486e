/* Range asymmetric numeral systems (Duda 2013, arXiv 1311.2540): the symbols of a stream (docs/format.md, layout
 * `grid`). Every scale index has its own table of integer counts.
 */
#ifndef DCN_RANS_H
#define DCN_RANS_H

#include <stddef.h>
#include <stdint.h>

enum { DCN_SCALES = 32, DCN_TOTAL_BITS = 24, DCN_LOOKUP_BITS = 8, DCN_LARGEST_SYMBOL = 32767, DCN_MOST_RUN = 1023 };

/* What is wrong with a stream, with up to three numbers for the message. */
typedef enum {
    DCN_STREAM_GOOD,
    DCN_STREAM_TOO_MANY,  /* nonzero symbols, scale index, symbols of it */
    DCN_STREAM_TOO_LARGE, /* size of a symbol */
    DCN_STREAM_TOO_FAR,   /* scale index, symbols that runs reach, symbols of it */
    DCN_STREAM_NOT_ENDED,
    DCN_STREAM_NO_MEMORY
} dcn_stream_fault;

typedef struct {
    dcn_stream_fault fault;
    int64_t numbers[3];
} dcn_stream_result;

/* A stack of 32-bit words, the last on top, under a state of 64 bits. */
typedef struct {
    uint64_t state;
    const uint8_t *bytes;
    size_t left; /* words */
} dcn_coder;

/* Symbol i has the quantiles from starts[i] to before starts[i + 1]. For the upper bits of a quantile, `first` is the
 * first symbol that can have it, and `entries` its start with its count in the upper half. */
typedef struct {
    uint32_t *starts;
    uint64_t *entries;
    uint16_t *first;
} dcn_alphabet;

/* Of each scale index: the largest symbol with a count of its own, the longest such run of zeros (0: no runs), and
 * the counts of symbols and of runs. */
typedef struct {
    uint8_t radius[DCN_SCALES];
    uint16_t runs[DCN_SCALES];
    dcn_alphabet symbols[DCN_SCALES], zeros[DCN_SCALES];
} dcn_symbol_tables;

/* Sizes of the alphabets of `tables`, whose radius and runs are set: symbols, then runs. */
size_t dcn_symbols_of(const dcn_symbol_tables *tables, int scale);
size_t dcn_run_symbols_of(const dcn_symbol_tables *tables, int scale);

/* 1 where `counts` add up to 2^24, each at least 1. */
int dcn_counts_are_whole(const uint32_t *counts, size_t size);

/* 0, or -1 where memory is short. */
int dcn_alphabet_make(dcn_alphabet *alphabet, const uint32_t *counts, size_t size);
void dcn_symbol_tables_free(dcn_symbol_tables *tables);

/* A coder at the begin of a stream of `size` bytes, a multiple of 4. */
dcn_coder dcn_coder_of(const uint8_t *bytes, size_t size);
int dcn_coder_ended(const dcn_coder *coder);

/* The next part of a stream: `symbols` (size), which holds zeros, gets those of the positions with these `scales`,
 * each below DCN_SCALES. */
dcn_stream_fault dcn_decode_part(const dcn_symbol_tables *tables, dcn_coder *coder, const uint8_t *scales, size_t size,
                                 int16_t *symbols, dcn_stream_result *result);

static inline dcn_stream_fault dcn_stream_refuse(dcn_stream_result *result, dcn_stream_fault fault, int64_t a,
                                                 int64_t b, int64_t c)
{
    *result = (dcn_stream_result){fault, {a, b, c}};
    return fault;
}

#endif
