/* What every set of kernels offers; internal. */
#ifndef DCN_KERNELS_H
#define DCN_KERNELS_H

#include "convolution.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define DCN_X86 1
#elif defined(__aarch64__) && defined(__GNUC__)
#define DCN_ARM64 1
#elif defined(__wasm_simd128__)
#define DCN_WASM128 1
#endif

/* `tile`: sums (rows, width) of as many positions as `rows` says for the width, without bias. `finish`: what
 * becomes of the sums of one position. `rows`: positions of a tile, for widths of 16, 32, 48 and 64.
 * `transform_inputs`, `transform_sums`: see winograd.h; sums wrap.
 * `pair`, `scales`, `hidden`: see planes.h. */
typedef struct {
    void (*tile)(const int16_t *const *rows, int side, int pairs, int inputs, const int16_t *weights, int width,
                 int32_t *sums);
    void (*finish)(const int32_t *sums, const int32_t *bias, const int32_t *shift, int count, dcn_epilogue epilogue,
                   void *output);
    int rows[4];
    int (*transform_inputs)(const int16_t *const *rows, int tiles, int channels, int16_t *columns, int16_t *inputs,
                            int step);
    void (*transform_sums)(const int32_t *sums, int step, int tiles, int width, int32_t *outputs, int row);
    void (*pair)(const int16_t *even, const int16_t *odd, int count, int16_t *to);
    void (*scales)(const int32_t *sums, int32_t bias, int count, uint8_t *to);
    void (*hidden)(const int32_t *sums, const int32_t *bias, int count, int32_t *most, int16_t *to);
} dcn_kernel_set;

const dcn_kernel_set *dcn_kernels_set(dcn_kernels kernels);

static inline int32_t dcn_clamped(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* `finish` without vectors, from column `n` on. */
DCN_INLINED void dcn_finish_from(int n, const int32_t *sums, const int32_t *bias, const int32_t *shift, int count,
                                 dcn_epilogue epilogue, void *output)
{
    int16_t *values = output;
    uint8_t *bytes = output;
    for (; n < count; n++) {
        int32_t value = (sums[n] + bias[n]) >> shift[n];
        if (epilogue == DCN_PIXELS) {
            bytes[n] = (uint8_t)dcn_clamped(value, 0, 255);
            continue;
        }
        value = dcn_clamped(value, epilogue == DCN_RELU ? 0 : INT16_MIN, INT16_MAX);
        if (epilogue == DCN_ADD)
            value = dcn_clamped(value + values[n], INT16_MIN, INT16_MAX);
        values[n] = (int16_t)value;
    }
}

/* Two rows, value by value in turn. `count`: 16 or 32, here and below. */
DCN_INLINED void dcn_pair(const int16_t *restrict even, const int16_t *restrict odd, int count, int16_t *restrict to)
{
    for (ptrdiff_t i = 0; i < (count & ~15); i++) {
        to[2 * i] = even[i];
        to[2 * i + 1] = odd[i];
    }
}

/* Sums of one row as scale indices. */
DCN_INLINED void dcn_scales(const int32_t *restrict sums, int32_t bias, int count, uint8_t *restrict to)
{
    for (ptrdiff_t i = 0; i < (count & ~15); i++)
        to[i] = (uint8_t)dcn_clamped((sums[i] + bias) >> 10, 0, 31);
}

/* Sums of two rows as hidden values, in turn; `most` (2) is raised to the largest of each. */
DCN_INLINED void dcn_hidden(const int32_t *restrict sums, const int32_t *restrict bias, int count,
                            int32_t *restrict most, int16_t *restrict to)
{
    int32_t largest[2] = {most[0], most[1]};
    for (ptrdiff_t i = 0; i < (count & ~15); i++) {
        int32_t even = dcn_clamped((sums[i] + bias[0]) >> 6, 0, 255);
        int32_t odd = dcn_clamped((sums[count + i] + bias[1]) >> 6, 0, 255);
        largest[0] = even > largest[0] ? even : largest[0];
        largest[1] = odd > largest[1] ? odd : largest[1];
        to[2 * i] = (int16_t)even;
        to[2 * i + 1] = (int16_t)odd;
    }
    most[0] = largest[0], most[1] = largest[1];
}

/* What compilers turn into vectors by themselves, once for each set. */
#define DCN_COMPILED(NAME, TARGET)                                                                                    \
    TARGET static void NAME##_transform_sums(const int32_t *sums, int step, int tiles, int width, int32_t *outputs,   \
                                             int row)                                                                 \
    {                                                                                                                 \
        dcn_transform_sums(sums, step, tiles, width, outputs, row);                                                   \
    }                                                                                                                 \
    TARGET static void NAME##_pair(const int16_t *even, const int16_t *odd, int count, int16_t *to)                   \
    {                                                                                                                 \
        dcn_pair(even, odd, count, to);                                                                               \
    }                                                                                                                 \
    TARGET static void NAME##_scales(const int32_t *sums, int32_t bias, int count, uint8_t *to)                       \
    {                                                                                                                 \
        dcn_scales(sums, bias, count, to);                                                                            \
    }                                                                                                                 \
    TARGET static void NAME##_hidden(const int32_t *sums, const int32_t *bias, int count, int32_t *most, int16_t *to) \
    {                                                                                                                 \
        dcn_hidden(sums, bias, count, most, to);                                                                      \
    }
#define DCN_INPUTS(NAME, TARGET)                                                                                      \
    TARGET static int NAME##_transform_inputs(const int16_t *const *rows, int tiles, int channels, int16_t *columns,  \
                                              int16_t *inputs, int step)                                              \
    {                                                                                                                 \
        return dcn_transform_inputs(rows, tiles, channels, columns, inputs, step);                                    \
    }
#define DCN_SET(NAME, ...)                                                                                            \
    {NAME##_tile,           NAME##_finish,     {__VA_ARGS__}, NAME##_transform_inputs, NAME##_transform_sums,         \
     NAME##_pair,            NAME##_scales,     NAME##_hidden}

#ifdef DCN_X86
extern const dcn_kernel_set DCN_AVX2_SET, DCN_AVX512_SET;
dcn_kernels dcn_x86_kernels(void); /* the fastest that this processor runs */
#endif
#ifdef DCN_ARM64
extern const dcn_kernel_set DCN_NEON_SET;
#endif
#ifdef DCN_WASM128
extern const dcn_kernel_set DCN_WASM_SET;
#endif

#endif
