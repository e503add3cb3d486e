/* Floats that hold integers, (channels, positions) -> 16-bit integers, channels last, and back; internal. Runtimes that
 * know float tensors alone give and take such. */
#ifndef DCN_FLOATS_H
#define DCN_FLOATS_H

#include <stddef.h>
#include <stdint.h>

enum { DCN_FLOATS = 64 }; /* positions that are turned together, which stay in the cache */

static inline int16_t dcn_symbol_of(float symbol)
{
    symbol = symbol > -32767.0f ? symbol : -32767.0f;
    return (int16_t)(symbol < 32767.0f ? symbol : 32767.0f);
}

/* A mean in units of 2^-exponent, rounded half up and clamped. `unit`: 2^exponent. */
static inline int16_t dcn_mean_units(float mean, float unit)
{
    float value = mean * unit + 0.5f;
    value = value > -32768.0f ? value : -32768.0f;
    value = value < 32767.0f ? value : 32767.0f;
    int32_t whole = (int32_t)value;
    return (int16_t)(whole - ((float)whole > value)); /* floor */
}

/* means (channels, positions) -> made (positions, channels) */
static inline void dcn_means_of(const float *means, size_t positions, int channels, const uint8_t *exponent,
                                int16_t *made)
{
    for (size_t first = 0; first < positions; first += DCN_FLOATS) {
        size_t end = first + DCN_FLOATS < positions ? first + DCN_FLOATS : positions;
        for (int c = 0; c < channels; c++) {
            float unit = (float)(1 << exponent[c]);
            const float *from = means + (size_t)c * positions;
            for (size_t at = first; at < end; at++)
                made[at * (size_t)channels + (size_t)c] = dcn_mean_units(from[at], unit);
        }
    }
}

/* values (positions, `position` apart) -> means (channels, positions) */
static inline void dcn_floats_of(const int16_t *values, size_t positions, int channels, int position,
                                 const uint8_t *exponent, float *means)
{
    for (size_t first = 0; first < positions; first += DCN_FLOATS) {
        size_t end = first + DCN_FLOATS < positions ? first + DCN_FLOATS : positions;
        for (int c = 0; c < channels; c++) {
            float unit = 1.0f / (float)(1 << exponent[c]);
            float *to = means + (size_t)c * positions;
            for (size_t at = first; at < end; at++)
                to[at] = (float)values[at * (size_t)position + (size_t)c] * unit;
        }
    }
}

#endif
