/* See synthesis.h. A picture is computed in bands of rows, one for each thread. Within a band, rows pass through all
 * layers. Each layer keeps its last few rows only, so memory grows with the width of a picture, not with its height. */
#include "synthesis.h"

#include <string.h>

#include "fixed_point.h"
#include "floats.h"
#include "kernels.h"
#include "memory.h"
#include "nonzero.h"
#include "synthesis_network.h"
#include "threads.h"

enum { LEAST_BAND = 2 };

typedef struct {
    const dcn_synthesis *net;
    const dcn_latents *given;
    const int32_t *step;
    int h, w, from, to; /* latent rows and columns; rows at 1/4 resolution that this band computes */
    const dcn_view *view;
    /* scratch */
    int16_t *residuals; /* ring of DCN_RING rows (w + 2 + tile, known) */
    int16_t *latents;   /* ring of DCN_RING rows (w + tile, latents) */
    int16_t *row[DCN_MOST_LAYERS + 1]; /* rings of DCN_RING rows (4 w + 2 + tile, width) */
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
    size_t sizes[] = {DCN_RING * narrow * (size_t)net->known,
                      DCN_RING * narrow * (size_t)net->latents,
                      DCN_RING * ring_row(band) * (size_t)(net->layers + 1),
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
        band->row[i] = band->row[i - 1] + DCN_RING * ring_row(band);
    return 0;
}

static int16_t *residual_row(const band *band, int y)
{
    size_t size = (size_t)(band->w + 2 + DCN_TILE_ROWS) * (size_t)band->net->known;
    return y < 0 || y >= band->h ? band->zeros : band->residuals + (size_t)(y % DCN_RING) * size;
}

static int16_t *latent_row(const band *band, int y)
{
    return band->latents + (size_t)(y % DCN_RING) * (size_t)(band->w + 2 + DCN_TILE_ROWS) * (size_t)band->net->latents;
}

/* Row `y` of stage `stage` at 1/4 resolution, from its left padding on. */
static int16_t *stage_row(const band *band, int stage, int y)
{
    return y < 0 || y >= 4 * band->h ? band->zeros : band->row[stage] + (size_t)(y % DCN_RING) * ring_row(band);
}

/* Adds the residuals of row `y` of channel `c` to the latents, and stores them for the prediction. Most symbols are
 * 0. */
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

/* Computes row `y` of latents from symbols and means. */
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

/* Computes the rows 4 y .. 4 y + 3 of stage 0 from row `y` of latents. */
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

/* A 3x3 convolution of rows y - 1 .. y + `count` of `stage`. It gives `count` rows, 1 or 2. */
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

/* Computes rows `y` and, if `rows` is 2, `y` + 1 of stage `stage` + 1. */
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

/* Copies one row of pixels from blocks of four pixels, which are 48 bytes apart. */
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

/* Computes four rows of pixels from each of the rows `y` and, if `rows` is 2, `y` + 1 at 1/4 resolution. */
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

/* Every stage computes two rows at a time, if the stage before has the rows that it needs. So no stage is ahead of its
 * reader by more rows than a ring holds. `done` are the rows that each stage has, `ends` the rows that it will have. */
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
