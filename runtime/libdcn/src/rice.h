/* Rows of integers as a model file has them: Rice codes (Rice and Plaunt 1971), docs/format/dcnm.md. */
#ifndef DCN_RICE_H
#define DCN_RICE_H

#include <stddef.h>
#include <stdint.h>

enum { DCN_RICE_MOST = 30, DCN_RICE_ESCAPE = 24 };

typedef struct {
    const uint8_t *bytes;
    size_t size, at; /* bytes; `at`: the next one */
    uint64_t bits;
    int count; /* of bits */
    int failed;
} dcn_rice;

/* The most values that the bits left can hold. */
static inline uint64_t dcn_rice_left(const dcn_rice *rice)
{
    return 8 * (uint64_t)(rice->size - rice->at) + (uint64_t)rice->count;
}

/* The next row of `count` values. Returns 0, or -1 where the bits end or one is not within `low`..`high`. */
int dcn_rice_row(dcn_rice *rice, size_t count, int64_t low, int64_t high, int64_t *out);

/* 1 where only zero bits are left, fewer than 8. */
int dcn_rice_at_end(const dcn_rice *rice);

#endif
