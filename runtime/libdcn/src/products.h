/* Products of float32 weights with planes of positions, for checkerboard means. Weights lie in panels of DCN_PANEL rows, (depth, DCN_PANEL) each. `columns`, a multiple of DCN_BLOCK, is the
 * step from one row of `in` and of `out` to the next. */
#ifndef DCN_PRODUCTS_H
#define DCN_PRODUCTS_H

#include <stddef.h>
#include <stdint.h>

enum { DCN_PANEL = 4, DCN_BLOCK = 32 };

/* How many panels hold so many rows. */
static inline int dcn_panels_of(int rows)
{
    return (rows + DCN_PANEL - 1) / DCN_PANEL;
}

/* As they are, or at least 0. */
void dcn_products_as_floats(float *restrict out, const float *bias, const float *restrict weight,
                            const float *restrict in, int depth, size_t columns, int panels, int rectified);

#endif
