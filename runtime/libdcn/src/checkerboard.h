/* The checkerboard mean context (He et al. 2021, arXiv:2103.15306) in float32: anchor symbols correct the means of
 * non-anchor positions. It is for runtimes with float means; the integer synthesis has its own (synthesis.h). */
#ifndef DCN_CHECKERBOARD_H
#define DCN_CHECKERBOARD_H

#include <stddef.h>
#include <stdint.h>

/* One channel group: hidden_weight (width, 4 * channels), hidden_bias (width), out_weight (channels, width),
 * out_bias (channels). */
typedef struct {
    int channels, width;
    const float *hidden_weight, *hidden_bias, *out_weight, *out_bias;
} dcn_checkerboard;

/* symbols (channels, rows, columns) and their step (channels) -> corrections `added` (channels, rows, columns), which
 * must hold zeros before. Returns -1 without enough memory. */
int dcn_checkerboard_add(const dcn_checkerboard *network, const int16_t *symbols, const float *step, int rows,
                         int columns, float *added);

#endif
