/* See rice.h. */
#include "rice.h"

#include "nonzero.h"

/* At least `count` bits, at most 56, where there are so many; missing ones are 0. Bits beyond rice->count are those that
 * follow, or 0. */
static inline void fill(dcn_rice *rice, int count)
{
    if (rice->count >= count)
        return;
    if (rice->size - rice->at >= sizeof(uint64_t)) {
        const uint8_t *from = rice->bytes + rice->at; /* one load, whatever the order of bytes */
        uint64_t next = (uint64_t)from[0] | (uint64_t)from[1] << 8 | (uint64_t)from[2] << 16 | (uint64_t)from[3] << 24 |
                        (uint64_t)from[4] << 32 | (uint64_t)from[5] << 40 | (uint64_t)from[6] << 48 | (uint64_t)from[7] << 56;
        int bytes = (63 - rice->count) / 8;
        rice->bits |= next << rice->count;
        rice->at += (size_t)bytes;
        rice->count += 8 * bytes;
        return;
    }
    while (rice->count <= 56 && rice->at < rice->size) {
        rice->bits |= (uint64_t)rice->bytes[rice->at++] << rice->count;
        rice->count += 8;
    }
}

static inline uint32_t take(dcn_rice *rice, int count)
{
    fill(rice, count);
    if (rice->count < count) {
        rice->failed = 1;
        return 0;
    }
    uint32_t value = (uint32_t)(rice->bits & (((uint64_t)1 << count) - 1));
    rice->bits >>= count;
    rice->count -= count;
    return value;
}

/* Zeros before the next one, at most DCN_RICE_ESCAPE, which ends them by itself. */
static inline int zeros(dcn_rice *rice)
{
    fill(rice, DCN_RICE_ESCAPE + 1);
    int count = dcn_lowest((uint32_t)rice->bits | (uint32_t)1 << DCN_RICE_ESCAPE);
    int taken = count < DCN_RICE_ESCAPE ? count + 1 : count;
    if (taken > rice->count) {
        rice->failed = 1;
        return 0;
    }
    rice->bits >>= taken;
    rice->count -= taken;
    return count;
}

int dcn_rice_row(dcn_rice *rice, size_t count, int64_t low, int64_t high, int64_t *out)
{
    dcn_rice here = *rice; /* which stays in registers: `out` could be part of the other */
    int lower = (int)take(&here, 5);
    if (lower > DCN_RICE_MOST)
        here.failed = 1;
    for (size_t i = 0; i < count && !here.failed; i++) {
        int upper = zeros(&here);
        uint64_t folded = upper < DCN_RICE_ESCAPE ? (uint64_t)upper << lower | take(&here, lower) : take(&here, 32);
        int64_t value = (int64_t)(folded >> 1) ^ -(int64_t)(folded & 1);
        here.failed |= value < low || value > high;
        out[i] = value;
    }
    *rice = here;
    return here.failed ? -1 : 0;
}

int dcn_rice_at_end(const dcn_rice *rice)
{
    return !rice->failed && rice->at == rice->size && rice->count < 8 && !rice->bits;
}
