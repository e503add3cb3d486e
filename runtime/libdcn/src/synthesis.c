/* See synthesis.h. A picture is computed in bands of rows, one a thread. Within a band rows flow through the layers:
 * each layer keeps its last few rows only, so memory grows with the width of a picture and not with its height. */
#include "synthesis.h"

#include <math.h>
#include <string.h>

#include "floats.h"
#include "kernels.h"
#include "memory.h"
#include "nonzero.h"
#include "threads.h"

enum { RING = 8, LEAST_BAND = 2 };

struct dcn_synthesis {
    dcn_kernels kernels;
    int latents, width, layers, first, known, predicted, hidden;
    dcn_convolution prediction, up, last, residual[DCN_MOST_LAYERS][2];
    uint8_t exponent[DCN_MOST_CHANNELS];
};

struct dcn_mean {
    dcn_kernels kernels;
    int latents, hyper, width[2], halves, halved;
    dcn_convolution layer[3], near[DCN_MOST_HALVES][2];
    uint8_t exponent[DCN_MOST_CHANNELS];
};

static int prepared(dcn_convolution *made, dcn_kernels kernels, const dcn_layer *layer, int segment)
{
    return dcn_convolution_make(made, kernels, layer->inputs, layer->outputs, layer->side, segment, layer->weights,
                                layer->bias, layer->shift);
}

/* The step of a channel in units of 2^-(exponent + DCN_STEP_BITS), rounded half to even. */
static int32_t fixed_step(float step, int exponent)
{
    double scaled = rint(ldexp((double)step, exponent + DCN_STEP_BITS));
    return scaled < 1 ? 1 : scaled > (double)(1 << 30) ? 1 << 30 : (int32_t)scaled;
}

static inline int32_t saturated(int32_t value)
{
    return value < INT16_MIN ? INT16_MIN : value > INT16_MAX ? INT16_MAX : value;
}

/* The largest symbol whose product with `step` stays in 32 bits. */
static inline int32_t most_symbol(int32_t step)
{
    return step > 1 << 15 ? (1 << 30) / step : 32767;
}

static inline int32_t residual_of(int32_t symbol, int32_t step, int32_t most)
{
    symbol = symbol > -most ? symbol : -most;
    symbol = symbol < most ? symbol : most;
    return saturated((symbol * step + (1 << (DCN_STEP_BITS - 1))) >> DCN_STEP_BITS);
}

/* ---- synthesis ---- */

typedef struct {
    const dcn_synthesis *net;
    const dcn_latents *given;
    const int32_t *step;
    int h, w, from, to; /* latent rows and columns; rows at 1/4 resolution that this band makes */
    const dcn_view *view;
    /* scratch */
    int16_t *residuals; /* ring of RING rows (w + 2 + tile, known) */
    int16_t *latents;   /* ring of RING rows (w + tile, latents) */
    int16_t *row[DCN_MOST_LAYERS + 1]; /* rings of RING rows (4 w + 2 + tile, width) */
    int16_t *hidden; /* two rows (4 w + 2 + tile, hidden) */
    int16_t *zeros;
    uint8_t *bytes; /* two rows (4 w, 48) */
    dcn_scratch *scratch;
    void *memory;
} band;

static size_t ring_row(const band *band)
{
    return (size_t)(4 * band->w + 2 + DCN_TILE_ROWS) * (size_t)band->net->width;
}

static int make_scratch(band *band)
{
    const dcn_synthesis *net = band->net;
    size_t w = (size_t)band->w, wide = 4 * w + 2 + DCN_TILE_ROWS, narrow = w + 2 + DCN_TILE_ROWS;
    size_t channels = (size_t)(net->width > net->known ? net->width : net->known);
    size_t sizes[] = {RING * narrow * (size_t)net->known,
                      RING * narrow * (size_t)net->latents,
                      RING * ring_row(band) * (size_t)(net->layers + 1),
                      2 * wide * (size_t)(net->hidden ? net->hidden : 1),
                      wide * channels,
                      wide * 48,
                      sizeof *band->scratch / sizeof(int16_t)};
    size_t total = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        total += (sizes[i] + 31) / 32 * 32;
    band->memory = dcn_allocate_zeroed(total + 32, sizeof(int16_t));
    if (!band->memory)
        return -1;
    int16_t *at = (int16_t *)((char *)band->memory + (64 - (uintptr_t)band->memory % 64) % 64);
    int16_t **parts[] = {&band->residuals, &band->latents, &band->row[0], &band->hidden, &band->zeros};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (i < sizeof parts / sizeof *parts)
            *parts[i] = at;
        else if (i == sizeof parts / sizeof *parts)
            band->bytes = (uint8_t *)at;
        else
            band->scratch = (dcn_scratch *)at;
        at += (sizes[i] + 31) / 32 * 32;
    }
    for (int i = 1; i <= net->layers; i++)
        band->row[i] = band->row[i - 1] + RING * ring_row(band);
    return 0;
}

static int16_t *residual_row(const band *band, int y)
{
    size_t size = (size_t)(band->w + 2 + DCN_TILE_ROWS) * (size_t)band->net->known;
    return y < 0 || y >= band->h ? band->zeros : band->residuals + (size_t)(y % RING) * size;
}

static int16_t *latent_row(const band *band, int y)
{
    return band->latents + (size_t)(y % RING) * (size_t)(band->w + 2 + DCN_TILE_ROWS) * (size_t)band->net->latents;
}

/* Row `y` of stage `stage` at 1/4 resolution, from its left padding on. */
static int16_t *stage_row(const band *band, int stage, int y)
{
    return y < 0 || y >= 4 * band->h ? band->zeros : band->row[stage] + (size_t)(y % RING) * ring_row(band);
}

/* Adds the residuals of row `y` of channel `c` to the latents, and keeps them where the prediction reads them. Most
 * symbols are 0. */
static void add_residuals(const band *band, int c, int y, int16_t *latents, int16_t *residuals)
{
    const dcn_synthesis *net = band->net;
    int w = band->w, step = band->step[c], most = most_symbol(step);
    size_t channels = (size_t)net->latents, known = (size_t)net->known;
    const int16_t *symbols = band->given->symbols + ((size_t)c * (size_t)band->h + (size_t)y) * (size_t)w;
    for (int x = 0; x < w; x += 16) {
        int16_t last[16] = {0};
        const int16_t *from = symbols + x;
        if (x + 16 > w)
            from = memcpy(last, from, (size_t)(w - x) * sizeof *from);
        for (uint32_t left = dcn_nonzero(from); left; left &= left - 1) {
            int i = dcn_lowest(left);
            int32_t value = residual_of(from[i], step, most);
            int16_t *latent = latents + (size_t)(x + i) * channels + (size_t)c;
            *latent = (int16_t)saturated(value + *latent);
            if (c < net->known)
                residuals[(size_t)(x + i) * known + (size_t)c] = (int16_t)value;
        }
    }
}

/* Row `y` of latents, from symbols and means. */
static void fill_row(const band *band, int y)
{
    const dcn_synthesis *net = band->net;
    size_t w = (size_t)band->w, row = w * (size_t)net->latents;
    int16_t *latents = latent_row(band, y), *residuals = net->known ? residual_row(band, y) + net->known : NULL;
    memcpy(latents, band->given->means + (size_t)y * row, row * sizeof *latents);
    if (residuals)
        memset(residuals, 0, w * (size_t)net->known * sizeof *residuals);
    for (int c = 0; c < net->latents; c++)
        add_residuals(band, c, y, latents, residuals);
}

static void pad_right(int16_t *row, int count, int channels)
{
    memset(row + (size_t)(count + 1) * (size_t)channels, 0, (size_t)channels * sizeof *row);
}

/* Row `y` of latents becomes the four rows 4 y .. 4 y + 3 of stage 0. */
static void raise_row(const band *band, int y)
{
    const dcn_synthesis *net = band->net;
    const int16_t *latents = latent_row(band, y);
    if (net->predicted) {
        const int16_t *rows[3] = {residual_row(band, y - 1), residual_row(band, y), residual_row(band, y + 1)};
        void *output = latent_row(band, y) + net->first;
        dcn_convolution_row(&net->prediction, net->kernels, rows, band->w, DCN_ADD, &output, net->latents);
    }
    void *outputs[4];
    for (int i = 0; i < 4; i++)
        outputs[i] = stage_row(band, 0, 4 * y + i) + net->width;
    dcn_convolution_row(&net->up, net->kernels, &latents, band->w, DCN_STORE, outputs, 4 * net->width);
    for (int i = 0; i < 4; i++)
        pad_right(stage_row(band, 0, 4 * y + i), 4 * band->w, net->width);
}

/* A 3x3 convolution of rows y - 1 .. y + `count` of `stage` to `count` rows, 1 or 2. */
static void convolve_rows(const band *band, const dcn_convolution *convolution, int stage, int y, int count,
                          dcn_epilogue epilogue, void *const *outputs)
{
    const int16_t *rows[4];
    for (int i = 0; i < 4; i++)
        rows[i] = stage_row(band, stage, y - 1 + i);
    if (count == 2)
        dcn_convolution_pair(convolution, band->net->kernels, rows, 4 * band->w, epilogue, outputs,
                             convolution->outputs, band->scratch);
    else
        dcn_convolution_row(convolution, band->net->kernels, rows, 4 * band->w, epilogue, outputs,
                            convolution->outputs);
}

/* Rows `y` and, if `rows` is 2, `y` + 1 of stage `stage` + 1. */
static void residual_layer_rows(const band *band, int stage, int y, int rows)
{
    const dcn_synthesis *net = band->net;
    int count = 4 * band->w;
    size_t step = (size_t)(count + 2 + DCN_TILE_ROWS) * (size_t)net->hidden;
    void *hidden[2] = {band->hidden, band->hidden + step};
    convolve_rows(band, &net->residual[stage][0], stage, y, rows, DCN_RELU, hidden);
    for (int i = 0; i < rows; i++) {
        int16_t *to = stage_row(band, stage + 1, y + i);
        memcpy(to, stage_row(band, stage, y + i), (size_t)(count + 2) * (size_t)net->width * sizeof *to);
        const int16_t *from = hidden[i];
        void *output = to + net->width;
        dcn_convolution_row(&net->residual[stage][1], net->kernels, &from, count, DCN_ADD, &output, net->width);
    }
}

/* One row of pixels from blocks of four, which lie 48 bytes apart. */
static void store_pixels(const dcn_view *view, const uint8_t *blocks, uint8_t *to)
{
    int x = view->left, end = view->left + view->width;
    for (; x < end && x % 4; x++, to += 3)
        memcpy(to, blocks + x / 4 * 48 + x % 4 * 3, 3);
    for (; x + 4 <= end; x += 4, to += 12)
        memcpy(to, blocks + x * 12, 12);
    for (; x < end; x++, to += 3)
        memcpy(to, blocks + x / 4 * 48 + x % 4 * 3, 3);
}

/* Rows `y` and, if `rows` is 2, `y` + 1 at 1/4 resolution become four rows of pixels each. */
static void pixel_rows(const band *band, int y, int rows)
{
    const dcn_synthesis *net = band->net;
    int count = 4 * band->w;
    void *bytes[2] = {band->bytes, band->bytes + 48 * (size_t)count};
    convolve_rows(band, &net->last, net->layers, y, rows, DCN_PIXELS, bytes);
    for (int i = 0; i < 4 * rows; i++) {
        int row = 4 * y + i - band->view->top;
        if (row >= 0 && row < band->view->height)
            store_pixels(band->view, (const uint8_t *)bytes[i / 4] + 12 * (i % 4),
                         band->view->pixels + (size_t)row * band->view->stride);
    }
}

/* Every stage takes two rows after two others, as far as the rows before allow: so none runs ahead of its reader by
 * more than a ring holds. `done`: rows that each stage has, `ends`: rows that it is to have. */
static void advance(const band *band, int *done, const int *ends)
{
    int layers = band->net->layers, moved = 1;
    while (moved) {
        moved = 0;
        for (int stage = 0; stage <= layers; stage++) {
            int next = done[stage + 1], rows = next + 1 < ends[stage + 1] ? 2 : 1;
            if (next >= ends[stage + 1] || (next + rows >= done[stage] && done[stage] < 4 * band->h))
                continue;
            if (stage < layers)
                residual_layer_rows(band, stage, next, rows);
            else
                pixel_rows(band, next, rows);
            done[stage + 1] += rows;
            moved = 1;
        }
    }
}

static void run_band(const band *band)
{
    const dcn_synthesis *net = band->net;
    int layers = net->layers, done[DCN_MOST_LAYERS + 2], ends[DCN_MOST_LAYERS + 2];
    for (int stage = 0; stage <= layers + 1; stage++) {
        int halo = layers + 1 - stage, first = band->from - halo, end = band->to + halo;
        done[stage] = first < 0 ? 0 : first;
        ends[stage] = end > 4 * band->h ? 4 * band->h : end;
    }
    int y = done[0] / 4, filled = y ? y - 1 : 0;
    for (done[0] = 4 * y; done[0] < ends[0]; y++) {
        for (; filled <= y + 1 && filled < band->h; filled++)
            fill_row(band, filled);
        raise_row(band, y);
        done[0] = 4 * y + 4;
        advance(band, done, ends);
    }
}

static void run_bands(void *bands, int index)
{
    run_band((const band *)bands + index);
}

dcn_status dcn_synthesis_view(const dcn_synthesis *net, const dcn_latents *latents, int threads, const dcn_view *view)
{
    band bands[DCN_MOST_THREADS];
    int32_t *steps = dcn_allocate((size_t)net->latents * sizeof *steps, 1);
    if (!steps)
        return DCN_OUT_OF_MEMORY;
    for (int c = 0; c < net->latents; c++)
        steps[c] = fixed_step(latents->step[c], net->exponent[c]);
    int first = view->top / 4, rows = (view->top + view->height + 3) / 4 - first;
    int count = threads < rows / LEAST_BAND ? threads : rows / LEAST_BAND;
    count = count < 1 ? 1 : count > DCN_MOST_THREADS ? DCN_MOST_THREADS : count;
    dcn_status status = DCN_OK;
    int made = 0;
    for (; made < count && status == DCN_OK; made++) {
        bands[made] = (band){.net = net, .given = latents, .step = steps, .h = latents->h, .w = latents->w,
                             .from = first + (int)((int64_t)rows * made / count),
                             .to = first + (int)((int64_t)rows * (made + 1) / count), .view = view};
        if (make_scratch(&bands[made]))
            status = DCN_OUT_OF_MEMORY;
    }
    if (status == DCN_OK)
        dcn_parallel(count, run_bands, bands);
    for (int i = 0; i < made; i++)
        dcn_release(bands[i].memory);
    dcn_release(steps);
    return status;
}

dcn_status dcn_synthesis_run(const dcn_synthesis *net, const float *symbols, const float *mean, const float *step,
                             int h, int w, int threads, uint8_t *pixels)
{
    size_t area = (size_t)h * (size_t)w, channels = (size_t)net->latents;
    int16_t *integers = dcn_allocate(2 * area * channels * sizeof *integers, 1), *means = integers + area * channels;
    if (!integers)
        return DCN_OUT_OF_MEMORY;
    for (size_t at = 0; at < area * channels; at++)
        integers[at] = dcn_symbol_of(symbols[at]);
    dcn_means_of(mean, area, net->latents, net->exponent, means);
    dcn_latents latents = {integers, means, step, h, w};
    dcn_view view = {0, 0, 16 * h, 16 * w, pixels, (size_t)w * 48};
    dcn_status status = dcn_synthesis_view(net, &latents, threads, &view);
    dcn_release(integers);
    return status;
}

/* Whether the layers fit together. */
static int fits(const dcn_synthesis_layers *layers)
{
    int width = layers->width, known = layers->prediction.inputs, predicted = layers->prediction.outputs;
    if (layers->latents < 1 || layers->latents > DCN_MOST_CHANNELS || width < 1 || width > 1024 ||
        layers->layers < 0 || layers->layers > DCN_MOST_LAYERS || layers->first < 0 || predicted < 0)
        return 0;
    if (predicted && (known < 1 || known > layers->latents || layers->prediction.side != 3 ||
                      layers->first + predicted > layers->latents))
        return 0;
    if (layers->up.inputs != layers->latents || layers->up.outputs != 16 * width || layers->up.side != 1 ||
        layers->last.inputs != width || layers->last.outputs != 48 || layers->last.side != 3)
        return 0;
    for (int i = 0; i < layers->layers; i++) {
        const dcn_layer *first = &layers->residual[i][0], *second = &layers->residual[i][1];
        if (first->inputs != width || first->side != 3 || second->outputs != width || second->side != 1 ||
            second->inputs != first->outputs || first->outputs != layers->residual[0][0].outputs)
            return 0;
    }
    for (int c = 0; c < layers->latents; c++)
        if (layers->exponent[c] > 20)
            return 0;
    return 1;
}

dcn_status dcn_synthesis_new(const dcn_synthesis_layers *layers, dcn_synthesis **made)
{
    *made = NULL;
    if (!fits(layers))
        return DCN_BAD_MODEL;
    dcn_synthesis *net = dcn_allocate_zeroed(1, sizeof *net);
    if (!net)
        return DCN_OUT_OF_MEMORY;
    net->kernels = dcn_best_kernels();
    net->latents = layers->latents, net->width = layers->width, net->layers = layers->layers;
    net->first = layers->first, net->predicted = layers->prediction.outputs;
    net->known = net->predicted ? layers->prediction.inputs : 0;
    net->hidden = net->layers ? layers->residual[0][0].outputs : 0;
    memcpy(net->exponent, layers->exponent, (size_t)net->latents);
    int wrong = prepared(&net->up, net->kernels, &layers->up, 4 * net->width);
    wrong |= prepared(&net->last, net->kernels, &layers->last, 48);
    if (net->predicted)
        wrong |= prepared(&net->prediction, net->kernels, &layers->prediction, net->predicted);
    for (int i = 0; i < net->layers; i++)
        for (int j = 0; j < 2; j++)
            wrong |= prepared(&net->residual[i][j], net->kernels, &layers->residual[i][j],
                              layers->residual[i][j].outputs);
    if (wrong) {
        dcn_synthesis_free(net);
        return DCN_BAD_MODEL;
    }
    *made = net;
    return DCN_OK;
}

int dcn_synthesis_halo(const dcn_synthesis *net)
{
    return (net->layers + 1 + 3) / 4 + (net->predicted > 0);
}

uint64_t dcn_synthesis_memory(const dcn_synthesis *net, int w, int threads)
{
    uint64_t count = (uint64_t)(threads < 1 ? 1 : threads > DCN_MOST_THREADS ? DCN_MOST_THREADS : threads);
    uint64_t width = (uint64_t)net->width, known = (uint64_t)net->known, hidden = (uint64_t)net->hidden;
    uint64_t wide = 4 * (uint64_t)w + 2 + DCN_TILE_ROWS, narrow = (uint64_t)w + 2 + DCN_TILE_ROWS;
    uint64_t elements = RING * narrow * (known + (uint64_t)net->latents) +
                        RING * wide * width * (uint64_t)(net->layers + 1) + 2 * wide * (hidden + 1) +
                        wide * (width + known) + wide * 48 + sizeof(dcn_scratch) / 2;
    return count * (2 * elements + 1024) + 4 * (uint64_t)net->latents;
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

int dcn_synthesis_latents(const dcn_synthesis *net)
{
    return net->latents;
}

void dcn_synthesis_free(dcn_synthesis *net)
{
    if (!net)
        return;
    dcn_convolution_free(&net->prediction);
    dcn_convolution_free(&net->up);
    dcn_convolution_free(&net->last);
    for (int i = 0; i < DCN_MOST_LAYERS; i++)
        for (int j = 0; j < 2; j++)
            dcn_convolution_free(&net->residual[i][j]);
    dcn_release(net);
}

/* ---- hyper synthesis ---- */

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
