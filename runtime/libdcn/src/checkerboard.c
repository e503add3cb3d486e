/* See checkerboard.h. decant.codec.entropy.checkerboard is the same in numpy. */
#include "checkerboard.h"

#include <string.h>

#include "memory.h"
#include "products.h"

/* Gathers the residuals of the neighbours of every non-anchor position: planes (4 * channels, padded). */
static void neighbours(const dcn_checkerboard *network, const int16_t *symbols, const float *step, int rows,
                       int columns, size_t padded, float *planes)
{
    static const int beside[4][2] = {{0, -1}, {0, 1}, {-1, 0}, {1, 0}};
    for (int c = 0; c < network->channels; c++) {
        const int16_t *from = symbols + (size_t)c * (size_t)rows * (size_t)columns;
        for (int n = 0; n < 4; n++) {
            float *to = planes + (size_t)(n * network->channels + c) * padded;
            for (int y = 0; y < rows; y++)
                for (int x = 1 - y % 2; x < columns; x += 2) {
                    int ny = y + beside[n][0], nx = x + beside[n][1];
                    int inside = ny >= 0 && nx >= 0 && ny < rows && nx < columns;
                    *to++ = inside ? (float)from[(size_t)ny * (size_t)columns + (size_t)nx] * step[c] : 0;
                }
        }
    }
}

/* Arranges weights (rows, depth) as panels, with their bias. */
static void panels_from(const float *weight, const float *bias, int rows, size_t depth, float *panels, float *padded)
{
    for (int row = 0; row < dcn_panels_of(rows) * DCN_PANEL; row++) {
        float *panel = panels + (size_t)(row / DCN_PANEL) * depth * DCN_PANEL + row % DCN_PANEL;
        padded[row] = row < rows ? bias[row] : 0;
        for (size_t k = 0; k < depth; k++)
            panel[k * DCN_PANEL] = row < rows ? weight[(size_t)row * depth + k] : 0;
    }
}

int dcn_checkerboard_add(const dcn_checkerboard *network, const int16_t *symbols, const float *step, int rows,
                         int columns, float *added)
{
    int channels = network->channels, width = network->width;
    size_t area = (size_t)rows * (size_t)columns, depth = 4 * (size_t)channels;
    size_t padded = (area / 2 + DCN_BLOCK) / DCN_BLOCK * DCN_BLOCK;
    size_t wide = (size_t)dcn_panels_of(width) * DCN_PANEL, most = (size_t)dcn_panels_of(channels) * DCN_PANEL;
    size_t deepest = depth > (size_t)width ? depth : (size_t)width, rows_most = wide > most ? wide : most;
    float *planes = dcn_allocate_zeroed((depth + most) * padded, sizeof(float));
    float *hidden = dcn_allocate(wide * padded, sizeof(float));
    float *panels = dcn_allocate(rows_most * (deepest + 1), sizeof(float));
    int made = planes && hidden && panels;
    if (made) {
        float *bias = panels + rows_most * deepest, *out = planes + depth * padded;
        neighbours(network, symbols, step, rows, columns, padded, planes);
        panels_from(network->hidden_weight, network->hidden_bias, width, depth, panels, bias);
        dcn_products_as_floats(hidden, bias, panels, planes, (int)depth, padded, dcn_panels_of(width), 1);
        panels_from(network->out_weight, network->out_bias, channels, (size_t)width, panels, bias);
        dcn_products_as_floats(out, bias, panels, hidden, width, padded, dcn_panels_of(channels), 0);
        for (size_t c = 0; c < (size_t)channels; c++) {
            const float *from = out + c * padded;
            for (int y = 0; y < rows; y++)
                for (int x = 1 - y % 2; x < columns; x += 2)
                    added[c * area + (size_t)y * (size_t)columns + (size_t)x] = *from++;
        }
    }
    dcn_release(planes), dcn_release(hidden), dcn_release(panels);
    return made ? 0 : -1;
}
