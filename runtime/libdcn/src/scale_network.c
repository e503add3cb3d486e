/* The scale network (Ballé et al. 2018, arXiv:1802.01436): hyperlatents around a tile -> hidden values.
 * decant.codec.entropy.scale_network is the same in numpy. */
#include "memory.h"
#include "tile_work.h"
#include "wide.h"

WIDE static void add_scaled_wide(int64_t *restrict sums, const int32_t *restrict weight, int32_t value, int count)
{
    for (int i = 0; i < count; i++)
        sums[i] += (int64_t)weight[i] * value;
}

/* Writes the hidden values (PLACES * class_width) of hyperlatent y, x of the tile to the planes. */
static void keep_hidden(dcn_tile_work *work, int y, int x, const int16_t *values, int16_t *planes)
{
    size_t at = (size_t)(2 * y) * (size_t)work->width + (size_t)(2 * x);
    for (int c = 0; c < work->model->class_width; c++, values += DCN_PLACES) {
        int16_t *to = planes + (size_t)c * work->padded + at;
        for (int i = 0; i < DCN_PLACES; i++) {
            int16_t value = values[i] < DCN_HIDDEN_MAX ? values[i] : DCN_HIDDEN_MAX;
            to[(size_t)(i / 2) * (size_t)work->width + (size_t)(i % 2)] = value;
            work->reach[c] = value > work->reach[c] ? value : work->reach[c];
        }
    }
}

/* Hidden values in 64-bit sums: for sums that may exceed 32 bits, or inputs that exceed 16. */
static int sum_hidden(dcn_tile_work *work, const dcn_tile *tile, int16_t *planes)
{
    const dcn_entropy_model *model = work->model;
    int hidden = DCN_PLACES * model->class_width;
    size_t rows = (size_t)tile->hyper_rows, columns = (size_t)tile->hyper_columns;
    int64_t *sums = dcn_allocate((size_t)hidden, sizeof *sums);
    int16_t *values = dcn_allocate((size_t)hidden, sizeof *values);
    for (int y = 0; sums && values && y < work->height / 2; y++)
        for (int x = 0; x < work->width / 2; x++) {
            for (int o = 0; o < hidden; o++)
                sums[o] = model->hyper_bias[o];
            for (int k = 0; k < model->hyper; k++)
                for (int t = 0; t < 9; t++) {
                    int from_y = tile->top + y + t / 3 - 1, from_x = tile->left + x + t % 3 - 1;
                    if (from_y < 0 || from_x < 0 || from_y >= tile->hyper_rows || from_x >= tile->hyper_columns)
                        continue;
                    int32_t value = tile->v[((size_t)k * rows + (size_t)from_y) * columns + (size_t)from_x];
                    if (value)
                        add_scaled_wide(sums, model->hyper_weight + (size_t)(9 * k + t) * (size_t)hidden, value, hidden);
                }
            for (int o = 0; o < hidden; o++)
                values[o] = sums[o] < 0 ? 0 : sums[o] >> 6 < DCN_HIDDEN_MAX ? (int16_t)(sums[o] >> 6) : DCN_HIDDEN_MAX;
            keep_hidden(work, y, x, values, planes);
        }
    int made = sums && values;
    dcn_release(sums), dcn_release(values);
    return made ? 0 : -1;
}

/* Copies the hyperlatents of the tile and one around it, channels last, with 0 outside the picture. Returns whether
 * all fit into 16 bits. */
static int hyper_rows(const dcn_tile_work *work, const dcn_tile *tile, int16_t *to, size_t row)
{
    size_t inputs = (size_t)work->model->hyper_layer.inputs, plane = (size_t)tile->hyper_rows * (size_t)tile->hyper_columns;
    int beyond = 0;
    for (int y = -1; y <= work->height / 2; y++)
        for (int x = -1; x <= work->width / 2; x++) {
            int from_y = tile->top + y, from_x = tile->left + x;
            if (from_y < 0 || from_x < 0 || from_y >= tile->hyper_rows || from_x >= tile->hyper_columns)
                continue;
            const int32_t *from = tile->v + (size_t)from_y * (size_t)tile->hyper_columns + (size_t)from_x;
            int16_t *at = to + (size_t)(y + 1) * row + (size_t)(x + 1) * inputs;
            for (int k = 0; k < work->model->hyper; k++) {
                int32_t value = from[(size_t)k * plane];
                beyond |= value != (int16_t)value;
                at[k] = (int16_t)value;
            }
        }
    return !beyond;
}

/* Hidden values by a 16-bit convolution. Returns 1 if that cannot be exact, -1 without enough memory. */
static int convolve_hidden(dcn_tile_work *work, const dcn_tile *tile, int16_t *planes)
{
    const dcn_convolution *layer = &work->model->hyper_layer;
    int h = work->height / 2, w = work->width / 2;
    if (!layer->outputs)
        return 1;
    size_t row = (size_t)(w + 2 + DCN_TILE_ROWS) * (size_t)layer->inputs, outputs = (size_t)layer->outputs;
    int16_t *given = dcn_allocate_zeroed((size_t)(h + 2) * row, sizeof *given);
    int16_t *values = dcn_allocate((size_t)w * outputs, sizeof *values);
    int status = given && values ? !hyper_rows(work, tile, given, row) : -1;
    for (int y = 0; !status && y < h; y++) {
        const int16_t *rows[3] = {given + (size_t)y * row, given + (size_t)(y + 1) * row, given + (size_t)(y + 2) * row};
        void *to = values;
        dcn_convolution_row(layer, work->model->kernels, rows, w, DCN_RELU, &to, layer->outputs);
        for (int x = 0; x < w; x++)
            keep_hidden(work, y, x, values + (size_t)x * outputs, planes);
    }
    dcn_release(given), dcn_release(values);
    return status;
}

/* See tile_work.h. */
int dcn_add_hyper(dcn_tile_work *work, const dcn_tile *tile)
{
    const dcn_entropy_model *model = work->model;
    int pairs = dcn_even(model->class_width) / 2;
    int16_t *planes = dcn_allocate_zeroed(2 * (size_t)pairs * work->padded, sizeof *planes);
    int status = planes ? convolve_hidden(work, tile, planes) : -1;
    if (status > 0)
        status = sum_hidden(work, tile, planes);
    for (int i = 0; !status && i < pairs; i++)
        dcn_planes_set(&work->inputs[0], model->kernels, i, planes + (size_t)(2 * i) * work->padded,
                       planes + (size_t)(2 * i + 1) * work->padded, work->padded);
    for (int p = 1; !status && p < DCN_PLACES; p++)
        dcn_planes_copy(&work->inputs[p], 0, &work->inputs[0], 0, pairs, work->padded);
    dcn_release(planes);
    return status;
}
