/* See picture.h. decant.codec.layout and .decoder are the same in Python. */
#include "picture.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "memory.h"
#include "threads.h"
#include "tile.h"

enum { OFFSET_UNIT = 256, OFFSET_ZERO = 64, LENGTH_BYTES = 5 };

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

void dcn_picture_sizes(dcn_picture *picture, const dcn_model *model, uint32_t width, uint32_t height)
{
    memset(picture, 0, sizeof *picture);
    picture->model = model;
    picture->h = ((int)height + DCN_LATENT_PIXELS - 1) / DCN_LATENT_PIXELS;
    picture->w = ((int)width + DCN_LATENT_PIXELS - 1) / DCN_LATENT_PIXELS;
    picture->hz = (picture->h + DCN_HYPER_LATENTS - 1) / DCN_HYPER_LATENTS;
    picture->wz = (picture->w + DCN_HYPER_LATENTS - 1) / DCN_HYPER_LATENTS;
    picture->tile_rows = (picture->h + model->tile - 1) / model->tile;
    picture->tile_columns = (picture->w + model->tile - 1) / model->tile;
}

uint64_t dcn_picture_memory(const dcn_picture *picture)
{
    uint64_t hyper = (uint64_t)picture->model->entropy->hyper * (uint64_t)picture->hz * (uint64_t)picture->wz;
    return hyper * (4 + 2 + 1 + 30) + sizeof(dcn_bytes) * (uint64_t)picture->tile_rows * (uint64_t)picture->tile_columns +
           8 * (uint64_t)picture->model->entropy->channels;
}

uint64_t dcn_picture_tile_memory(const dcn_picture *picture)
{
    const dcn_model *model = picture->model;
    int rows = smaller(model->tile, picture->h), columns = smaller(model->tile, picture->w);
    int hz = smaller(rows / 4 + 1 + 2 * DCN_MEAN_HALO, picture->hz), wz = smaller(columns / 4 + 1 + 2 * DCN_MEAN_HALO, picture->wz);
    uint64_t channels = (uint64_t)model->entropy->channels;
    uint64_t means = 32 * channels * (uint64_t)hz * (uint64_t)wz;
    return dcn_tile_memory(model->entropy, rows, columns) + dcn_mean_memory(model->mean, hz, wz) + means +
           2 * channels * (uint64_t)rows * (uint64_t)columns;
}

/* ---- streams ---- */

/* The LEB128 number at `*at`, in as few bytes as hold it and at most 5. */
static dcn_status read_length(dcn_bytes latents, size_t *at, uint64_t *length, dcn_error *error)
{
    *length = 0;
    for (int i = 0; i < LENGTH_BYTES; i++) {
        if (*at >= latents.size)
            return dcn_fail(error, DCN_BAD_FILE, "the latents end at byte %zu, within the length of a stream", *at);
        uint8_t byte = latents.bytes[(*at)++];
        *length |= (uint64_t)(byte & 0x7F) << 7 * i;
        if (byte < 0x80 && !(byte == 0 && i))
            return DCN_OK;
        if (byte < 0x80)
            break;
    }
    return dcn_fail(error, DCN_BAD_FILE, "a length at byte %zu of the latents has more bytes than it needs", *at);
}

static dcn_status find_streams(dcn_picture *picture, dcn_bytes latents, dcn_error *error)
{
    size_t count = (size_t)picture->tile_rows * (size_t)picture->tile_columns, at = 0;
    picture->streams = dcn_allocate(count, sizeof *picture->streams);
    if (!picture->streams)
        return dcn_fail(error, DCN_OUT_OF_MEMORY, "no memory for %zu streams", count);
    for (size_t i = 0; i <= count; i++) {
        uint64_t length = 0;
        if (i < count) {
            dcn_status status = read_length(latents, &at, &length, error);
            if (status != DCN_OK)
                return status;
        } else {
            length = latents.size - at;
        }
        if (length > latents.size - at)
            return dcn_fail(error, DCN_BAD_FILE,
                            "stream %zu of the latents reaches %" PRIu64 " bytes beyond byte %zu; %zu are left", i, length,
                            at, latents.size - at);
        if (length % 4)
            return dcn_fail(error, DCN_BAD_FILE, "stream %zu of the latents has %" PRIu64 " bytes; a multiple of 4 expected",
                            i, length);
        *(i ? &picture->streams[i - 1] : &picture->hyper_stream) = (dcn_bytes){latents.bytes + at, (size_t)length};
        at += (size_t)length;
    }
    return DCN_OK;
}

/* Refuses a stream that no encoder writes. `tile`: its number, negative for the hyperlatents. */
static dcn_status stream_failed(const dcn_stream_result *result, long tile, dcn_error *error)
{
    char where[40] = "hyperlatents";
    if (tile >= 0)
        snprintf(where, sizeof where, "tile %ld", tile);
    const int64_t *n = result->numbers;
    switch (result->fault) {
    case DCN_STREAM_TOO_MANY:
        return dcn_fail(error, DCN_BAD_FILE, "%s: %" PRId64 " symbols of scale index %" PRId64 " are not 0; there are %" PRId64, where,
                        n[0], n[1], n[2]);
    case DCN_STREAM_TOO_LARGE:
        return dcn_fail(error, DCN_BAD_FILE, "%s: a symbol of size %" PRId64 "; at most %d expected", where, n[0],
                        DCN_LARGEST_SYMBOL);
    case DCN_STREAM_TOO_FAR:
        return dcn_fail(error, DCN_BAD_FILE, "%s: symbols of scale index %" PRId64 " reach %" PRId64 "; there are %" PRId64, where,
                        n[0], n[1], n[2]);
    case DCN_STREAM_NO_MEMORY:
        return dcn_fail(error, DCN_OUT_OF_MEMORY, "no memory for a stream");
    default:
        return dcn_fail(error, DCN_BAD_FILE, "%s: the stream does not end with its last symbol: it is damaged", where);
    }
}

static int ends_in_zero_word(dcn_bytes stream)
{
    return stream.size && !dcn_u32(stream.bytes + stream.size - 4);
}

static dcn_status zero_word(long tile, dcn_error *error)
{
    if (tile < 0)
        return dcn_fail(error, DCN_BAD_FILE, "hyperlatents: a stream ends in a zero word, which no encoder writes");
    return dcn_fail(error, DCN_BAD_FILE, "tile %ld: a stream ends in a zero word, which no encoder writes", tile);
}

/* ---- hyperlatents ---- */

static dcn_status decode_hyper(dcn_picture *picture, int quality, dcn_error *error)
{
    const dcn_model *model = picture->model;
    size_t hyper = (size_t)model->entropy->hyper, area = (size_t)picture->hz * (size_t)picture->wz;
    const uint8_t *multiplier = model->hyper_multiplier + (size_t)(quality - 1) * hyper;
    const uint8_t *scale = model->hyper_class + (size_t)(quality - 1) * hyper;
    if (ends_in_zero_word(picture->hyper_stream))
        return zero_word(-1, error);
    int16_t *z = dcn_allocate_zeroed(hyper * area, sizeof *z);
    uint8_t *scales = dcn_allocate(hyper * area, 1);
    dcn_status status = DCN_OK;
    picture->v = dcn_allocate(hyper * area, sizeof *picture->v);
    if (!z || !scales || !picture->v)
        status = dcn_fail(error, DCN_OUT_OF_MEMORY, "no memory for the hyperlatents");
    if (status == DCN_OK) {
        for (size_t k = 0; k < hyper; k++)
            memset(scales + k * area, scale[k], area);
        dcn_stream_result result = {DCN_STREAM_GOOD, {0}};
        dcn_coder coder = dcn_coder_of(picture->hyper_stream.bytes, picture->hyper_stream.size);
        if (!dcn_decode_part(&model->entropy->symbols, &coder, scales, hyper * area, z, &result) && !dcn_coder_ended(&coder))
            result.fault = DCN_STREAM_NOT_ENDED;
        if (result.fault)
            status = stream_failed(&result, -1, error);
    }
    for (size_t i = 0; status == DCN_OK && i < hyper * area; i++) {
        int32_t value = z[i] * multiplier[i / area];
        picture->v[i] = value < -DCN_LARGEST_INPUT ? -DCN_LARGEST_INPUT : value > DCN_LARGEST_INPUT ? DCN_LARGEST_INPUT : value;
    }
    dcn_release(z), dcn_release(scales);
    return status;
}

/* Steps and offsets of a quality. */
static dcn_status read_quality(dcn_picture *picture, int quality, dcn_error *error)
{
    const dcn_model *model = picture->model;
    size_t channels = (size_t)model->entropy->channels, row = (size_t)(quality - 1) * channels;
    picture->step = dcn_allocate(channels, sizeof *picture->step);
    picture->offset = dcn_allocate(channels, sizeof *picture->offset);
    if (!picture->step || !picture->offset)
        return dcn_fail(error, DCN_OUT_OF_MEMORY, "no memory for the steps");
    for (size_t c = 0; c < channels; c++) {
        picture->step[c] = model->step_levels[model->step_index[row + c]];
        picture->offset[c] = (model->class_offset[row + c] - OFFSET_ZERO) * OFFSET_UNIT;
    }
    return DCN_OK;
}

dcn_status dcn_picture_open(dcn_picture *picture, const dcn_model *model, const dcn_info *info, dcn_error *error)
{
    dcn_picture_sizes(picture, model, info->width, info->height);
    if (info->quality < 1 || info->quality > DCN_QUALITIES)
        return dcn_fail(error, DCN_BAD_FILE, "quality %d; model %s has qualities 1..%d", info->quality, model->name,
                        DCN_QUALITIES);
    dcn_status status = find_streams(picture, info->latents, error);
    if (status == DCN_OK)
        status = read_quality(picture, info->quality, error);
    if (status == DCN_OK)
        status = decode_hyper(picture, info->quality, error);
    return status;
}

void dcn_picture_free(dcn_picture *picture)
{
    dcn_release(picture->streams), dcn_release(picture->v), dcn_release(picture->offset), dcn_release(picture->step);
}

/* ---- tiles ---- */

void dcn_tile_place(const dcn_picture *picture, int tile_row, int tile_column, dcn_tile_latents *tile)
{
    int side = picture->model->tile;
    *tile = (dcn_tile_latents){.top = tile_row * side, .left = tile_column * side};
    tile->rows = smaller(side, picture->h - tile->top), tile->columns = smaller(side, picture->w - tile->left);
}

/* The hyperlatents of `count` latents from `first` on, with a halo, within `bound`. */
static void with_halo(int first, int count, int bound, int *begin, int *end)
{
    *begin = first / DCN_HYPER_LATENTS - DCN_MEAN_HALO;
    *begin = *begin < 0 ? 0 : *begin;
    *end = smaller((first + count + DCN_HYPER_LATENTS - 1) / DCN_HYPER_LATENTS + DCN_MEAN_HALO, bound);
}

/* The two halves of the work on a tile, which know nothing of one another: symbols, and means without contexts. */
typedef struct {
    const dcn_picture *picture;
    const dcn_tile *coded;
    dcn_tile_latents *tile;
    int top, left, rows, columns; /* hyperlatents of the means */
    dcn_stream_result result;
    dcn_status mean_status;
} halves;

static void decode_symbols(halves *halves)
{
    dcn_decode_tile(halves->picture->model->entropy, halves->coded, halves->tile->symbols, &halves->result);
}

static void compute_means(halves *halves)
{
    const dcn_picture *picture = halves->picture;
    size_t row = (size_t)picture->wz;
    halves->mean_status = dcn_mean_compute(picture->model->mean,
                                           picture->v + (size_t)halves->top * row + (size_t)halves->left,
                                           (size_t)picture->hz * row, row, halves->rows, halves->columns,
                                           halves->tile->means);
}

static void run_half(void *context, int index)
{
    if (index)
        compute_means(context);
    else
        decode_symbols(context);
}

dcn_status dcn_tile_open(const dcn_picture *picture, int groups, int threads, dcn_tile_latents *tile, dcn_error *error)
{
    const dcn_model *model = picture->model;
    int side = model->tile, top, bottom, left, right;
    long number = (long)(tile->top / side) * picture->tile_columns + tile->left / side;
    dcn_bytes stream = picture->streams[number];
    with_halo(tile->top, tile->rows, picture->hz, &top, &bottom);
    with_halo(tile->left, tile->columns, picture->wz, &left, &right);
    size_t channels = (size_t)model->entropy->channels;
    dcn_tile coded = {.stream = stream.bytes, .size = stream.size, .v = picture->v, .hyper_rows = picture->hz,
                      .hyper_columns = picture->wz, .top = tile->top / DCN_HYPER_LATENTS,
                      .left = tile->left / DCN_HYPER_LATENTS, .offset = picture->offset, .rows = tile->rows,
                      .columns = tile->columns, .groups = groups};
    if (ends_in_zero_word(stream))
        return zero_word(number, error);
    if (!dcn_tile_fits(model->entropy, &coded))
        return dcn_fail(error, DCN_BAD_ARGUMENT, "a coding tile beyond what libdcn decodes");
    tile->mean_columns = (size_t)(right - left) * DCN_HYPER_LATENTS;
    tile->mean_first = (size_t)(tile->top - top * DCN_HYPER_LATENTS) * tile->mean_columns +
                       (size_t)(tile->left - left * DCN_HYPER_LATENTS);
    tile->means = dcn_allocate((size_t)(bottom - top) * DCN_HYPER_LATENTS * tile->mean_columns * channels, sizeof *tile->means);
    if (!tile->means)
        return dcn_fail(error, DCN_OUT_OF_MEMORY, "no memory for the means");
    halves halves = {.picture = picture, .coded = &coded, .tile = tile, .top = top, .left = left, .rows = bottom - top,
                     .columns = right - left};
    if (threads > 1) {
        dcn_parallel(2, run_half, &halves);
    } else {
        decode_symbols(&halves);
        if (!halves.result.fault)
            compute_means(&halves);
    }
    if (halves.result.fault)
        return stream_failed(&halves.result, number, error);
    dcn_status status = halves.mean_status;
    if (status == DCN_OK)
        status = dcn_mean_context(model->mean, tile->symbols, picture->step, tile->rows, tile->columns, threads,
                                  tile->means + tile->mean_first * channels, tile->mean_columns * channels, channels);
    return status == DCN_OK ? DCN_OK : dcn_fail(error, status, "no memory for the means");
}
