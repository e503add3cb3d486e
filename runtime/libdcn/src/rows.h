/* Rows of one channel, floats that hold integers, to channel-last integers and back; internal. Inlined into every set of
 * kernels, which gives each its own vectors. */
#ifndef DCN_ROWS_H
#define DCN_ROWS_H

#include "synthesis.h"

enum { DCN_STRIPE = 32 }; /* channels that are converted together */

static inline int32_t dcn_saturated(int32_t value)
{
    return value < INT16_MIN ? INT16_MIN : value > INT16_MAX ? INT16_MAX : value;
}

/* The largest symbol whose product with `step` stays in 32 bits. */
static inline float dcn_most_symbol(int32_t step)
{
    return step > 1 << 15 ? (float)((1 << 30) / step) : 32767.0f;
}

static inline int32_t dcn_residual(float symbol, int32_t step, float most)
{
    symbol = symbol > -most ? symbol : -most;
    symbol = symbol < most ? symbol : most;
    return dcn_saturated(((int32_t)symbol * step + (1 << (DCN_STEP_BITS - 1))) >> DCN_STEP_BITS);
}

/* A mean in units of 2^-exponent, rounded half up. */
static inline int32_t dcn_mean_units(float mean, float unit)
{
    float value = mean * unit + 0.5f;
    value = value > -32768.0f ? value : -32768.0f;
    value = value < 32767.0f ? value : 32767.0f;
    int32_t whole = (int32_t)value;
    return whole - ((float)whole > value); /* floor */
}

/* One row of one channel: symbol x step, and with the mean added. All fit in 16 bits, by clamping. */
DCN_INLINED void dcn_latents_of_row(const float *restrict symbols, const float *restrict mean, int32_t step, float unit,
                                    int count, int16_t *restrict residuals, int16_t *restrict latents)
{
    float most = dcn_most_symbol(step);
    for (int x = 0; x < count; x++) {
        int32_t value = dcn_residual(symbols[x], step, most);
        residuals[x] = (int16_t)value;
        latents[x] = (int16_t)dcn_saturated(value + dcn_mean_units(mean[x], unit));
    }
}

/* Rows of `channels` channels, each `count` long and `stride` apart -> channel-last positions of `size` channels. */
DCN_INLINED void dcn_interleave(const int16_t *restrict rows, int channels, int stride, int count, int16_t *restrict to,
                                int size)
{
    if (channels == DCN_STRIPE) {
        for (int x = 0; x < count; x++)
            for (int c = 0; c < DCN_STRIPE; c++)
                to[(size_t)x * (size_t)size + (size_t)c] = rows[c * stride + x];
        return;
    }
    for (int c = 0; c < channels; c++)
        for (int x = 0; x < count; x++)
            to[(size_t)x * (size_t)size + (size_t)c] = rows[c * stride + x];
}

DCN_INLINED void dcn_floats_of(const int16_t *restrict values, int count, int channels, float unit, float *restrict to)
{
    for (int x = 0; x < count; x++)
        to[x] = (float)values[(size_t)x * (size_t)channels] * unit;
}

#endif
