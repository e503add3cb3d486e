/* Products of 16-bit weights with planes of 16-bit features, for scale indices and contexts. Planes are stored in
 * blocks of columns, as kernels read them: (blocks, pairs of features, width, 2). Weights are rows of an even depth, one
 * for each product. After the last row there must be room for DCN_TILE_ROWS more, which are read and not used. */
#ifndef DCN_PLANES_H
#define DCN_PLANES_H

#include <stddef.h>
#include <stdint.h>

#include "convolution.h"

enum { DCN_BLOCK = 32 }; /* numbers of columns are multiples of it */

typedef struct {
    int16_t *values;
    size_t block; /* elements of a block */
    int width;    /* columns of a block */
    void *memory;
} dcn_planes;

/* Allocates planes of zeros for this many features. Returns -1 without enough memory. */
int dcn_planes_make(dcn_planes *planes, dcn_kernels kernels, int features, size_t columns);
void dcn_planes_free(dcn_planes *planes);

/* Sets features 2 `pair` and 2 `pair` + 1 of all columns. */
void dcn_planes_set(const dcn_planes *planes, dcn_kernels kernels, int pair, const int16_t *even, const int16_t *odd,
                    size_t columns);

/* Copies `pairs` pairs of features of all columns, from pair `first` of `from` to pair `to_first` of `to`. */
void dcn_planes_copy(const dcn_planes *to, int to_first, const dcn_planes *from, int first, int pairs, size_t columns);

/* (bias + products) >> 10, clipped to scale indices: out (rows, columns). */
void dcn_planes_scales(dcn_kernels kernels, uint8_t *out, const int32_t *bias, const int16_t *weights, int depth,
                       int rows, const dcn_planes *in, size_t columns);

/* (bias + products) >> 6, clipped to hidden values: features of `out` from pair `first` on. `most` (rows) is raised to
 * the largest value. If the number of rows is odd, `weights` and `bias` have one more row, of zeros. */
void dcn_planes_hidden(dcn_kernels kernels, const dcn_planes *out, int first, int32_t *most, const int32_t *bias,
                       const int16_t *weights, int depth, int rows, const dcn_planes *in, size_t columns);

#endif
