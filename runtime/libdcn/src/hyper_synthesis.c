/* The hyper synthesis: hyperlatents become means, and symbols of anchors add to them. See synthesis.h. */
#include <string.h>

#include "fixed_point.h"
#include "floats.h"
#include "kernels.h"
#include "memory.h"
#include "nonzero.h"
#include "synthesis.h"
#include "threads.h"

struct dcn_mean {
    dcn_kernels kernels;
    int latents, hyper, width[2], halves, halved;
    dcn_convolution layer[3], near[DCN_MOST_HALVES][2];
    uint8_t exponent[DCN_MOST_CHANNELS];
};

dcn_status dcn_mean_new(const dcn_layer layers[3], const dcn_layer (*near)[2], int halves, const uint8_t *exponent,
                        dcn_mean **made)
{
    *made = NULL;
    int halved = 0;
    if (halves < 0 || halves > DCN_MOST_HALVES)
        return DCN_BAD_MODEL;
    for (int i = 0; i < halves; i++) {
        const dcn_layer *hidden = &near[i][0], *out = &near[i][1];
        if (hidden->side != 1 || out->side != 1 || hidden->outputs != out->inputs ||
            hidden->inputs != 4 * out->outputs || out->outputs > layers[2].outputs - halved)
            return DCN_BAD_MODEL;
        halved += out->outputs;
    }
    for (int i = 0; i < 2; i++)
        if (layers[i].side != 3 || layers[i].outputs < 4 || layers[i].outputs % 4 ||
            layers[i + 1].inputs != layers[i].outputs / 4)
            return DCN_BAD_MODEL;
    if (layers[2].side != 1 || layers[2].outputs < 1 || layers[2].outputs > DCN_MOST_CHANNELS)
        return DCN_BAD_MODEL;
    dcn_mean *net = dcn_allocate_zeroed(1, sizeof *net);
    if (!net)
        return DCN_OUT_OF_MEMORY;
    net->kernels = dcn_best_kernels();
    net->hyper = layers[0].inputs, net->latents = layers[2].outputs;
    int wrong = 0;
    for (int i = 0; i < 3; i++) {
        if (i < 2)
            net->width[i] = layers[i].outputs / 4;
        wrong |= prepared(&net->layer[i], net->kernels, &layers[i], i < 2 ? layers[i].outputs / 2 : net->latents);
    }
    net->halves = halves, net->halved = halved;
    for (int i = 0; i < halves; i++)
        for (int j = 0; j < 2; j++)
            wrong |= prepared(&net->near[i][j], net->kernels, &near[i][j], near[i][j].outputs);
    for (int c = 0; c < net->latents; c++) {
        wrong |= exponent[c] > 20;
        net->exponent[c] = exponent[c];
    }
    if (wrong) {
        dcn_mean_free(net);
        return DCN_BAD_MODEL;
    }
    *made = net;
    return DCN_OK;
}

void dcn_mean_sizes(const dcn_mean *net, int *hyper, int *latents, int *halved)
{
    *hyper = net->hyper, *latents = net->latents, *halved = net->halved;
}

uint64_t dcn_mean_memory(const dcn_mean *net, int hz, int wz)
{
    uint64_t sum = sizeof(dcn_scratch) + 4 * (uint64_t)net->latents;
    const int channels[3] = {net->hyper, net->width[0], net->width[1]};
    for (int i = 0; i < 3; i++)
        sum += 2 * (((uint64_t)hz << i) + 2) * (((uint64_t)wz << i) + 2 + DCN_TILE_ROWS) * (uint64_t)channels[i] + 128;
    uint64_t places = 16 * (uint64_t)hz * (uint64_t)wz, row = 2 * (uint64_t)wz + 1 + DCN_TILE_ROWS;
    for (int i = 0; i < net->halves; i++) /* one after the other */
        sum += 2 * places * (uint64_t)net->near[i][1].outputs +
               2 * row * (uint64_t)(5 * net->near[i][1].outputs + net->near[i][0].outputs) + 128;
    return sum;
}

void dcn_mean_free(dcn_mean *net)
{
    if (!net)
        return;
    for (int i = 0; i < 3; i++)
        dcn_convolution_free(&net->layer[i]);
    for (int i = 0; i < DCN_MOST_HALVES; i++)
        for (int j = 0; j < 2; j++)
            dcn_convolution_free(&net->near[i][j]);
    dcn_release(net);
}

/* Padded rows (h + 2, w + 2 + tile, channels), zero around. */
typedef struct {
    int16_t *values;
    size_t row;
    int channels;
} grid;

static int make_grid(grid *made, int h, int w, int channels)
{
    made->channels = channels, made->row = (size_t)(w + 2 + DCN_TILE_ROWS) * (size_t)channels;
    made->values = dcn_allocate_zeroed((size_t)(h + 2) * made->row + 64, sizeof(int16_t));
    return made->values ? 0 : -1;
}

static int16_t *grid_row(const grid *grid, int y)
{
    return grid->values + (size_t)(y + 1) * grid->row;
}

/* A 3x3 convolution and DepthToSpace(2) of all rows, rectified. */
static void doubled(const dcn_convolution *layer, dcn_kernels kernels, const grid *from, int h, int w, grid *to,
                    dcn_scratch *scratch)
{
    for (int y = 0; y < h; y += 2) {
        const int16_t *rows[4];
        void *outputs[4];
        int two = y + 1 < h;
        for (int i = 0; i < 3 + two; i++)
            rows[i] = grid_row(from, y - 1 + i);
        for (int i = 0; i < 2 + 2 * two; i++)
            outputs[i] = grid_row(to, 2 * y + i) + to->channels;
        if (two)
            dcn_convolution_pair(layer, kernels, rows, w, DCN_RELU, outputs, 2 * to->channels, scratch);
        else
            dcn_convolution_row(layer, kernels, rows, w, DCN_RELU, outputs, 2 * to->channels);
    }
}

dcn_status dcn_mean_compute(const dcn_mean *net, const int32_t *hyperlatents, size_t plane, size_t row, int hz, int wz,
                            int16_t *means)
{
    grid grids[3] = {{0}};
    dcn_scratch *scratch = dcn_allocate(sizeof *scratch, 1);
    int failed = !scratch || make_grid(&grids[0], hz, wz, net->hyper) ||
                 make_grid(&grids[1], 2 * hz, 2 * wz, net->width[0]) ||
                 make_grid(&grids[2], 4 * hz, 4 * wz, net->width[1]);
    if (!failed) {
        for (int c = 0; c < net->hyper; c++)
            for (int y = 0; y < hz; y++)
                for (int x = 0; x < wz; x++)
                    grid_row(&grids[0], y)[(size_t)(x + 1) * (size_t)net->hyper + (size_t)c] =
                        (int16_t)saturated(hyperlatents[(size_t)c * plane + (size_t)y * row + (size_t)x]);
        for (int i = 0; i < 2; i++)
            doubled(&net->layer[i], net->kernels, &grids[i], hz << i, wz << i, &grids[i + 1], scratch);
        for (int y = 0; y < 4 * hz; y++) {
            const int16_t *rows[1] = {grid_row(&grids[2], y) + net->width[1]};
            void *output = means + (size_t)y * (size_t)(4 * wz) * (size_t)net->latents;
            dcn_convolution_row(&net->layer[2], net->kernels, rows, 4 * wz, DCN_STORE, &output, net->latents);
        }
    }
    for (int i = 0; i < 3; i++)
        dcn_release(grids[i].values);
    dcn_release(scratch);
    return failed ? DCN_OUT_OF_MEMORY : DCN_OK;
}

dcn_status dcn_mean_run(const dcn_mean *net, const float *hyperlatents, int hz, int wz, float *means)
{
    size_t area = (size_t)hz * (size_t)wz, count = (size_t)net->hyper * area, places = 16 * area;
    int32_t *v = dcn_allocate(count * sizeof *v, 1);
    int16_t *integers = dcn_allocate(places * (size_t)net->latents * sizeof *integers, 1);
    dcn_status status = v && integers ? DCN_OK : DCN_OUT_OF_MEMORY;
    for (size_t i = 0; status == DCN_OK && i < count; i++) {
        float value = rintf(hyperlatents[i] * (float)(1 << DCN_HYPER_BITS));
        v[i] = value > -32768.0f ? value < 32767.0f ? (int32_t)value : 32767 : -32768;
    }
    if (status == DCN_OK)
        status = dcn_mean_compute(net, v, area, (size_t)wz, hz, wz, integers);
    if (status == DCN_OK)
        dcn_floats_of(integers, places, net->latents, net->latents, net->exponent, means);
    dcn_release(v), dcn_release(integers);
    return status;
}

/* Row `y` of the inputs of a checkerboard mean context: at every non-anchor position the residuals of its left, right,
 * upper and lower neighbour, 0 outside of the tile. Returns how many positions there are. */
static int context_row(const int16_t *residuals, int channels, int h, int w, int y, int16_t *inputs)
{
    int count = 0;
    for (int x = 1 - y % 2; x < w; x += 2, count++) {
        const int beside[4][2] = {{y, x - 1}, {y, x + 1}, {y - 1, x}, {y + 1, x}};
        for (int n = 0; n < 4; n++) {
            int16_t *to = inputs + ((size_t)count * 4 + (size_t)n) * (size_t)channels;
            int ny = beside[n][0], nx = beside[n][1], inside = ny >= 0 && nx >= 0 && ny < h && nx < w;
            if (inside)
                memcpy(to, residuals + ((size_t)ny * (size_t)w + (size_t)nx) * (size_t)channels,
                       (size_t)channels * sizeof *to);
            else
                memset(to, 0, (size_t)channels * sizeof *to);
        }
    }
    return count;
}

/* The residuals (h, w, channels) of the group of channels from `first` on; there were zeros. */
static void residuals_of(const dcn_mean *net, const int16_t *symbols, const float *step, int first, int channels,
                         size_t area, int16_t *residuals)
{
    for (int c = 0; c < channels; c++) {
        int32_t unit = fixed_step(step[first + c], net->exponent[first + c]), most = most_symbol(unit);
        const int16_t *plane = symbols + (size_t)(first + c) * area;
        for (size_t at = 0; at < area; at += 16) {
            int16_t last[16] = {0};
            const int16_t *from = plane + at;
            if (at + 16 > area)
                from = memcpy(last, from, (area - at) * sizeof *from);
            for (uint32_t left = dcn_nonzero(from); left; left &= left - 1) {
                size_t i = (size_t)dcn_lowest(left);
                residuals[(at + i) * (size_t)channels + (size_t)c] = (int16_t)residual_of(from[i], unit, most);
            }
        }
    }
}

/* Means of rows lie `row` apart, those of positions `position`. */
typedef struct {
    const dcn_mean *net;
    const int16_t *symbols;
    const float *step;
    int h, w, threads;
    int16_t *means;
    size_t row, position;
    dcn_status status[2];
} contexts;

/* The context of channel group `i`, whose first channel is `first`. Groups know nothing of one another. */
static dcn_status add_group(const contexts *given, int i, int first)
{
    const dcn_mean *net = given->net;
    const dcn_convolution *hidden = &net->near[i][0], *out = &net->near[i][1];
    int channels = out->outputs, h = given->h, w = given->w;
    size_t area = (size_t)h * (size_t)w, places = (size_t)(w / 2 + 1 + DCN_TILE_ROWS);
    size_t part = places * (size_t)(5 * channels + hidden->outputs);
    int16_t *memory = dcn_allocate_zeroed(area * (size_t)channels + part + 64, sizeof *memory);
    if (!memory)
        return DCN_OUT_OF_MEMORY;
    int16_t *residuals = memory, *inputs = residuals + area * (size_t)channels;
    int16_t *values = inputs + places * 4 * (size_t)channels;
    int16_t *made = values + places * (size_t)hidden->outputs;
    residuals_of(net, given->symbols, given->step, first, channels, area, residuals);
    for (int y = 0; y < h; y++) {
        int count = context_row(residuals, channels, h, w, y, inputs);
        const int16_t *rows[2] = {inputs, values};
        void *outputs[2] = {values, made};
        dcn_convolution_row(hidden, net->kernels, &rows[0], count, DCN_RELU, &outputs[0], hidden->outputs);
        dcn_convolution_row(out, net->kernels, &rows[1], count, DCN_STORE, &outputs[1], channels);
        for (int n = 0; n < count; n++) {
            const int16_t *more = made + (size_t)n * (size_t)channels;
            int16_t *to = given->means + (size_t)y * given->row + (size_t)(1 - y % 2 + 2 * n) * given->position +
                          (size_t)first;
            for (int c = 0; c < channels; c++)
                to[c] = (int16_t)saturated(to[c] + more[c]);
        }
    }
    dcn_release(memory);
    return DCN_OK;
}

/* On two threads the last group, mostly the largest, and all others. */
static void add_groups(void *context, int index)
{
    contexts *given = context;
    int first = 0, last = given->net->halves - 1;
    for (int i = 0; i <= last; first += given->net->near[i++][1].outputs)
        if ((given->threads < 2 || (i == last) == !index) && given->status[index] == DCN_OK)
            given->status[index] = add_group(given, i, first);
}

dcn_status dcn_mean_context(const dcn_mean *net, const int16_t *symbols, const float *step, int h, int w, int threads,
                            int16_t *means, size_t row, size_t position)
{
    contexts given = {net, symbols, step, h, w, net->halves > 1 ? threads : 1, means, row, position, {DCN_OK, DCN_OK}};
    dcn_parallel(given.threads > 1 ? 2 : 1, add_groups, &given);
    return given.status[0] != DCN_OK ? given.status[0] : given.status[1];
}

dcn_status dcn_mean_add_context(const dcn_mean *net, const float *symbols, const float *step, int h, int w,
                                float *means)
{
    size_t area = (size_t)h * (size_t)w, halved = (size_t)net->halved;
    int16_t *integers = dcn_allocate(2 * area * halved * sizeof *integers + 1, 1), *values = integers + area * halved;
    if (!integers)
        return DCN_OUT_OF_MEMORY;
    for (size_t at = 0; at < area * halved; at++)
        integers[at] = dcn_symbol_of(symbols[at]);
    dcn_means_of(means, area, net->halved, net->exponent, values);
    dcn_status status = dcn_mean_context(net, integers, step, h, w, 1, values, (size_t)w * halved, halved);
    if (status == DCN_OK)
        dcn_floats_of(values, area, net->halved, net->halved, net->exponent, means);
    dcn_release(integers);
    return status;
}
