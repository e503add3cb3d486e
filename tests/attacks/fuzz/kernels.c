/* libFuzzer on the entropy decoder of runtime/libdcn: small random models, any scale indices, any stream.
 *
 *     clang -g -O2 -I runtime/libdcn/src -I runtime/libdcn/include -fsanitize=fuzzer,address,undefined -o fuzz-kernels
 *         kernels.c runtime/libdcn/src/*.c
 *
 * The first byte chooses the model, the next two the size of the tile, four the hyperlatents. What a stream can do to a
 * model that was accepted is the question.
 */
#include <stdlib.h>

#include "checkerboard.h"
#include "tile.h"

enum { VARIANTS = 16, HYPER_SIDE = 2, MOST_CHANNELS = 64 };

static uint32_t random_state;

static uint32_t next_random(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

static void *room(size_t count)
{
    void *made = calloc(count ? count : 1, 1);
    if (!made)
        abort();
    return made;
}

/* Room for the tensors of a model, which stay as long as it does: the list keeps them reachable, so that they are
 * no leaks. */
static void *lasting(size_t count)
{
    static void *kept[4096];
    static size_t used;
    if (used == sizeof kept / sizeof *kept)
        abort();
    return kept[used++] = room(count);
}

static const int8_t *weights(size_t count)
{
    int8_t *made = lasting(count);
    for (size_t i = 0; i < count; i++)
        made[i] = (int8_t)((int)(next_random() % 256) - 128);
    return made;
}

static const int32_t *biases(size_t count)
{
    int32_t *made = lasting(count * sizeof *made);
    for (size_t i = 0; i < count; i++)
        made[i] = (int32_t)(next_random() % 65536) - 32768;
    return made;
}

static const float *floats(size_t count)
{
    float *made = lasting(count * sizeof *made);
    for (size_t i = 0; i < count; i++)
        made[i] = (float)((int)(next_random() % 256) - 128) / 64;
    return made;
}

/* Counts of an alphabet of `size` symbols. */
static void fill_counts(uint32_t *counts, size_t size)
{
    uint32_t left = 1u << DCN_TOTAL_BITS;
    for (size_t i = 0; i < size; i++) {
        uint32_t most = left - (uint32_t)(size - i - 1);
        counts[i] = i + 1 == size ? left : 1 + next_random() % (most / 2 ? most / 2 : 1);
        left -= counts[i];
    }
}

static void fill_context(const dcn_entropy_tensors *tensors, dcn_context_tensors *context, int known, int channels)
{
    size_t width = (size_t)tensors->context_width, mixed = (size_t)tensors->mixed_width;
    context->hidden_weight = weights(width * 3 * (size_t)known);
    context->hidden_bias = biases(width);
    context->out_weight = weights((mixed ? mixed : width) * (size_t)channels);
    context->mixed_weight = weights(mixed * width);
    context->below_weight = weights(DCN_PLACES * mixed * (size_t)tensors->class_width);
    context->mixed_bias = biases(mixed);
}

static void fill_tables(dcn_entropy_tensors *tensors)
{
    uint8_t *radius = lasting(DCN_SCALES), *magnitude = lasting(DCN_MAGNITUDES);
    uint16_t *runs = lasting(DCN_SCALES * sizeof *runs);
    for (int scale = 1; scale < DCN_SCALES; scale++) {
        radius[scale] = (uint8_t)(1 + next_random() % 32);
        runs[scale] = next_random() % 2 ? (uint16_t)(1 + next_random() % 200) : 0;
    }
    for (int i = 0; i < DCN_MAGNITUDES; i++)
        magnitude[i] = (uint8_t)(i < 16 ? i : 16);
    tensors->radius = radius, tensors->magnitude = magnitude, tensors->runs = runs;
    size_t count, run_count;
    dcn_entropy_counts_of(tensors, &count, &run_count);
    uint32_t *counts = lasting(count * sizeof *counts), *run_counts = lasting(run_count * sizeof *run_counts);
    tensors->counts = counts, tensors->run_counts = run_counts;
    for (int scale = 1; scale < DCN_SCALES; scale++) {
        size_t size = 2 * (size_t)radius[scale] + (runs[scale] ? 1 : 2), run_size = runs[scale] ? runs[scale] + 1u : 0;
        fill_counts(counts, size), counts += size;
        fill_counts(run_counts, run_size), run_counts += run_size;
    }
}

static dcn_entropy_model *make_model(uint32_t variant, dcn_checkerboard *near)
{
    random_state = variant * 2654435761u + 1;
    dcn_entropy_tensors tensors = {0};
    tensors.hyper = 1 + (int)(next_random() % 3);
    tensors.class_width = 1 + (int)(next_random() % 6);
    tensors.context_width = 1 + (int)(next_random() % 6);
    tensors.mixed_width = next_random() % 2 ? 1 + (int)(next_random() % 6) : 0;
    tensors.groups = 1 + (int)(next_random() % 3);
    tensors.halves = (int)(next_random() % ((uint32_t)tensors.groups + 1));
    fill_tables(&tensors);
    for (int i = 0; i < tensors.groups; i++) {
        dcn_group_tensors *group = &tensors.group[i];
        int before = tensors.channels, count = group->channels = 1 + (int)(next_random() % 5);
        tensors.channels += count;
        if (i)
            fill_context(&tensors, &group->context, before, count);
        if (i < tensors.halves) {
            fill_context(&tensors, &group->non_anchors, tensors.channels, count);
            size_t width = (size_t)tensors.context_width, channels = (size_t)count;
            near[i] = (dcn_checkerboard){count, tensors.context_width, floats(width * 4 * channels), floats(width),
                                         floats(width * channels), floats(channels)};
        }
    }
    size_t outputs = DCN_PLACES * (size_t)tensors.class_width;
    tensors.scale_hidden_weight = weights(outputs * 9 * (size_t)tensors.hyper);
    tensors.scale_hidden_bias = biases(outputs);
    tensors.scale_out_weight = weights(DCN_PLACES * (size_t)tensors.channels * (size_t)tensors.class_width);
    dcn_entropy_model *model;
    if (dcn_entropy_model_new(&tensors, &model))
        abort();
    return model;
}

static void decode_one_part(const dcn_entropy_model *model, const uint8_t *data, size_t size)
{
    size_t count = size / 2 < 512 ? size / 2 : 512;
    uint8_t *scales = room(count);
    int16_t *symbols = room(count * sizeof *symbols);
    for (size_t i = 0; i < count; i++)
        scales[i] = data[i] % DCN_SCALES;
    dcn_stream_result result = {DCN_STREAM_GOOD, {0}};
    dcn_coder coder = dcn_coder_of(data + count, size - count);
    dcn_decode_part(&model->symbols, &coder, scales, count, symbols, &result);
    free(scales), free(symbols);
}

static void decode_one_tile(const dcn_entropy_model *model, const dcn_checkerboard *near, const uint8_t *data,
                            size_t size)
{
    if (size < 6)
        return;
    int32_t v[3 * HYPER_SIDE * HYPER_SIDE], offset[MOST_CHANNELS];
    dcn_tile tile = {.stream = data + 6, .size = (size - 6) / 4 * 4, .v = v, .hyper_rows = HYPER_SIDE,
                     .hyper_columns = HYPER_SIDE, .offset = offset, .rows = 1 + data[0] % (4 * HYPER_SIDE),
                     .columns = 1 + data[1] % (4 * HYPER_SIDE), .groups = 1 + data[0] / 64 % model->groups};
    float step[MOST_CHANNELS];
    for (int i = 0; i < 3 * HYPER_SIDE * HYPER_SIDE; i++)
        v[i] = ((int32_t)(int8_t)data[2 + i % 4]) * (1 << (i % 16));
    for (int c = 0; c < model->channels; c++) {
        offset[c] = ((int32_t)data[2 + c % 4] - 64) * 256;
        step[c] = 0.5f + (float)c;
    }
    if (!dcn_tile_fits(model, &tile))
        abort();
    size_t area = (size_t)tile.rows * (size_t)tile.columns, channels = (size_t)model->channels, first = 0;
    int16_t *symbols = room(area * channels * sizeof *symbols);
    float *added = room(area * channels * sizeof *added);
    dcn_stream_result result;
    if (!dcn_decode_tile(model, &tile, symbols, &result))
        for (int i = 0; i < model->halves; first += (size_t)near[i++].channels)
            dcn_checkerboard_add(&near[i], symbols + first * area, step, tile.rows, tile.columns, added + first * area);
    free(symbols), free(added);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static dcn_entropy_model *models[VARIANTS];
    static dcn_checkerboard near[VARIANTS][DCN_MOST_GROUPS];
    if (!size)
        return 0;
    uint32_t variant = data[0] % VARIANTS;
    if (!models[variant])
        models[variant] = make_model(variant, near[variant]);
    if (data[0] & 0x80)
        decode_one_part(models[variant], data + 1, size - 1);
    else
        decode_one_tile(models[variant], near[variant], data + 1, size - 1);
    return 0;
}
