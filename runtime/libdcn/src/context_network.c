/* Context networks: symbols of earlier channel groups (Minnen and Singh 2020, arXiv:2007.08739) and of anchor positions
 * (He et al. 2021, arXiv:2103.15306) -> a term of the scale-index logits. decant.codec.entropy.context_network is the
 * same in numpy. */
#include <string.h>

#include "tile_work.h"
#include "wide.h"

WIDE static void add_rows(int16_t *restrict out, const int16_t *left, const int16_t *right, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (int16_t)(left[i] + right[i]);
}

/* in (2 * count) -> its elements of even and of odd index. */
WIDE static void pairs_apart(int16_t *restrict first, int16_t *restrict second, const int16_t *restrict in,
                             size_t count)
{
    for (size_t i = 0; i < count; i++) {
        first[i] = in[2 * i];
        second[i] = in[2 * i + 1];
    }
}

/* Magnitudes of a row of symbols; returns their bitwise or. */
static int magnitudes_of(const dcn_entropy_model *model, const int16_t *symbols, size_t count, int16_t *out)
{
    int any = 0;
    for (size_t x = 0; x < count; x++) {
        int size = symbols[x] < 0 ? -symbols[x] : symbols[x];
        uint8_t value = model->magnitude[size < DCN_MAGNITUDES - 1 ? size : DCN_MAGNITUDES - 1];
        any |= value;
        out[x] = value;
    }
    return any;
}

/* Whether a channel has a nonzero symbol. In most pictures most channels have none. */
static int has_symbols(const int16_t *symbols, size_t count)
{
    int any = 0;
    for (size_t i = 0; i < count; i++)
        any |= symbols[i];
    return any != 0;
}

/* Writes the features of channel `c` to the lines of channel `second` of a pair. Returns whether it has any. */
static int lines_of(dcn_tile_work *work, int c, int second)
{
    const dcn_entropy_model *model = work->model;
    size_t across = work->step + 2, columns = (size_t)work->columns, half = (size_t)work->width;
    const int16_t *symbols = work->symbols + (size_t)c * work->size;
    int any = 0;
    if (!model->magnitude[0] && !has_symbols(symbols, work->size))
        return 0;
    for (size_t y = 0; y < (size_t)work->rows; y++)
        any |= magnitudes_of(model, symbols + y * columns, columns, work->edged + (y + 1) * across + 1);
    if (!any)
        return 0;
    int16_t *lines = work->lines + (size_t)second * DCN_PLACES * DCN_TAPS * work->padded;
    for (size_t y = 0; y < (size_t)work->rows; y++) {
        const int16_t *row = work->edged + (y + 1) * across + 1;
        int16_t *left = lines + (size_t)(y % 2 ? 2 : 0) * DCN_TAPS * work->padded + y / 2 * half;
        int16_t *right = left + DCN_TAPS * work->padded;
        pairs_apart(left, right, row, half);
        add_rows(work->line, row - 1, row + 1, work->step);
        pairs_apart(left + work->padded, right + work->padded, work->line, half);
        add_rows(work->line, row - across, row + across, work->step);
        pairs_apart(left + 2 * work->padded, right + 2 * work->padded, work->line, half);
    }
    return 1;
}

/* Appends the lines of two channels as features. */
static void add_pair(dcn_tile_work *work, int first, int second)
{
    const int16_t *other = work->lines + DCN_PLACES * DCN_TAPS * work->padded;
    for (int p = 0; p < DCN_PLACES; p++)
        for (int t = 0; t < DCN_TAPS; t++) {
            size_t line = (size_t)(DCN_TAPS * p + t) * work->padded;
            dcn_planes_set(&work->features[p], work->model->kernels, DCN_TAPS * work->live_count / 2 + t,
                           work->lines + line, other + line, work->padded);
        }
    work->live[work->live_count++] = first;
    work->live[work->live_count++] = second;
}

/* See tile_work.h. */
void dcn_add_features(dcn_tile_work *work, int from, int to)
{
    int first = -1;
    for (int c = from; c < to; c++) {
        if (!lines_of(work, c, first >= 0))
            continue;
        if (first >= 0)
            add_pair(work, first, c);
        first = first >= 0 ? -1 : c;
    }
    if (first >= 0)
        add_pair(work, first, -1); /* the missing channel has weights of 0 */
}

/* Gathers the weights of a context's first layer for the live channels. Returns their depth. */
static int live_weights(dcn_tile_work *work, const dcn_context *context)
{
    size_t known = (size_t)context->known, depth = DCN_TAPS * (size_t)work->live_count;
    for (size_t row = 0; row < (size_t)work->model->context_width; row++) {
        const int16_t *from = context->hidden_weight + row * DCN_TAPS * known;
        int16_t *to = work->weights + row * depth;
        for (int i = 0; i < work->live_count; i += 2)
            for (size_t t = 0; t < DCN_TAPS; t++, to += 2) {
                to[0] = from[t * known + (size_t)work->live[i]];
                to[1] = work->live[i + 1] < 0 ? 0 : from[t * known + (size_t)work->live[i + 1]];
            }
    }
    memset(work->weights + (size_t)work->model->context_width * depth, 0, DCN_TILE_ROWS * depth * sizeof(int16_t));
    return (int)depth;
}

/* See tile_work.h. */
void dcn_add_context(dcn_tile_work *work, const dcn_context *context, const int *which, int places)
{
    const dcn_entropy_model *model = work->model;
    int width = model->context_width, mixed = model->mixed_width, under = dcn_even(model->class_width);
    int depth = live_weights(work, context);
    int32_t *reach = work->reach + under;
    memset(reach, 0, (size_t)dcn_even(seen_of(model)) * sizeof *reach);
    for (int p = 0; p < places; p++)
        dcn_planes_hidden(model->kernels, &work->inputs[which[p]], under / 2, mixed ? work->bias : reach,
                               context->hidden_bias, work->weights, depth, width, &work->features[which[p]],
                               work->padded);
    depth = under + dcn_even(width);
    for (int p = 0; mixed && p < places; p++) {
        size_t rows = (size_t)mixed * (size_t)depth;
        memcpy(work->weights, context->mixed_weight + (size_t)which[p] * rows, rows * sizeof(int16_t));
        memset(work->weights + rows, 0, (size_t)depth * sizeof(int16_t));
        dcn_planes_hidden(model->kernels, &work->hidden, 0, reach, context->mixed_bias, work->weights, depth, mixed,
                               &work->inputs[which[p]], work->padded);
        dcn_planes_copy(&work->inputs[which[p]], under / 2, &work->hidden, 0, dcn_even(mixed) / 2, work->padded);
    }
}
