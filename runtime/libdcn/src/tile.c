/* See tile.h. decant.codec.layout is the same in numpy. */
#include "tile.h"

#include <string.h>

#include "memory.h"
#include "planes.h"
#include "wide.h"

enum { MOST_SIDE = 1 << 16, TAPS = 3 };

/* A tile while it is decoded. Planes are those of a frame: `height` x `width` hidden values of the scale network, each
 * of which covers 2 x 2 latents, its four places. Rows of latents take `step` numbers here, two for each hidden
 * value. */
typedef struct {
    const dcn_entropy_model *model;
    int rows, columns, height, width;
    size_t padded;                   /* height * width, rounded up to whole blocks */
    size_t step, size;               /* size: rows * columns */
    dcn_planes inputs[DCN_PLACES];   /* what logits are sums of */
    dcn_planes features[DCN_PLACES]; /* of pairs of channels that are not 0 throughout, TAPS each */
    dcn_planes hidden;               /* of a context's second layer */
    int16_t *lines;                  /* (2 channels, PLACES, TAPS, padded): of the next pair */
    int *live;                       /* the channels of all pairs; -1 where there is none */
    int live_count;                  /* even */
    int32_t *reach;   /* (depth): the largest value of each input */
    int16_t *weights; /* of all rows of a product */
    int32_t *bias;    /* of those rows */
    int16_t *edged;   /* (rows + 2, 1 + step + 1): magnitudes of one channel, with zeros around */
    int16_t *line;    /* (step): of a row */
    uint8_t *found;   /* (2, channels, padded): scale indices at the places of one row of each pair */
    int *channels;    /* of the rows of a product */
    uint8_t *paired;  /* (step): scale indices of a row */
    uint8_t *scales;  /* (channels of the group, rows, columns) */
    int16_t *symbols; /* (channels, rows, columns) */
} work;

/* Values of a context that logits see. */
static inline int seen_of(const dcn_entropy_model *model)
{
    return model->mixed_width ? model->mixed_width : model->context_width;
}

/* Inputs at a place: those from hyperlatents, then those from a context. */
static inline int depth_of(const dcn_entropy_model *model)
{
    int width = model->context_width > model->mixed_width ? model->context_width : model->mixed_width;
    return dcn_even(model->class_width) + dcn_even(width);
}

static void free_work(work *work)
{
    void *parts[] = {work->lines, work->live,   work->reach,    work->weights, work->bias,  work->edged,
                     work->line,  work->paired, work->channels, work->scales,  work->found};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        dcn_release(parts[i]);
    for (int p = 0; p < DCN_PLACES; p++)
        dcn_planes_free(&work->inputs[p]), dcn_planes_free(&work->features[p]);
    dcn_planes_free(&work->hidden);
}

/* Channels of features: every group may leave half a pair. */
static inline int features_of(const dcn_entropy_model *model)
{
    return TAPS * (dcn_even(model->most_known) + 2 * DCN_MOST_GROUPS);
}

/* The most rows of a product, and the most inputs of one. */
static void widest(const dcn_entropy_model *model, size_t *rows, size_t *depth)
{
    *depth = (size_t)depth_of(model);
    *rows = *depth;
    for (int i = 0; i < model->groups; i++)
        if ((size_t)model->group[i].channels > *rows)
            *rows = (size_t)model->group[i].channels;
    *rows += DCN_TILE_ROWS;
    if ((size_t)features_of(model) > *depth)
        *depth = (size_t)features_of(model);
}

static void set_sizes(work *work, int rows, int columns)
{
    work->rows = rows, work->columns = columns;
    work->height = 2 * ((rows + 3) / 4), work->width = 2 * ((columns + 3) / 4);
    work->padded = ((size_t)work->height * (size_t)work->width + DCN_BLOCK - 1) / DCN_BLOCK * DCN_BLOCK;
    work->step = 2 * (size_t)work->width;
    work->size = (size_t)rows * (size_t)columns;
}

/* Returns -1 where memory is short. */
static int make_work(work *work)
{
    const dcn_entropy_model *model = work->model;
    size_t depth = (size_t)depth_of(model), rows, deepest;
    widest(model, &rows, &deepest);
    int wrong = 0;
    for (int p = 0; p < DCN_PLACES; p++) {
        wrong |= dcn_planes_make(&work->inputs[p], model->kernels, (int)depth, work->padded);
        wrong |= dcn_planes_make(&work->features[p], model->kernels, features_of(model), work->padded);
    }
    wrong |= dcn_planes_make(&work->hidden, model->kernels, (int)depth, work->padded);
    work->lines = dcn_allocate_zeroed(2 * DCN_PLACES * TAPS * work->padded, sizeof(int16_t));
    work->live = dcn_allocate((size_t)model->channels + 2 * DCN_MOST_GROUPS, sizeof(int));
    work->reach = dcn_allocate_zeroed(depth + 1, sizeof(int32_t));
    work->weights = dcn_allocate_zeroed(rows * deepest, sizeof(int16_t));
    work->bias = dcn_allocate_zeroed(rows, sizeof(int32_t));
    work->edged = dcn_allocate_zeroed(((size_t)work->rows + 2) * (work->step + 2), sizeof(int16_t));
    work->line = dcn_allocate(work->step, sizeof(int16_t));
    work->found = dcn_allocate(2 * rows * work->padded, 1);
    work->channels = dcn_allocate(rows, sizeof(int));
    work->paired = dcn_allocate(work->step, 1);
    work->scales = dcn_allocate(rows * work->size, 1);
    return !wrong && work->lines && work->live && work->reach && work->weights && work->bias && work->edged &&
                   work->line && work->found && work->channels && work->paired && work->scales
               ? 0
               : -1;
}

uint64_t dcn_tile_memory(const dcn_entropy_model *model, int rows, int columns)
{
    work work = {.model = model};
    set_sizes(&work, rows, columns);
    size_t most, deepest;
    widest(model, &most, &deepest);
    uint64_t padded = work.padded, size = work.size;
    uint64_t planes = DCN_PLACES * ((uint64_t)depth_of(model) + (uint64_t)features_of(model) + 2 * TAPS) +
                      (uint64_t)depth_of(model);
    return 2 * planes * padded + 2 * most * padded + most * size + 2 * most * deepest +
           2 * (uint64_t)(rows + 2) * (work.step + 2) + 12 * (uint64_t)DCN_PLACES * padded * (uint64_t)model->class_width +
           most * size * 30 + (1 << 16); /* the sorted positions and symbols of a part */
}

/* ---- row operations ---- */

WIDE static void add_scaled_wide(int64_t *restrict sums, const int32_t *restrict weight, int32_t value, int count)
{
    for (int i = 0; i < count; i++)
        sums[i] += (int64_t)weight[i] * value;
}

WIDE static void add_rows(int16_t *restrict out, const int16_t *left, const int16_t *right, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (int16_t)(left[i] + right[i]);
}

/* in (2 * count) -> every second one from the first and from the second on. */
WIDE static void pairs_apart(int16_t *restrict first, int16_t *restrict second, const int16_t *restrict in,
                             size_t count)
{
    for (size_t i = 0; i < count; i++) {
        first[i] = in[2 * i];
        second[i] = in[2 * i + 1];
    }
}

WIDE static void pairs_together(uint8_t *restrict out, const uint8_t *restrict first, const uint8_t *restrict second,
                                size_t count)
{
    for (size_t i = 0; i < count; i++) {
        out[2 * i] = first[i];
        out[2 * i + 1] = second[i];
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

/* Whether a channel has a symbol; most channels of most pictures have none. */
static int has_symbols(const int16_t *symbols, size_t count)
{
    int any = 0;
    for (size_t i = 0; i < count; i++)
        any |= symbols[i];
    return any != 0;
}

/* ---- contexts ---- */

/* The features of channel `c` in the lines of channel `second` of a pair. Returns whether it has any. */
static int lines_of(work *work, int c, int second)
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
    int16_t *lines = work->lines + (size_t)second * DCN_PLACES * TAPS * work->padded;
    for (size_t y = 0; y < (size_t)work->rows; y++) {
        const int16_t *row = work->edged + (y + 1) * across + 1;
        int16_t *left = lines + (size_t)(y % 2 ? 2 : 0) * TAPS * work->padded + y / 2 * half;
        int16_t *right = left + TAPS * work->padded;
        pairs_apart(left, right, row, half);
        add_rows(work->line, row - 1, row + 1, work->step);
        pairs_apart(left + work->padded, right + work->padded, work->line, half);
        add_rows(work->line, row - across, row + across, work->step);
        pairs_apart(left + 2 * work->padded, right + 2 * work->padded, work->line, half);
    }
    return 1;
}

/* The lines of two channels become the next features. */
static void add_pair(work *work, int first, int second)
{
    const int16_t *other = work->lines + DCN_PLACES * TAPS * work->padded;
    for (int p = 0; p < DCN_PLACES; p++)
        for (int t = 0; t < TAPS; t++) {
            size_t line = (size_t)(TAPS * p + t) * work->padded;
            dcn_planes_set(&work->features[p], work->model->kernels, TAPS * work->live_count / 2 + t,
                           work->lines + line, other + line, work->padded);
        }
    work->live[work->live_count++] = first;
    work->live[work->live_count++] = second;
}

/* Appends the features of the channels from `from` to before `to`. */
static void add_features(work *work, int from, int to)
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
        add_pair(work, first, -1); /* the other has weights of 0 */
}

/* The weights of a context's first layer for the live channels; returns their depth. */
static int live_weights(work *work, const dcn_context *context)
{
    size_t known = (size_t)context->known, depth = TAPS * (size_t)work->live_count;
    for (size_t row = 0; row < (size_t)work->model->context_width; row++) {
        const int16_t *from = context->hidden_weight + row * TAPS * known;
        int16_t *to = work->weights + row * depth;
        for (int i = 0; i < work->live_count; i += 2)
            for (size_t t = 0; t < TAPS; t++, to += 2) {
                to[0] = from[t * known + (size_t)work->live[i]];
                to[1] = work->live[i + 1] < 0 ? 0 : from[t * known + (size_t)work->live[i + 1]];
            }
    }
    memset(work->weights + (size_t)work->model->context_width * depth, 0, DCN_TILE_ROWS * depth * sizeof(int16_t));
    return (int)depth;
}

/* The values of a context that logits see, as inputs at the places of `which`. */
static void add_context(work *work, const dcn_context *context, const int *which, int places)
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

/* ---- scale indices ---- */

/* One part of a tile: a channel group, or its positions of one half. */
typedef struct {
    int first, channels;        /* first channel, and how many */
    const dcn_context *context;
    const int *which;           /* the places whose positions it has */
    int places;
} part;

/* The channels of a part whose scale indices are not 0 throughout, as are most channels of most pictures: those whose
 * sums can reach 1. */
static int find_channels(work *work, const part *part, const int32_t *offset)
{
    int count = 0, depth = part->context->depth;
    for (int c = 0; c < part->channels; c++) {
        const int16_t *bound = part->context->logit_bound + (size_t)c * (size_t)depth;
        int32_t most = offset[part->first + c];
        for (int k = 0; k < depth; k++)
            most += bound[k] * work->reach[k];
        if (most >= DCN_FORM_UNIT)
            work->channels[count++] = c;
    }
    return count;
}

/* The scale indices of a part; 0 at the positions that it does not have. */
static void find_scales(work *work, const part *part, const int32_t *offset)
{
    size_t depth = (size_t)part->context->depth, half = (size_t)work->width;
    int count = find_channels(work, part, offset);
    size_t plane = (size_t)count * work->padded;
    memset(work->scales, 0, (size_t)part->channels * work->size);
    for (int i = 0; count && i < 2; i++) {
        memset(work->found, 0, 2 * plane);
        for (int p = 0; p < part->places; p++) {
            int place = part->which[p];
            if (place >> 1 != i)
                continue;
            const int16_t *weights = part->context->logit_weight + (size_t)(place * part->channels) * depth;
            for (size_t row = 0; row < (size_t)count; row++) {
                memcpy(work->weights + row * depth, weights + (size_t)work->channels[row] * depth,
                       depth * sizeof(int16_t));
                work->bias[row] = offset[part->first + work->channels[row]];
            }
            dcn_planes_scales(work->model->kernels, work->found + (place & 1 ? plane : 0), work->bias,
                                   work->weights, (int)depth, count, &work->inputs[place], work->padded);
        }
        for (size_t row = 0; row < (size_t)count; row++)
            for (size_t y = (size_t)i; y < (size_t)work->rows; y += 2) {
                const uint8_t *left = work->found + row * work->padded + y / 2 * half;
                pairs_together(work->paired, left, left + plane, half);
                memcpy(work->scales + (size_t)work->channels[row] * work->size + y * (size_t)work->columns,
                       work->paired, (size_t)work->columns);
            }
    }
}

/* ---- hyperlatents ---- */

/* Hidden values (PLACES * class_width) at hyperlatent y, x of the tile, to the planes of all of them. */
static void keep_hidden(work *work, int y, int x, const int16_t *values, int16_t *planes)
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

/* Hidden values where sums may need more than 32 bits or inputs more than 16. */
static int sum_hidden(work *work, const dcn_tile *tile, int16_t *planes)
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

/* The hyperlatents that the tile sees, channels last with one around, and 0 outside of them. Returns whether all have
 * 16 bits. */
static int hyper_rows(const work *work, const dcn_tile *tile, int16_t *to, size_t row)
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

/* Hidden values by a convolution. Returns 1 where this cannot be, -1 where memory is short. */
static int convolve_hidden(work *work, const dcn_tile *tile, int16_t *planes)
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

/* The inputs that follow from hyperlatents. Returns -1 where memory is short. */
static int add_hyper(work *work, const dcn_tile *tile)
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

/* ---- the parts, one after the other ---- */

static dcn_stream_fault decode_groups(work *work, dcn_coder *coder, const dcn_tile *tile, dcn_stream_result *result)
{
    static const int all[] = {0, 1, 2, 3}, anchors[] = {0, 3}, others[] = {1, 2};
    const dcn_entropy_model *model = work->model;
    int first = 0;
    for (int i = 0; i < tile->groups; i++) {
        const dcn_group *group = &model->group[i];
        int in_halves = i < model->halves, end = first + group->channels;
        size_t size = (size_t)group->channels * work->size;
        int16_t *symbols = work->symbols + (size_t)first * work->size;
        part whole = {first, group->channels, &group->context, in_halves ? anchors : all, in_halves ? 2 : 4};
        if (i)
            add_context(work, whole.context, whole.which, whole.places);
        find_scales(work, &whole, tile->offset);
        if (dcn_decode_part(&model->symbols, coder, work->scales, size, symbols, result))
            return result->fault;
        if (in_halves) {
            int live_count = work->live_count;
            part rest = {first, group->channels, &group->non_anchors, others, 2};
            add_features(work, first, end); /* of the anchors: the others are 0 so far */
            add_context(work, rest.context, rest.which, rest.places);
            work->live_count = live_count;
            find_scales(work, &rest, tile->offset);
            if (dcn_decode_part(&model->symbols, coder, work->scales, size, symbols, result))
                return result->fault;
        }
        if (i + 1 < tile->groups)
            add_features(work, first, end);
        first = end;
    }
    return DCN_STREAM_GOOD;
}

int dcn_tile_fits(const dcn_entropy_model *model, const dcn_tile *tile)
{
    if (tile->hyper_rows < 1 || tile->hyper_columns < 1 || tile->hyper_rows > MOST_SIDE ||
        tile->hyper_columns > MOST_SIDE || tile->rows < 1 || tile->columns < 1 || tile->rows > MOST_SIDE ||
        tile->columns > MOST_SIDE || tile->top < 0 || tile->left < 0 || tile->top > tile->hyper_rows ||
        tile->left > tile->hyper_columns || tile->size % 4 || tile->groups < 1 || tile->groups > model->groups)
        return 0;
    return tile->rows <= 4 * (tile->hyper_rows - tile->top) && tile->columns <= 4 * (tile->hyper_columns - tile->left) &&
           (uint64_t)tile->rows * (uint64_t)tile->columns * (uint64_t)model->channels <= INT32_MAX;
}

dcn_stream_fault dcn_decode_tile(const dcn_entropy_model *model, const dcn_tile *tile, int16_t *symbols,
                                 dcn_stream_result *result)
{
    work work = {.model = model, .symbols = symbols};
    *result = (dcn_stream_result){DCN_STREAM_GOOD, {0}};
    set_sizes(&work, tile->rows, tile->columns);
    if (make_work(&work) || add_hyper(&work, tile))
        dcn_stream_refuse(result, DCN_STREAM_NO_MEMORY, 0, 0, 0);
    else {
        dcn_coder coder = dcn_coder_of(tile->stream, tile->size);
        if (!decode_groups(&work, &coder, tile, result) && tile->groups == model->groups && !dcn_coder_ended(&coder))
            dcn_stream_refuse(result, DCN_STREAM_NOT_ENDED, 0, 0, 0);
    }
    free_work(&work);
    return result->fault;
}
