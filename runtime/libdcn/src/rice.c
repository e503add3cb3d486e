/* See rice.h. */
#include "rice.h"

/* At least `count` bits, at most 32, where there are so many; missing ones are 0. */
static void fill(dcn_rice *rice, int count)
{
    while (rice->count < count && rice->at < rice->size) {
        rice->bits |= (uint64_t)rice->bytes[rice->at++] << rice->count;
        rice->count += 8;
    }
}

static uint32_t take(dcn_rice *rice, int count)
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
static int zeros(dcn_rice *rice)
{
    int count = 0;
    fill(rice, DCN_RICE_ESCAPE + 1);
    while (count < DCN_RICE_ESCAPE && count < rice->count && !(rice->bits >> count & 1))
        count++;
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
    int lower = (int)take(rice, 5);
    if (lower > DCN_RICE_MOST)
        rice->failed = 1;
    for (size_t i = 0; i < count && !rice->failed; i++) {
        int upper = zeros(rice);
        uint64_t folded = upper < DCN_RICE_ESCAPE ? (uint64_t)upper << lower | take(rice, lower) : take(rice, 32);
        int64_t value = folded & 1 ? -(int64_t)(folded >> 1) - 1 : (int64_t)(folded >> 1);
        rice->failed |= value < low || value > high;
        out[i] = value;
    }
    return rice->failed ? -1 : 0;
}

int dcn_rice_at_end(const dcn_rice *rice)
{
    return !rice->failed && rice->at == rice->size && rice->count < 8 && !rice->bits;
}
