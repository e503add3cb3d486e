/* Where the time of a decode goes, on one thread: `stages MODEL.dcnm REPEATS FILE.dcn...` prints the medians of the
 * processor time of each stage in milliseconds, over the repeats of all files (pictures of one coding tile), and the
 * wall time of whole decodes on one and on two threads. Stages and decodes come in turn. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "memory.h"
#include "picture.h"
#include "synthesis.h"
#include "tile.h"

enum { PARSE, HYPER, ENTROPY, MEANS, CONTEXTS, SYNTHESIS, STAGES, WHOLE_1 = STAGES, WHOLE_2, TIMES };

static const char *const NAMES[TIMES] = {"parse and checksums", "hyperlatents",  "symbols of the tile", "means",
                                         "mean contexts",       "synthesis", "whole, 1 thread",     "whole, 2 threads"};

typedef struct {
    uint8_t *bytes;
    size_t size;
} file;

static double now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return 1e3 * (double)time.tv_sec + 1e-6 * (double)time.tv_nsec;
}

static file read_file(const char *path)
{
    FILE *stream = fopen(path, "rb");
    file made = {NULL, 0};
    if (!stream || fseek(stream, 0, SEEK_END)) {
        fprintf(stderr, "stages: %s cannot be read\n", path);
        exit(1);
    }
    made.size = (size_t)ftell(stream);
    made.bytes = malloc(made.size + 1);
    rewind(stream);
    int whole = made.bytes && fread(made.bytes, 1, made.size, stream) == made.size;
    fclose(stream);
    if (!whole) {
        fprintf(stderr, "stages: %s cannot be read\n", path);
        free(made.bytes);
        exit(1);
    }
    return made;
}

static void check(dcn_status status, const dcn_error *error)
{
    if (status != DCN_OK) {
        fprintf(stderr, "stages: %s\n", error->message);
        exit(1);
    }
}

/* The stages of one decode, one after the other; `times` gets the milliseconds of each. */
static void run_stages(const dcn_model *model, file file, uint8_t *pixels, double *times)
{
    dcn_error error = {DCN_OK, ""};
    dcn_info info;
    dcn_picture picture;
    dcn_tile_latents tile;
    double at[STAGES + 1];
    at[PARSE] = now(CLOCK_THREAD_CPUTIME_ID);
    check(dcn_read_info(file.bytes, file.size, &info, &error), &error);
    at[HYPER] = now(CLOCK_THREAD_CPUTIME_ID);
    check(dcn_picture_open(&picture, model, &info, &error), &error);
    at[ENTROPY] = now(CLOCK_THREAD_CPUTIME_ID);
    dcn_tile_place(&picture, 0, 0, &tile);
    if (tile.rows != picture.h || tile.columns != picture.w || picture.h % 4 || picture.w % 4) {
        fprintf(stderr, "stages: a picture of one coding tile and whole hyperlatents expected\n");
        exit(1);
    }
    size_t channels = (size_t)model->entropy->channels, size = channels * (size_t)tile.rows * (size_t)tile.columns;
    tile.symbols = dcn_allocate_zeroed(size, sizeof(int16_t));
    tile.means = dcn_allocate(size, sizeof(int16_t));
    dcn_tile coded = {.stream = picture.streams[0].bytes, .size = picture.streams[0].size, .v = picture.v,
                      .hyper_rows = picture.hz, .hyper_columns = picture.wz, .offset = picture.offset,
                      .rows = tile.rows, .columns = tile.columns, .groups = model->entropy->groups};
    dcn_stream_result result;
    if (!tile.symbols || !tile.means || dcn_decode_tile(model->entropy, &coded, tile.symbols, &result))
        exit(1);
    at[MEANS] = now(CLOCK_THREAD_CPUTIME_ID);
    check(dcn_mean_compute(model->mean, picture.v, (size_t)picture.hz * (size_t)picture.wz, (size_t)picture.wz,
                           picture.hz, picture.wz, tile.means),
          &error);
    at[CONTEXTS] = now(CLOCK_THREAD_CPUTIME_ID);
    check(dcn_mean_context(model->mean, tile.symbols, picture.step, tile.rows, tile.columns, 1, tile.means,
                           (size_t)tile.columns * channels, channels),
          &error);
    at[SYNTHESIS] = now(CLOCK_THREAD_CPUTIME_ID);
    dcn_latents latents = {tile.symbols, tile.means, picture.step, tile.rows, tile.columns};
    dcn_view view = {.height = 16 * tile.rows, .width = 16 * tile.columns, .pixels = pixels,
                     .stride = 48 * (size_t)tile.columns};
    check(dcn_synthesis_view(model->synthesis, &latents, 1, &view), &error);
    at[STAGES] = now(CLOCK_THREAD_CPUTIME_ID);
    dcn_release(tile.symbols), dcn_release(tile.means);
    dcn_picture_free(&picture);
    for (int i = 0; i < STAGES; i++)
        times[i] = at[i + 1] - at[i];
}

static double run_whole(const dcn_model *model, file file, uint8_t *pixels, int threads)
{
    dcn_error error;
    dcn_options options = {.threads = threads};
    double begin = now(CLOCK_MONOTONIC);
    check(dcn_decode(model, file.bytes, file.size, &options, DCN_RGB, pixels, 0, &error), &error);
    return now(CLOCK_MONOTONIC) - begin;
}

static int order(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

int main(int count, char **arguments)
{
    if (count < 4) {
        fprintf(stderr, "usage: stages MODEL.dcnm REPEATS FILE.dcn...\n");
        return 2;
    }
    file bytes = read_file(arguments[1]);
    int repeats = atoi(arguments[2]), files = count - 3;
    dcn_model *model;
    dcn_error error;
    dcn_info info;
    check(dcn_model_open(bytes.bytes, bytes.size, &model, &error), &error);
    double *times = calloc((size_t)(TIMES * repeats * files), sizeof *times), one[TIMES];
    if (!times)
        exit(1);
    for (int i = 0; i < repeats * files; i++) {
        file given = read_file(arguments[3 + i % files]);
        check(dcn_read_info(given.bytes, given.size, &info, &error), &error);
        uint8_t *pixels = malloc((size_t)(info.width + 16) * (info.height + 16) * 3);
        run_stages(model, given, pixels, one);
        one[WHOLE_1] = run_whole(model, given, pixels, 1);
        one[WHOLE_2] = run_whole(model, given, pixels, 2);
        for (int stage = 0; stage < TIMES; stage++)
            times[stage * repeats * files + i] = one[stage];
        free(pixels), free(given.bytes);
    }
    printf("%s, %s kernels\n", dcn_model_name(model), dcn_kernels_in_use());
    for (int stage = 0; stage < TIMES; stage++) {
        double *of_stage = times + stage * repeats * files;
        qsort(of_stage, (size_t)(repeats * files), sizeof *of_stage, order);
        printf("%-20s median %7.3f  least %7.3f ms\n", NAMES[stage], of_stage[repeats * files / 2], of_stage[0]);
    }
    dcn_model_close(model);
    free(times), free(bytes.bytes);
    return 0;
}
