/* The decoding functions of dcn.h. A picture is decoded in strips, one row of coding tiles after the other. A strip
 * holds the latents of its tiles, and the last rows before them on which its pixels depend. */
#include <string.h>

#include "alpha.h"
#include "memory.h"
#include "picture.h"
#include "threads.h"

enum { MOST_SIDE = 65535, MOST_TILE_THREADS = 4 };

static const uint64_t MOST_PIXELS = (uint64_t)1 << 28;

typedef struct {
    const dcn_model *model;
    dcn_options options; /* with defaults filled in */
    dcn_pixels format;
    int grey, groups;
    uint8_t *pixels;
    size_t stride;
    dcn_picture picture;
    dcn_alpha *alpha;
    uint32_t alpha_rows;              /* read so far */
    int first_row, end_row;           /* latent rows that the region's pixels lie in */
    int top, bottom, left, right;     /* latents that they depend on */
    int halo;
    int begin, end;                   /* latent rows of the strip */
    int16_t *symbols, *means;         /* of the strip */
    int16_t *kept_symbols;            /* (channels, 2 * halo, columns): its last rows, for the next */
} decoding;

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

static int larger(int a, int b)
{
    return a > b ? a : b;
}

/* ---- arguments ---- */

/* Fills in defaults and checks the region. */
static dcn_status check_options(const dcn_info *info, const dcn_options *given, dcn_options *options, dcn_error *error)
{
    *options = given ? *given : (dcn_options){0};
    if (!options->width && !options->height && !options->x && !options->y)
        options->width = info->width, options->height = info->height;
    if (!options->width || !options->height || options->x > info->width || options->y > info->height ||
        options->width > info->width - options->x || options->height > info->height - options->y)
        return dcn_fail(error, DCN_BAD_ARGUMENT, "region %ux%u at %u,%u is not within the picture's %ux%u pixels",
                        (unsigned)options->width, (unsigned)options->height, (unsigned)options->x, (unsigned)options->y,
                        (unsigned)info->width, (unsigned)info->height);
    if (options->threads < 0 || options->preview_groups < 0)
        return dcn_fail(error, DCN_BAD_ARGUMENT, "a number of threads or of channel groups below 0");
    options->threads = larger(1, smaller(options->threads, DCN_MOST_THREADS));
    options->most_pixels = options->most_pixels ? options->most_pixels : MOST_PIXELS;
    if ((uint64_t)info->width * info->height > options->most_pixels)
        return dcn_fail(error, DCN_TOO_LARGE, "%ux%u pixels; at most %llu are allowed", (unsigned)info->width,
                        (unsigned)info->height, (unsigned long long)options->most_pixels);
    return DCN_OK;
}

/* Sets the fields that follow from the sizes of the picture and the region. */
static void place(decoding *work)
{
    const dcn_options *options = &work->options;
    work->halo = dcn_synthesis_halo(work->model->synthesis);
    work->first_row = (int)options->y / DCN_LATENT_PIXELS;
    work->end_row = (int)(options->y + options->height + DCN_LATENT_PIXELS - 1) / DCN_LATENT_PIXELS;
    int first = (int)options->x / DCN_LATENT_PIXELS;
    int end = (int)(options->x + options->width + DCN_LATENT_PIXELS - 1) / DCN_LATENT_PIXELS;
    work->top = larger(0, work->first_row - work->halo), work->bottom = smaller(work->picture.h, work->end_row + work->halo);
    work->left = larger(0, first - work->halo), work->right = smaller(work->picture.w, end + work->halo);
}

/* The most rows of a strip. */
static int strip_rows(const decoding *work)
{
    return smaller(work->model->tile + 2 * work->halo, work->bottom - work->top);
}

static int tile_threads(const decoding *work)
{
    int side = work->model->tile, count = (work->right - 1) / side - work->left / side + 1;
    return smaller(smaller(work->options.threads, MOST_TILE_THREADS), count);
}

static uint64_t memory_of(const decoding *work)
{
    uint64_t columns = (uint64_t)(work->right - work->left), channels = (uint64_t)work->model->entropy->channels;
    uint64_t strip = 2 * channels * columns * (uint64_t)(2 * strip_rows(work) + 2 * work->halo);
    uint64_t tiles = (uint64_t)tile_threads(work) * dcn_picture_tile_memory(&work->picture);
    uint64_t synthesis = dcn_synthesis_memory(work->model->synthesis, (int)columns, work->options.threads);
    return dcn_picture_memory(&work->picture) + strip + (tiles > synthesis ? tiles : synthesis) +
           dcn_alpha_memory((uint32_t)work->picture.w * DCN_LATENT_PIXELS);
}

uint64_t dcn_decode_memory(const dcn_model *model, const dcn_info *info, const dcn_options *options)
{
    decoding work = {.model = model};
    if (check_options(info, options, &work.options, NULL) != DCN_OK)
        return 0;
    dcn_picture_sizes(&work.picture, model, info->width, info->height);
    place(&work);
    return memory_of(&work);
}

/* ---- tiles of a strip ---- */

/* The tiles of one row, shared by `count` threads. */
typedef struct {
    const decoding *work;
    int tile_row, first, end, count;
    dcn_status status[MOST_TILE_THREADS];
    dcn_error error[MOST_TILE_THREADS];
} tile_row;

/* Copies those latents of a tile that belong to the strip. */
static void copy_tile(const decoding *work, const dcn_tile_latents *tile)
{
    size_t channels = (size_t)work->model->entropy->channels, columns = (size_t)(work->right - work->left);
    size_t rows = (size_t)(work->end - work->begin);
    int top = larger(tile->top, work->begin), bottom = smaller(tile->top + tile->rows, work->end);
    int left = larger(tile->left, work->left), right = smaller(tile->left + tile->columns, work->right);
    size_t count = (size_t)(right - left), from_left = (size_t)(left - tile->left), to_left = (size_t)(left - work->left);
    for (int y = top; y < bottom; y++) {
        size_t from = (size_t)(y - tile->top), to = (size_t)(y - work->begin);
        memcpy(work->means + (to * columns + to_left) * channels,
               tile->means + (tile->mean_first + from * tile->mean_columns + from_left) * channels,
               count * channels * sizeof(int16_t));
        for (size_t c = 0; tile->symbols != work->symbols && c < channels; c++)
            memcpy(work->symbols + (c * rows + to) * columns + to_left,
                   tile->symbols + (c * (size_t)tile->rows + from) * (size_t)tile->columns + from_left,
                   count * sizeof(int16_t));
    }
}

static dcn_status decode_tile(const decoding *work, int row, int column, dcn_error *error)
{
    dcn_tile_latents tile;
    int threads = work->options.threads / tile_threads(work);
    dcn_tile_place(&work->picture, row, column, &tile);
    size_t size = (size_t)work->model->entropy->channels * (size_t)tile.rows * (size_t)tile.columns;
    int whole = tile.top == work->begin && tile.top + tile.rows == work->end && tile.left == work->left &&
                tile.left + tile.columns == work->right;
    if (whole)
        tile.symbols = memset(work->symbols, 0, size * sizeof(int16_t));
    else
        tile.symbols = dcn_allocate_zeroed(size, sizeof(int16_t));
    dcn_status status = tile.symbols ? dcn_tile_open(&work->picture, work->groups, threads, &tile, error)
                                     : dcn_fail(error, DCN_OUT_OF_MEMORY, "no memory for a coding tile");
    if (status == DCN_OK)
        copy_tile(work, &tile);
    if (!whole)
        dcn_release(tile.symbols);
    dcn_release(tile.means);
    return status;
}

static void decode_some_tiles(void *context, int index)
{
    tile_row *tiles = context;
    for (int column = tiles->first + index; column < tiles->end && tiles->status[index] == DCN_OK; column += tiles->count)
        tiles->status[index] = decode_tile(tiles->work, tiles->tile_row, column, &tiles->error[index]);
}

/* Decodes the tiles of one row into the strip. */
static dcn_status decode_tiles(const decoding *work, int row, dcn_error *error)
{
    int side = work->model->tile;
    tile_row tiles = {.work = work, .tile_row = row, .first = work->left / side, .end = (work->right - 1) / side + 1,
                      .count = tile_threads(work)};
    dcn_parallel(tiles.count, decode_some_tiles, &tiles);
    for (int i = 0; i < tiles.count; i++)
        if (tiles.status[i] != DCN_OK)
            return dcn_fail(error, tiles.status[i], "%s", tiles.error[i].message);
    return DCN_OK;
}

/* ---- strips ---- */

/* Moves the rows of the strip from `from` on to the beginning of the next strip, which ends before `end`. */
static void next_strip(decoding *work, int from, int end)
{
    size_t channels = (size_t)work->model->entropy->channels, columns = (size_t)(work->right - work->left);
    size_t rows = (size_t)(work->end - work->begin), kept = (size_t)(work->end - from), skipped = rows - kept;
    size_t next = (size_t)(end - from);
    for (size_t c = 0; c < channels; c++)
        memcpy(work->kept_symbols + c * kept * columns, work->symbols + (c * rows + skipped) * columns,
               kept * columns * sizeof(int16_t));
    for (size_t c = 0; c < channels; c++)
        memcpy(work->symbols + c * next * columns, work->kept_symbols + c * kept * columns,
               kept * columns * sizeof(int16_t));
    memmove(work->means, work->means + skipped * columns * channels, kept * columns * channels * sizeof(int16_t));
    work->begin = from, work->end = end;
}

/* Converts pixels of three bytes to grey if the file is grey, and to four bytes if the format has alpha. */
static dcn_status finish_row(decoding *work, uint8_t *row, dcn_error *error)
{
    uint32_t width = work->options.width;
    const uint8_t *alpha = NULL;
    for (uint32_t x = 0; work->grey && x < width; x++) {
        uint8_t *pixel = row + 3 * (size_t)x;
        pixel[0] = pixel[1] = pixel[2] = (uint8_t)((pixel[0] + pixel[1] + pixel[2] + 1) / 3);
    }
    if (work->format != DCN_RGBA)
        return DCN_OK;
    if (work->alpha) {
        if (!(alpha = dcn_alpha_row(work->alpha, error)))
            return DCN_BAD_FILE;
        alpha += work->options.x;
        work->alpha_rows++;
    }
    for (uint32_t x = width; x-- > 0;) {
        uint8_t pixel[4] = {row[3 * (size_t)x], row[3 * (size_t)x + 1], row[3 * (size_t)x + 2], alpha ? alpha[x] : 255};
        memcpy(row + 4 * (size_t)x, pixel, 4);
    }
    return DCN_OK;
}

/* Computes the pixels of the latent rows `from` to `to` - 1 of the strip. */
static dcn_status render(decoding *work, int from, int to, dcn_error *error)
{
    const dcn_options *options = &work->options;
    int y = (int)options->y, top = larger(DCN_LATENT_PIXELS * from, y);
    int bottom = smaller(DCN_LATENT_PIXELS * to, y + (int)options->height);
    dcn_latents latents = {work->symbols, work->means, work->picture.step, work->end - work->begin, work->right - work->left};
    uint8_t *pixels = work->pixels + (size_t)(top - y) * work->stride;
    dcn_view view = {.top = top - DCN_LATENT_PIXELS * work->begin, .left = (int)options->x - DCN_LATENT_PIXELS * work->left,
                     .height = bottom - top, .width = (int)options->width, .pixels = pixels, .stride = work->stride};
    dcn_status status = dcn_synthesis_view(work->model->synthesis, &latents, options->threads, &view);
    if (status != DCN_OK)
        return dcn_fail(error, status, "no memory for the synthesis");
    for (int i = 0; i < bottom - top && status == DCN_OK; i++)
        status = finish_row(work, pixels + (size_t)i * work->stride, error);
    if (status == DCN_OK && options->progress && work->groups == work->model->entropy->groups &&
        options->progress(options->progress_context, (uint32_t)(bottom - y), 0))
        return dcn_fail(error, DCN_STOPPED, "stopped by the caller");
    return status;
}

/* Decodes all rows of the region from the first `work->groups` channel groups. */
static dcn_status decode_strips(decoding *work, dcn_error *error)
{
    int side = work->model->tile, rendered = work->first_row;
    dcn_status status = DCN_OK;
    work->begin = work->end = work->top;
    for (int row = work->top / side; status == DCN_OK && rendered < work->end_row; row++) {
        next_strip(work, smaller(work->end, larger(work->top, rendered - work->halo)), smaller((row + 1) * side, work->bottom));
        status = decode_tiles(work, row, error);
        int end = work->end == work->bottom ? work->end_row : work->end - work->halo;
        if (status == DCN_OK && end > rendered) {
            status = render(work, rendered, end, error);
            rendered = end;
        }
    }
    return status;
}

static dcn_status decode_passes(decoding *work, dcn_error *error)
{
    const dcn_options *options = &work->options;
    int groups = work->model->entropy->groups;
    if (options->progress && options->preview_groups && options->preview_groups < groups) {
        dcn_pixels format = work->format;
        work->groups = options->preview_groups;
        work->alpha_rows = 0;
        dcn_alpha *alpha = work->alpha;
        work->alpha = NULL; /* read once, with the picture itself; opaque until then */
        dcn_status status = decode_strips(work, error);
        work->alpha = alpha, work->format = format;
        if (status != DCN_OK)
            return status;
        if (options->progress(options->progress_context, 0, 1))
            return dcn_fail(error, DCN_STOPPED, "stopped by the caller");
    }
    work->groups = groups;
    for (uint32_t y = 0; work->alpha && y < options->y; y++, work->alpha_rows++)
        if (!dcn_alpha_row(work->alpha, error))
            return DCN_BAD_FILE;
    return decode_strips(work, error);
}

/* Reads the alpha plane below a region: its bytes must be complete, and nothing may follow. */
static dcn_status finish_alpha(decoding *work, uint32_t height, dcn_error *error)
{
    for (; work->alpha && work->alpha_rows < height; work->alpha_rows++)
        if (!dcn_alpha_row(work->alpha, error))
            return DCN_BAD_FILE;
    return work->alpha ? dcn_alpha_close(work->alpha, error) : DCN_OK;
}

static dcn_status run(decoding *work, const dcn_info *info, dcn_error *error)
{
    size_t channels = (size_t)work->model->entropy->channels, columns = (size_t)(work->right - work->left);
    size_t strip = channels * columns * (size_t)strip_rows(work);
    dcn_status status = dcn_picture_open(&work->picture, work->model, info, error);
    if (status == DCN_OK && info->alpha && work->format == DCN_RGBA)
        status = dcn_alpha_open(info, &work->alpha, error);
    if (status == DCN_OK) {
        work->symbols = dcn_allocate(strip, sizeof(int16_t)), work->means = dcn_allocate(strip, sizeof(int16_t));
        work->kept_symbols = dcn_allocate(2 * (size_t)work->halo * columns * channels, sizeof(int16_t));
        if (!work->symbols || !work->means || !work->kept_symbols)
            status = dcn_fail(error, DCN_OUT_OF_MEMORY, "no memory for %d x %zu latents", strip_rows(work), columns);
    }
    if (status == DCN_OK)
        status = decode_passes(work, error);
    if (status == DCN_OK)
        status = finish_alpha(work, info->height, error);
    dcn_release(work->symbols), dcn_release(work->means), dcn_release(work->kept_symbols);
    dcn_alpha_free(work->alpha);
    dcn_picture_free(&work->picture);
    return status;
}

dcn_status dcn_decode_info(const dcn_model *model, const dcn_info *info, const dcn_options *options, dcn_pixels format,
                           uint8_t *pixels, size_t stride, dcn_error *error)
{
    if (!model || !info || !pixels || (format != DCN_RGB && format != DCN_RGBA))
        return dcn_fail(error, DCN_BAD_ARGUMENT, "NULL, or an unknown pixel format, given to decode");
    if (info->width < 1 || info->height < 1 || info->width > MOST_SIDE || info->height > MOST_SIDE || !info->latents.bytes)
        return dcn_fail(error, DCN_BAD_ARGUMENT, "a header without latents, or of impossible size");
    if (memcmp(model->id, info->model_id, DCN_ID_BYTES))
        return dcn_fail(error, DCN_WRONG_MODEL, "needs model %s with another id; this model is %s", info->name, model->name);
    decoding work = {.model = model, .format = format, .grey = info->grey, .pixels = pixels};
    dcn_status status = check_options(info, options, &work.options, error);
    if (status != DCN_OK)
        return status;
    size_t row = (size_t)work.options.width * (size_t)format;
    work.stride = stride ? stride : row;
    if (work.stride < row)
        return dcn_fail(error, DCN_BAD_ARGUMENT, "a stride of %zu bytes; rows have %zu", stride, row);
    dcn_picture_sizes(&work.picture, model, info->width, info->height);
    place(&work);
    uint64_t memory = memory_of(&work);
    if (memory > SIZE_MAX / 2 || (work.options.most_memory && memory > work.options.most_memory))
        return dcn_fail(error, DCN_TOO_LARGE, "decoding takes up to %llu bytes; at most %llu are allowed",
                        (unsigned long long)memory, (unsigned long long)work.options.most_memory);
    if (error)
        *error = (dcn_error){DCN_OK, ""};
    return run(&work, info, error);
}

dcn_status dcn_decode(const dcn_model *model, const void *file, size_t size, const dcn_options *options,
                      dcn_pixels format, uint8_t *pixels, size_t stride, dcn_error *error)
{
    dcn_info info;
    if (!file)
        return dcn_fail(error, DCN_BAD_ARGUMENT, "NULL given for a file");
    dcn_status status = dcn_read_info(file, size, &info, error);
    return status == DCN_OK ? dcn_decode_info(model, &info, options, format, pixels, stride, error) : status;
}
