/* See tile.h. decant.codec.layout is the same in numpy. */
#include "tile.h"

#include <string.h>

#include "memory.h"
#include "tile_work.h"
#include "wide.h"

enum { MOST_SIDE = 1 << 16 };

/* Number of inputs at a place: from hyperlatents, then from a context. */
static inline int depth_of(const dcn_entropy_model *model)
{
    int width = model->context_width > model->mixed_width ? model->context_width : model->mixed_width;
    return dcn_even(model->class_width) + dcn_even(width);
}

static void free_work(dcn_tile_work *work)
{
    void *parts[] = {work->lines, work->live,   work->reach,    work->weights, work->bias,  work->edged,
                     work->line,  work->paired, work->channels, work->scales,  work->found};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        dcn_release(parts[i]);
    for (int p = 0; p < DCN_PLACES; p++)
        dcn_planes_free(&work->inputs[p]), dcn_planes_free(&work->features[p]);
    dcn_planes_free(&work->hidden);
}

/* Number of channels of features. Every group may leave half a pair, hence the reserve. */
static inline int features_of(const dcn_entropy_model *model)
{
    return DCN_TAPS * (dcn_even(model->most_known) + 2 * DCN_MOST_GROUPS);
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

static void set_sizes(dcn_tile_work *work, int rows, int columns)
{
    work->rows = rows, work->columns = columns;
    work->height = 2 * ((rows + 3) / 4), work->width = 2 * ((columns + 3) / 4);
    work->padded = ((size_t)work->height * (size_t)work->width + DCN_BLOCK - 1) / DCN_BLOCK * DCN_BLOCK;
    work->step = 2 * (size_t)work->width;
    work->size = (size_t)rows * (size_t)columns;
}

/* Returns -1 without enough memory. */
static int make_work(dcn_tile_work *work)
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
    work->lines = dcn_allocate_zeroed(2 * DCN_PLACES * DCN_TAPS * work->padded, sizeof(int16_t));
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
    dcn_tile_work work = {.model = model};
    set_sizes(&work, rows, columns);
    size_t most, deepest;
    widest(model, &most, &deepest);
    uint64_t padded = work.padded, size = work.size;
    uint64_t planes = DCN_PLACES * ((uint64_t)depth_of(model) + (uint64_t)features_of(model) + 2 * DCN_TAPS) +
                      (uint64_t)depth_of(model);
    return 2 * planes * padded + 2 * most * padded + most * size + 2 * most * deepest +
           2 * (uint64_t)(rows + 2) * (work.step + 2) + 12 * (uint64_t)DCN_PLACES * padded * (uint64_t)model->class_width +
           most * size * 30 + (1 << 16); /* the sorted positions and symbols of a part */
}

/* ---- scale indices ---- */

WIDE static void pairs_together(uint8_t *restrict out, const uint8_t *restrict first, const uint8_t *restrict second,
                                size_t count)
{
    for (size_t i = 0; i < count; i++) {
        out[2 * i] = first[i];
        out[2 * i + 1] = second[i];
    }
}

/* One part of a tile: a channel group, or its anchor or non-anchor positions. */
typedef struct {
    int first, channels;        /* first channel, and how many */
    const dcn_context *context;
    const int *which;           /* the places whose positions it has */
    int places;
} part;

/* Finds the channels of a part whose scale indices are not 0 everywhere: those whose logits can reach 1. In most
 * pictures they are few. */
static int find_channels(dcn_tile_work *work, const part *part, const int32_t *offset)
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

/* Computes the scale indices of a part; 0 at positions outside it. */
static void find_scales(dcn_tile_work *work, const part *part, const int32_t *offset)
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

/* ---- the parts, one after the other ---- */

static dcn_stream_fault decode_groups(dcn_tile_work *work, dcn_coder *coder, const dcn_tile *tile, dcn_stream_result *result)
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
            dcn_add_context(work, whole.context, whole.which, whole.places);
        find_scales(work, &whole, tile->offset);
        if (dcn_decode_part(&model->symbols, coder, work->scales, size, symbols, result))
            return result->fault;
        if (in_halves) {
            int live_count = work->live_count;
            part rest = {first, group->channels, &group->non_anchors, others, 2};
            dcn_add_features(work, first, end); /* of the anchors: the others are 0 so far */
            dcn_add_context(work, rest.context, rest.which, rest.places);
            work->live_count = live_count;
            find_scales(work, &rest, tile->offset);
            if (dcn_decode_part(&model->symbols, coder, work->scales, size, symbols, result))
                return result->fault;
        }
        if (i + 1 < tile->groups)
            dcn_add_features(work, first, end);
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
    dcn_tile_work work = {.model = model, .symbols = symbols};
    *result = (dcn_stream_result){DCN_STREAM_GOOD, {0}};
    set_sizes(&work, tile->rows, tile->columns);
    if (make_work(&work) || dcn_add_hyper(&work, tile))
        dcn_stream_refuse(result, DCN_STREAM_NO_MEMORY, 0, 0, 0);
    else {
        dcn_coder coder = dcn_coder_of(tile->stream, tile->size);
        if (!decode_groups(&work, &coder, tile, result) && tile->groups == model->groups && !dcn_coder_ended(&coder))
            dcn_stream_refuse(result, DCN_STREAM_NOT_ENDED, 0, 0, 0);
    }
    free_work(&work);
    return result->fault;
}
