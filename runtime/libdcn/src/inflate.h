/* Raw deflate (RFC 1951), read piece by piece in constant memory. */
#ifndef DCN_INFLATE_H
#define DCN_INFLATE_H

#include <stddef.h>
#include <stdint.h>

enum { DCN_WINDOW = 1 << 15, DCN_MOST_LENGTH_BITS = 15 };

/* A Huffman code: how many symbols have each length, and the symbols in order of their codes. */
typedef struct {
    uint16_t count[DCN_MOST_LENGTH_BITS + 1], symbol[288];
} dcn_huffman;

typedef struct {
    const uint8_t *bytes;
    size_t size, at;
    uint32_t bits;
    int bit_count;
    int in_block, last, stored, ended, failed;
    uint32_t left;           /* of a stored block */
    uint32_t match, distance; /* of a copy under way */
    uint32_t position;
    uint64_t written;
    dcn_huffman lengths, distances;
    uint8_t window[DCN_WINDOW];
} dcn_inflate;

void dcn_inflate_begin(dcn_inflate *inflate, const uint8_t *bytes, size_t size);

/* Fills `out`; returns 0, or -1 where the stream is damaged or ends before. */
int dcn_inflate_read(dcn_inflate *inflate, uint8_t *out, size_t count);

/* 1 where the stream ends here, and with it the bytes it lies in. */
int dcn_inflate_at_end(dcn_inflate *inflate);

#endif
