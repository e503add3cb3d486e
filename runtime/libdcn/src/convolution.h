/* Convolutions of 16-bit activations with 16-bit weights, in exact integers (docs/synthesis.md).
 *
 * Activations are channel-last: the channels of one position lie together. A convolution has 1x1 or 3x3 taps and
 * stride 1. For every output channel
 *
 *     sum    = bias + products of 16-bit activations and weights               (int32, cannot overflow: checked)
 *     value  = (sum + 2^(shift - 1)) >> shift                                  (arithmetic shift)
 *
 * and the value is clamped to 16 bits, or to 0..255 for pixels. Every implementation gives the same integers.
 */
#ifndef DCN_CONVOLUTION_H
#define DCN_CONVOLUTION_H

#include <stddef.h>
#include <stdint.h>

#include "winograd.h"

enum { DCN_MOST_BLOCKS = 64, DCN_MOST_SHIFT = 30 };
enum { DCN_TILE_ROWS = 12 }; /* positions that a kernel may read beyond those that are stored */

/* What happens to the values of one row of positions. */
typedef enum {
    DCN_STORE, /* int16 values are written */
    DCN_RELU,  /* negative values become 0 first */
    DCN_ADD,   /* values are added to those at the place, clamped again (a residual connection) */
    DCN_PIXELS /* values are clamped to 0..255 and written as bytes */
} dcn_epilogue;

/* Output channels that one call of a kernel computes: `count` channels from `first` on, stored as `width`
 * columns (padded with zeros); they go to row `segment` of the output, `at` elements after its position. */
typedef struct {
    int first, count, width, segment, at;
    size_t weights; /* offset of its packed weights */
    size_t transformed; /* of those that winograd.h transformed */
} dcn_block;

/* A convolution with its weights packed for this processor. */
typedef struct {
    int inputs;    /* channels, even */
    int outputs;   /* channels */
    int side;      /* 1 or 3 taps */
    int segment;   /* output channels that lie together: `outputs`, or those of one row after DepthToSpace */
    int blocks;
    dcn_block block[DCN_MOST_BLOCKS];
    int16_t *weights; /* packed: block, pair of inputs, column, 2 */
    int16_t *transformed; /* packed alike, 16 places one after the other; NULL where winograd.h does not apply */
    int32_t *bias;    /* with the rounding term, padded */
    int32_t *shift;   /* padded */
    void *memory;
} dcn_convolution;

typedef enum { DCN_PORTABLE, DCN_AVX2, DCN_AVX512, DCN_NEON, DCN_WASM } dcn_kernels;

/* The fastest kernels that this processor runs; DCN_KERNELS (portable, avx2) in the environment may name
 * slower ones. */
dcn_kernels dcn_best_kernels(void);
const char *dcn_kernels_name(dcn_kernels kernels);

/* Prepares weights (outputs, side, side, inputs), bias and shift (outputs) for `kernels`. Returns 0, or -1 where a
 * value is out of range or memory is short. */
int dcn_convolution_make(dcn_convolution *made, dcn_kernels kernels, int inputs, int outputs, int side, int segment,
                         const int16_t *weights, const int32_t *bias, const uint8_t *shift);
void dcn_convolution_free(dcn_convolution *convolution);

/* Applies it to `count` neighbouring positions of a row. `rows`: the `side` input rows, each pointing to the first
 * tap of the first position (one position to its left for 3x3). Output channels of segment s go to
 * outputs[s] + position * stride. */
void dcn_convolution_row(const dcn_convolution *convolution, dcn_kernels kernels, const int16_t *const *rows,
                         int count, dcn_epilogue epilogue, void *const *outputs, int stride);

/* The same for two neighbouring rows: `rows` has `side` + 1 input rows, `outputs` the places of the upper row's
 * segments and then those of the lower one's. 3x3 convolutions of small enough inputs take fewer products. */
void dcn_convolution_pair(const dcn_convolution *convolution, dcn_kernels kernels, const int16_t *const *rows,
                          int count, dcn_epilogue epilogue, void *const *outputs, int stride, dcn_scratch *scratch);

#endif
