/* 3x3 convolutions of two rows at a time with 16 products for 4 outputs instead of 36, in exact integers; internal.
 *
 * Winograd's F(2x2, 3x3) as Lavin & Gray (2016, arXiv 1509.09308) have it, scaled by 4 so that no fraction arises:
 *
 *     U = B^T x B   of 4x4 inputs,   W = (2G) w (2G)^T,   4 outputs = A^T (U W, summed over channels) A
 *
 * Inputs of -8192..8191 give U of 16 bits, and 4 times a sum then fits 32 bits, since a sum with inputs of 16 bits does.
 * So the result is exact, though products wrap on the way. Other inputs are left to the direct convolution.
 */
#ifndef DCN_WINOGRAD_H
#define DCN_WINOGRAD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    DCN_STRIP = 12,        /* 2x2 outputs whose inputs are transformed together, */
    DCN_STRIP_SLACK = 12,  /* and those that a kernel may read beyond them */
    DCN_MOST_TRANSFORMED = 64, /* input channels */
    DCN_MOST_SUMS = 400 /* of a tile; no power of two, so that 16 places fall into different cache sets */
};

/* Memory of one call. */
typedef struct {
    int32_t sums[16][DCN_MOST_SUMS];
    int32_t outputs[4 * DCN_MOST_SUMS];
    int16_t inputs[16 * (DCN_STRIP + DCN_STRIP_SLACK) * DCN_MOST_TRANSFORMED];
    int16_t columns[4 * (2 * DCN_STRIP + 2) * DCN_MOST_TRANSFORMED];
} dcn_scratch;

#ifdef __GNUC__
#define DCN_INLINED static inline __attribute__((always_inline))
#else
#define DCN_INLINED static inline
#endif

/* Eight values that are added at once; compilers make one vector of them on every processor that has such. */
#ifdef __GNUC__
typedef int16_t dcn_eight __attribute__((vector_size(16)));

DCN_INLINED dcn_eight dcn_load_eight(const int16_t *from)
{
    dcn_eight made;
    memcpy(&made, from, sizeof made);
    return made;
}

DCN_INLINED void dcn_store_eight(int16_t *to, dcn_eight values)
{
    memcpy(to, &values, sizeof values);
}
#endif

/* Four neighbours of one row of B^T x -> the four places of that row of U. */
DCN_INLINED void dcn_transform_columns(const int16_t *restrict from, int channels, int16_t *restrict to, int step)
{
    const int16_t *f1 = from + channels, *f2 = f1 + channels, *f3 = f2 + channels;
    int c = 0;
#ifdef __GNUC__
    for (; c + 8 <= channels; c += 8) {
        dcn_eight a = dcn_load_eight(from + c), b = dcn_load_eight(f1 + c);
        dcn_eight d = dcn_load_eight(f2 + c), e = dcn_load_eight(f3 + c);
        dcn_store_eight(to + c, a - d);
        dcn_store_eight(to + step + c, b + d);
        dcn_store_eight(to + 2 * step + c, d - b);
        dcn_store_eight(to + 3 * step + c, b - e);
    }
#endif
    for (; c < channels; c++) {
        to[c] = (int16_t)(from[c] - f2[c]);
        to[step + c] = (int16_t)(f1[c] + f2[c]);
        to[2 * step + c] = (int16_t)(f2[c] - f1[c]);
        to[3 * step + c] = (int16_t)(f1[c] - f3[c]);
    }
}

/* `rows`: four rows of inputs, from the left neighbour of the first output on; `columns`: (4, 2 tiles + 2, channels)
 * for what lies between; `inputs` (16, step) gets tiles x channels values of each place of U. Returns whether all
 * inputs are small enough. */
DCN_INLINED int dcn_transform_inputs(const int16_t *const *rows, int tiles, int channels, int16_t *restrict columns,
                                     int16_t *restrict inputs, int step)
{
    ptrdiff_t count = (2 * (ptrdiff_t)tiles + 2) * channels;
    const int16_t *restrict r0 = rows[0], *restrict r1 = rows[1], *restrict r2 = rows[2], *restrict r3 = rows[3];
    int16_t *restrict c0 = columns, *restrict c1 = c0 + count, *restrict c2 = c1 + count, *restrict c3 = c2 + count;
    uint16_t beyond = 0;
    for (ptrdiff_t n = 0; n < count; n++) {
        beyond |= (uint16_t)((uint16_t)(r0[n] + 8192) | (uint16_t)(r1[n] + 8192) | (uint16_t)(r2[n] + 8192) |
                             (uint16_t)(r3[n] + 8192));
        c0[n] = (int16_t)(r0[n] - r2[n]);
        c1[n] = (int16_t)(r1[n] + r2[n]);
        c2[n] = (int16_t)(r2[n] - r1[n]);
        c3[n] = (int16_t)(r1[n] - r3[n]);
    }
    if (beyond & 0xC000)
        return 0;
    for (int i = 0; i < 4; i++, inputs += 4 * step)
        for (int t = 0; t < tiles; t++)
            dcn_transform_columns(columns + i * count + 2 * t * channels, channels, inputs + t * channels, step);
    return 1;
}

/* Sums (16, step) of `tiles` x `width` outputs -> outputs (2 rows, 2 `tiles`, width); rows are `row` apart. */
DCN_INLINED void dcn_transform_sums(const int32_t *restrict sums, ptrdiff_t step, int tiles, ptrdiff_t width,
                                    int32_t *restrict outputs, ptrdiff_t row)
{
    for (int t = 0; t < tiles; t++, sums += width, outputs += 2 * width) {
        int32_t *restrict upper = outputs, *restrict lower = outputs + row;
        for (ptrdiff_t n = 0; n < width; n++) {
            uint32_t a[4], b[4];
            for (ptrdiff_t j = 0; j < 4; j++) {
                uint32_t m0 = (uint32_t)sums[j * step + n], m1 = (uint32_t)sums[(4 + j) * step + n];
                uint32_t m2 = (uint32_t)sums[(8 + j) * step + n], m3 = (uint32_t)sums[(12 + j) * step + n];
                a[j] = m0 + m1 + m2;
                b[j] = m1 - m2 - m3;
            }
            upper[n] = (int32_t)(a[0] + a[1] + a[2]) >> 2;
            upper[width + n] = (int32_t)(a[1] - a[2] - a[3]) >> 2;
            lower[n] = (int32_t)(b[0] + b[1] + b[2]) >> 2;
            lower[width + n] = (int32_t)(b[1] - b[2] - b[3]) >> 2;
        }
    }
}

#endif
