/* See products.h. */
#include "products.h"

#include "wide.h"

/* bias (DCN_PANEL) + the sum over k of weight[k][row] * in[k][column], for a block of columns. */
INLINED void product(float sums[DCN_PANEL][DCN_BLOCK], const float *bias, const float *restrict weight,
                     const float *restrict in, int depth, size_t columns)
{
    for (int r = 0; r < DCN_PANEL; r++)
        for (int i = 0; i < DCN_BLOCK; i++)
            sums[r][i] = bias[r];
    for (size_t k = 0; k < (size_t)depth; k++)
        for (size_t r = 0; r < DCN_PANEL; r++)
            for (size_t i = 0; i < DCN_BLOCK; i++)
                sums[r][i] += weight[k * DCN_PANEL + r] * in[k * columns + i];
}

WIDE void dcn_products_as_floats(float *restrict out, const float *bias, const float *restrict weight,
                                 const float *restrict in, int depth, size_t columns, int panels, int rectified)
{
    float least = rectified ? 0 : -3.4e38f;
    for (size_t x = 0; x < columns; x += DCN_BLOCK)
        for (size_t panel = 0; panel < (size_t)panels; panel++) {
            float sums[DCN_PANEL][DCN_BLOCK];
            product(sums, bias + panel * DCN_PANEL, weight + panel * (size_t)depth * DCN_PANEL, in + x, depth, columns);
            for (size_t r = 0; r < DCN_PANEL; r++)
                for (size_t i = 0; i < DCN_BLOCK; i++)
                    out[(panel * DCN_PANEL + r) * columns + x + i] = sums[r][i] > least ? sums[r][i] : least;
        }
}
