/* Entropy decoding by rANS, range asymmetric numeral systems (Duda 2013, arXiv:1311.2540): stream -> symbols
 * (docs/format/grid.md). Every scale index has its own table of integer counts.
 */
#ifndef DCN_RANS_H
#define DCN_RANS_H

#include <stddef.h>
#include <stdint.h>

enum { DCN_SCALES = 32, DCN_TOTAL_BITS = 24, DCN_LOOKUP_BITS = 8, DCN_LARGEST_SYMBOL = 32767, DCN_MOST_RUN = 1023 };

/* Faults of a stream. The comments name the numbers for the message. */
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

/* The state (64 bits) and the words (32 bits) that are left. Words are taken from the last to the first. */
typedef struct {
    uint64_t state;
    const uint8_t *bytes;
    size_t left; /* words */
} dcn_coder;

/* Symbol i has the quantiles from starts[i] to starts[i + 1] - 1. Lookup tables are indexed by the upper bits of a
 * quantile: `first` is the first symbol that can have it; `entries` has that symbol's start, and its count in the upper
 * half. */
typedef struct {
    uint32_t *starts;
    uint64_t *entries;
    uint16_t *first;
} dcn_alphabet;

/* For each scale index: the largest symbol that has a count, the longest run of zeros that has a count (0: no runs),
 * and the counts of symbols and of runs. */
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

/* Returns 0, or -1 without enough memory. */
int dcn_alphabet_make(dcn_alphabet *alphabet, const uint32_t *counts, size_t size);
void dcn_symbol_tables_free(dcn_symbol_tables *tables);

/* A coder at the beginning of a stream of `size` bytes, a multiple of 4. */
dcn_coder dcn_coder_of(const uint8_t *bytes, size_t size);
int dcn_coder_ended(const dcn_coder *coder);

/* Decodes the next part of a stream. `scales` (size) are the scale indices of its positions, each below DCN_SCALES.
 * `symbols` (size) must hold zeros and receives the symbols. */
dcn_stream_fault dcn_decode_part(const dcn_symbol_tables *tables, dcn_coder *coder, const uint8_t *scales, size_t size,
                                 int16_t *symbols, dcn_stream_result *result);

static inline dcn_stream_fault dcn_stream_refuse(dcn_stream_result *result, dcn_stream_fault fault, int64_t a,
                                                 int64_t b, int64_t c)
{
    *result = (dcn_stream_result){fault, {a, b, c}};
    return fault;
}

#endif
