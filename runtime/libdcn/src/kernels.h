/* What every set of kernels offers; internal. */
#ifndef DCN_KERNELS_H
#define DCN_KERNELS_H

#include "convolution.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define DCN_X86 1
#endif

/* The positions that a tile may read beyond those that are stored. */
enum { DCN_TILE_ROWS = 12 };

/* `tile`: sums (rows, width) of as many positions as `rows` says for the width, without bias. `finish`: what
 * becomes of the sums of one position. `rows`: positions of a tile, for widths of 16, 32, 48 and 64. */
typedef struct {
    void (*tile)(const int16_t *const *rows, int side, int pairs, int inputs, const int16_t *weights, int width,
                 int32_t *sums);
    void (*finish)(const int32_t *sums, const int32_t *bias, const int32_t *shift, int count, dcn_epilogue epilogue,
                   void *output);
    int rows[4];
} dcn_kernel_set;

#ifdef DCN_X86
extern const dcn_kernel_set DCN_AVX2_SET, DCN_AVX512_SET;
#endif

#endif
