/* See tile.h. decant.codec.layout is the same in numpy. */
#include "tile.h"

#include <string.h>

#include "memory.h"
#include "products.h"
#include "wide.h"

enum { MOST_SIDE = 1 << 16 };

/* A tile while it is decoded. Planes are those of a frame: `height` x `width` hidden values of the scale network, each
 * of which covers 2 x 2 latents, its four places. Rows of latents take `step` numbers here, two for each hidden
 * value. */
typedef struct {
    const dcn_entropy_model *model;
    int rows, columns, height, width;
    size_t padded;     /* height * width, rounded up to whole blocks */
    size_t step, size; /* size: rows * columns */
    float *inputs;     /* (PLACES, depth, padded): what logits are sums of */
    size_t planes;     /* of features at a place */
    float *features;   /* (PLACES, planes, padded) of the channels that are not 0 throughout */
    int *live;         /* those channels */
    int live_count;
    float *reach;     /* (depth): the largest value of each input */
    float *panels;    /* weights of all rows of a product */
    float *bias;      /* of those rows */
    int32_t *largest; /* hidden value of each row */
    float *edged;     /* (rows + 2, 1 + step + 1): magnitudes of one channel, with zeros around */
    float *line;      /* (step): of a row */
    uint8_t *found;   /* (2, channels, padded): scale indices at the places of one row of each pair */
    int *channels;    /* of the rows of a product */
    uint8_t *paired;  /* (step): scale indices of a row */
    uint8_t *scales;  /* (channels of the group, rows, columns) */
    float *hidden;    /* (seen, padded): of a context's second layer */
    int16_t *symbols; /* (channels, rows, columns) */
} work;

/* Values of a context that logits see. */
static inline int seen_of(const dcn_entropy_model *model)
{
    return model->mixed_width ? model->mixed_width : model->context_width;
}

/* Inputs at a place: those from hyperlatents, then those from a context, in whole panels. */
static inline int depth_of(const dcn_entropy_model *model)
{
    int width = model->context_width > model->mixed_width ? model->context_width : model->mixed_width;
    return model->class_width + dcn_panels_of(width) * DCN_PANEL;
}

static inline float *inputs_of(const work *work, int place)
{
    return work->inputs + (size_t)place * (size_t)depth_of(work->model) * work->padded;
}

static inline float *features_of(const work *work, int place)
{
    return work->features + (size_t)place * work->planes * work->padded;
}

static void free_work(work *work)
{
    void *parts[] = {work->inputs, work->features, work->live,  work->reach,    work->panels,
                     work->bias,   work->largest,  work->edged, work->line,     work->found,
                     work->paired, work->channels, work->scales, work->hidden};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        dcn_release(parts[i]);
}

/* The most rows of a product, and the most inputs of one. */
static void widest(const dcn_entropy_model *model, size_t *rows, size_t *depth)
{
    *depth = (size_t)depth_of(model);
    *rows = *depth - (size_t)model->class_width;
    for (int i = 0; i < model->groups; i++)
        if ((size_t)model->group[i].channels > *rows)
            *rows = (size_t)model->group[i].channels;
    *rows = (*rows + DCN_PANEL - 1) / DCN_PANEL * DCN_PANEL;
    if (3 * (size_t)model->most_known > *depth)
        *depth = 3 * (size_t)model->most_known;
}

static void set_sizes(work *work, int rows, int columns)
{
    work->rows = rows, work->columns = columns;
    work->height = 2 * ((rows + 3) / 4), work->width = 2 * ((columns + 3) / 4);
    work->padded = ((size_t)work->height * (size_t)work->width + DCN_BLOCK - 1) / DCN_BLOCK * DCN_BLOCK;
    work->step = 2 * (size_t)work->width;
    work->size = (size_t)rows * (size_t)columns;
    work->planes = 3 * (size_t)work->model->most_known;
}

/* Returns -1 where memory is short. */
static int make_work(work *work)
{
    const dcn_entropy_model *model = work->model;
    size_t depth = (size_t)depth_of(model), rows, deepest;
    widest(model, &rows, &deepest);
    work->inputs = dcn_allocate_zeroed(DCN_PLACES * depth * work->padded, sizeof(float));
    work->features = dcn_allocate_zeroed(DCN_PLACES * work->planes * work->padded, sizeof(float));
    work->live = dcn_allocate((size_t)model->channels, sizeof(int));
    work->reach = dcn_allocate_zeroed(depth, sizeof(float));
    work->panels = dcn_allocate(rows * deepest, sizeof(float));
    work->bias = dcn_allocate(rows, sizeof(float));
    work->largest = dcn_allocate(rows, sizeof(int32_t));
    work->edged = dcn_allocate_zeroed(((size_t)work->rows + 2) * (work->step + 2), sizeof(float));
    work->line = dcn_allocate(work->step, sizeof(float));
    work->found = dcn_allocate(2 * rows * work->padded, 1);
    work->channels = dcn_allocate(rows, sizeof(int));
    work->paired = dcn_allocate(work->step, 1);
    work->scales = dcn_allocate(rows * work->size, 1);
    work->hidden = dcn_allocate(rows * work->padded, sizeof(float));
    return work->inputs && work->features && work->live && work->reach && work->panels && work->bias &&
                   work->largest && work->edged && work->line && work->found && work->channels && work->paired &&
                   work->scales && work->hidden
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
    uint64_t planes = DCN_PLACES * ((uint64_t)depth_of(model) + work.planes) + most;
    return 4 * planes * padded + 2 * most * padded + most * size + 4 * most * deepest +
           4 * (uint64_t)(rows + 2) * (work.step + 2) +
           most * size * 12 + (1 << 16); /* the sorted positions and symbols of a part */
}

/* ---- row operations ---- */

WIDE static void add_scaled(int32_t *restrict sums, const int32_t *restrict weight, int32_t value, int count)
{
    for (int i = 0; i < count; i++)
        sums[i] += weight[i] * value;
}

WIDE static void add_scaled_wide(int64_t *restrict sums, const int32_t *restrict weight, int32_t value, int count)
{
    for (int i = 0; i < count; i++)
        sums[i] += (int64_t)weight[i] * value;
}

WIDE static void add_rows(float *restrict out, const float *left, const float *right, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = left[i] + right[i];
}

/* in (2 * count) -> every second one from the first and from the second on. */
WIDE static void pairs_apart(float *restrict first, float *restrict second, const float *restrict in, size_t count)
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
static int magnitudes_of(const dcn_entropy_model *model, const int16_t *symbols, size_t count, float *out)
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

/* Appends the features of the channels from `from` to before `to`. */
static void add_features(work *work, int from, int to)
{
    const dcn_entropy_model *model = work->model;
    size_t across = work->step + 2, columns = (size_t)work->columns, half = (size_t)work->width;
    for (int c = from; c < to; c++) {
        const int16_t *symbols = work->symbols + (size_t)c * work->size;
        int any = 0;
        if (!model->magnitude[0] && !has_symbols(symbols, work->size))
            continue;
        for (size_t y = 0; y < (size_t)work->rows; y++)
            any |= magnitudes_of(model, symbols + y * columns, columns, work->edged + (y + 1) * across + 1);
        if (!any)
            continue;
        size_t at = (size_t)3 * (size_t)work->live_count * work->padded;
        for (size_t y = 0; y < (size_t)work->rows; y++) {
            const float *row = work->edged + (y + 1) * across + 1;
            size_t to_row = at + y / 2 * half;
            int place = y % 2 ? 2 : 0;
            float *left = features_of(work, place) + to_row, *right = features_of(work, place + 1) + to_row;
            pairs_apart(left, right, row, half);
            add_rows(work->line, row - 1, row + 1, work->step);
            pairs_apart(left + work->padded, right + work->padded, work->line, half);
            add_rows(work->line, row - across, row + across, work->step);
            pairs_apart(left + 2 * work->padded, right + 2 * work->padded, work->line, half);
        }
        work->live[work->live_count++] = c;
    }
}

/* Weights (rows, depth), row after row, with their bias, as panels; returns how many. */
static int panels_from(work *work, const float *weight, const float *bias, int rows, int depth)
{
    size_t deep = (size_t)depth;
    for (int row = 0; row < dcn_panels_of(rows) * DCN_PANEL; row++) {
        float *panel = work->panels + (size_t)(row / DCN_PANEL) * deep * DCN_PANEL + row % DCN_PANEL;
        work->bias[row] = row < rows ? bias[row] : 0;
        for (size_t k = 0; k < deep; k++)
            panel[k * DCN_PANEL] = row < rows ? weight[(size_t)row * deep + k] : 0;
    }
    return dcn_panels_of(rows);
}

/* The weights of a context's first layer for the live channels, as panels; returns how many. */
static int live_panels(work *work, const dcn_context *context)
{
    int width = work->model->context_width;
    size_t depth = 3 * (size_t)work->live_count, known = (size_t)context->known;
    for (int row = 0; row < dcn_panels_of(width) * DCN_PANEL; row++) {
        float *panel = work->panels + (size_t)(row / DCN_PANEL) * depth * DCN_PANEL + row % DCN_PANEL;
        const float *weight = context->hidden_weight + (size_t)(row < width ? row : 0) * 3 * known;
        work->bias[row] = row < width ? context->hidden_bias[row] : 0;
        for (size_t k = 0; k < (size_t)work->live_count; k++)
            for (size_t t = 0; t < 3; t++)
                panel[(3 * k + t) * DCN_PANEL] = row < width ? weight[t * known + (size_t)work->live[k]] : 0;
    }
    return dcn_panels_of(width);
}

/* The values of a context that logits see, as inputs at the places of `which`. */
static void add_context(work *work, const dcn_context *context, const int *which, int places)
{
    const dcn_entropy_model *model = work->model;
    int width = model->context_width, under = model->class_width, seen = seen_of(model);
    int panels = live_panels(work, context);
    size_t after = (size_t)under * work->padded;
    memset(work->largest, 0, (size_t)panels * DCN_PANEL * sizeof(int32_t));
    for (int p = 0; p < places; p++)
        dcn_products_as_hidden(inputs_of(work, which[p]) + after, work->largest, work->bias, work->panels,
                               features_of(work, which[p]), 3 * work->live_count, work->padded, panels);
    if (model->mixed_width) {
        int depth = under + width;
        memset(work->largest, 0, (size_t)dcn_panels_of(seen) * DCN_PANEL * sizeof(int32_t));
        for (int p = 0; p < places; p++) {
            const float *weight = context->mixed_weight + (size_t)which[p] * (size_t)seen * (size_t)depth;
            float *inputs = inputs_of(work, which[p]);
            panels = panels_from(work, weight, context->mixed_bias, seen, depth);
            dcn_products_as_hidden(work->hidden, work->largest, work->bias, work->panels, inputs, depth, work->padded,
                                   panels);
            memcpy(inputs + after, work->hidden, (size_t)seen * work->padded * sizeof(float));
        }
    }
    for (int d = 0; d < seen; d++)
        work->reach[under + d] = (float)work->largest[d];
}

/* ---- scale indices ---- */

/* One part of a tile: a channel group, or its positions of one half. */
typedef struct {
    int first, channels;        /* first channel, and how many */
    const dcn_context *context; /* or NULL */
    const int *which;           /* the places whose positions it has */
    int places;
} part;

/* The channels of a part whose scale indices are not 0 throughout, as are most channels of most pictures: those whose
 * sums can reach 1. */
static int find_channels(work *work, const part *part, const int32_t *offset, int depth)
{
    const dcn_entropy_model *model = work->model;
    int width = model->class_width, count = 0;
    for (int c = 0; c < part->channels; c++) {
        const float *scale = model->scale_bound + (size_t)(part->first + c) * (size_t)width;
        const float *seen = part->context ? part->context->out_bound + (size_t)c * (size_t)seen_of(model) : NULL;
        float most = (float)offset[part->first + c] / DCN_FORM_UNIT;
        for (int k = 0; k < width; k++)
            most += scale[k] * work->reach[k];
        for (int k = width; k < depth; k++)
            most += seen[k - width] * work->reach[k];
        if (most >= 1)
            work->channels[count++] = c;
    }
    return count;
}

/* The weights of the logits of `count` channels at a place, as panels. */
static void logit_panels(work *work, const part *part, const int32_t *offset, int count, int place, int depth)
{
    const dcn_entropy_model *model = work->model;
    int width = model->class_width;
    for (int row = 0; row < dcn_panels_of(count) * DCN_PANEL; row++) {
        float *panel = work->panels + (size_t)(row / DCN_PANEL) * (size_t)depth * DCN_PANEL + row % DCN_PANEL;
        int c = row < count ? work->channels[row] : work->channels[0];
        size_t channel = (size_t)(part->first + c);
        const float *scale = model->scale_weight + ((size_t)place * (size_t)model->channels + channel) * (size_t)width;
        const float *seen = part->context ? part->context->out_weight + (size_t)c * (size_t)seen_of(model) : NULL;
        work->bias[row] = (float)offset[channel] / DCN_FORM_UNIT;
        for (int k = 0; k < width; k++)
            panel[(size_t)k * DCN_PANEL] = scale[k];
        for (int k = width; k < depth; k++)
            panel[(size_t)k * DCN_PANEL] = seen[k - width];
    }
}

/* The scale indices of a part; 0 at the positions that it does not have. */
static void find_scales(work *work, const part *part, const int32_t *offset)
{
    int depth = work->model->class_width + (part->context ? seen_of(work->model) : 0);
    int count = find_channels(work, part, offset, depth), panels = dcn_panels_of(count);
    size_t plane = (size_t)panels * DCN_PANEL * work->padded, half = (size_t)work->width;
    memset(work->scales, 0, (size_t)part->channels * work->size);
    for (int i = 0; count && i < 2; i++) {
        memset(work->found, 0, 2 * plane);
        for (int p = 0; p < part->places; p++) {
            int place = part->which[p];
            if (place >> 1 != i)
                continue;
            logit_panels(work, part, offset, count, place, depth);
            dcn_products_as_scales(work->found + (place & 1 ? plane : 0), work->bias, work->panels,
                                   inputs_of(work, place), depth, work->padded, panels);
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

/* Whether sums of the scale network's first layer may need 64 bits. */
static int sums_are_wide(const dcn_entropy_model *model, const dcn_tile *tile)
{
    size_t count = (size_t)model->hyper * (size_t)tile->hyper_rows * (size_t)tile->hyper_columns;
    uint64_t largest = 0, bias = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t size = (uint64_t)(tile->v[i] < 0 ? -(int64_t)tile->v[i] : tile->v[i]);
        largest = size > largest ? size : largest;
    }
    for (int o = 0; o < DCN_PLACES * model->class_width; o++) {
        uint64_t size = (uint64_t)(model->hyper_bias[o] < 0 ? -(int64_t)model->hyper_bias[o] : model->hyper_bias[o]);
        bias = size > bias ? size : bias;
    }
    return largest * 128 * 9 * (uint64_t)model->hyper + bias >= 1u << 31;
}

/* The hidden values at hyperlatent y, x of the tile become inputs at all places. */
static void add_hidden(work *work, int y, int x, const int32_t *sums, const int64_t *wide_sums)
{
    for (int o = 0; o < DCN_PLACES * work->model->class_width; o++) {
        int64_t sum = wide_sums ? wide_sums[o] : sums[o];
        int32_t value = sum < 0 ? 0
                        : sum >= (DCN_HIDDEN_MAX + 1) * DCN_HIDDEN_UNIT ? DCN_HIDDEN_MAX
                                                                        : (int32_t)(sum >> 6);
        int c = o / DCN_PLACES, i = o % DCN_PLACES / 2, j = o % 2;
        size_t at = (size_t)c * work->padded + (size_t)(2 * y + i) * (size_t)work->width + (size_t)(2 * x + j);
        for (int p = 0; p < DCN_PLACES; p++)
            inputs_of(work, p)[at] = (float)value;
        work->reach[c] = (float)value > work->reach[c] ? (float)value : work->reach[c];
    }
}

/* The inputs that follow from hyperlatents. Returns -1 where memory is short. */
static int add_hyper(work *work, const dcn_tile *tile)
{
    const dcn_entropy_model *model = work->model;
    int hidden = DCN_PLACES * model->class_width, wide = sums_are_wide(model, tile);
    size_t rows = (size_t)tile->hyper_rows, columns = (size_t)tile->hyper_columns;
    int32_t *sums = dcn_allocate((size_t)hidden, sizeof *sums);
    int64_t *wide_sums = dcn_allocate((size_t)hidden, sizeof *wide_sums);
    for (int y = 0; sums && wide_sums && y < work->height / 2; y++)
        for (int x = 0; x < work->width / 2; x++) {
            for (int o = 0; o < hidden; o++)
                sums[o] = model->hyper_bias[o], wide_sums[o] = model->hyper_bias[o];
            for (int k = 0; k < model->hyper; k++)
                for (int t = 0; t < 9; t++) {
                    int from_y = tile->top + y + t / 3 - 1, from_x = tile->left + x + t % 3 - 1;
                    if (from_y < 0 || from_x < 0 || from_y >= tile->hyper_rows || from_x >= tile->hyper_columns)
                        continue;
                    int32_t value = tile->v[((size_t)k * rows + (size_t)from_y) * columns + (size_t)from_x];
                    const int32_t *weight = model->hyper_weight + (size_t)(9 * k + t) * (size_t)hidden;
                    if (value && !wide)
                        add_scaled(sums, weight, value, hidden);
                    else if (value)
                        add_scaled_wide(wide_sums, weight, value, hidden);
                }
            add_hidden(work, y, x, sums, wide ? wide_sums : NULL);
        }
    int made = sums && wide_sums;
    dcn_release(sums), dcn_release(wide_sums);
    return made ? 0 : -1;
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
        part whole = {first, group->channels, i ? &group->context : NULL, in_halves ? anchors : all, in_halves ? 2 : 4};
        if (whole.context)
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
