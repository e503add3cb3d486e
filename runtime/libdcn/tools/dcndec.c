/* dcndec: a .dcn file becomes a PPM, PNG or raw file; `dcndec --info` prints what a file says of itself.
 *
 *     dcndec -m nano.dcnm [-r X,Y,W,H] [-t THREADS] [-f ppm|png|raw] IN.dcn [OUT]
 *     dcndec --info IN.dcn
 *
 * Without -m the model is NAME.dcnm, as the file names it, in the folder DCN_MODELS or else beside the file. OUT is
 * standard output where it is left out or "-"; its ending chooses the format where -f does not. PNG is stored without
 * compression; it and raw have four channels where the file has alpha. Exit code: 0, 1 for an error, 2 for usage.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dcn.h"

enum { MOST_FILE = 1 << 30, MOST_PATH = 4096, STORED = 65535 };

typedef struct {
    const char *model, *format, *input, *output;
    dcn_options options;
    int info;
} arguments;

static int fail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("dcndec: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    return 1;
}

/* The bytes of a file, to be freed; NULL with a message. */
static uint8_t *read_file(const char *path, size_t *size)
{
    FILE *file = strcmp(path, "-") ? fopen(path, "rb") : stdin;
    size_t room = 1 << 16, used = 0;
    uint8_t *bytes = file ? malloc(room) : NULL;
    while (bytes) {
        used += fread(bytes + used, 1, room - used, file);
        if (used < room || room >= MOST_FILE)
            break;
        uint8_t *larger = realloc(bytes, room *= 2);
        if (!larger)
            free(bytes);
        bytes = larger;
    }
    int broken = !file || !bytes || ferror(file) || used >= MOST_FILE;
    if (broken) {
        fail("%s: %s", path, used >= MOST_FILE ? "larger than 1 GiB" : strerror(errno ? errno : ENOMEM));
        free(bytes);
    }
    if (file && file != stdin)
        fclose(file);
    *size = used;
    return broken ? NULL : bytes;
}

/* ---- output ---- */

static void put32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static uint32_t crc_of(uint32_t crc, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return crc;
}

static void write_chunk(FILE *file, const char *type, const uint8_t *bytes, size_t size)
{
    uint8_t head[8], tail[4];
    put32(head, (uint32_t)size);
    memcpy(head + 4, type, 4);
    put32(tail, ~crc_of(crc_of(0xFFFFFFFFu, head + 4, 4), bytes, size));
    fwrite(head, 1, 8, file), fwrite(bytes, 1, size, file), fwrite(tail, 1, 4, file);
}

/* PNG whose rows are stored: each is one block of deflate for every 65,535 bytes. */
static int write_png(FILE *file, const uint8_t *pixels, uint32_t width, uint32_t height, size_t channels)
{
    size_t row = (size_t)width * channels + 1, blocks = (row + STORED - 1) / STORED, at;
    uint8_t head[13] = {0}, *chunk = malloc(row + 5 * blocks + 6);
    uint32_t a = 1, b = 0;
    if (!chunk)
        return -1;
    fwrite("\x89PNG\r\n\x1a\n", 1, 8, file);
    put32(head, width), put32(head + 4, height);
    head[8] = 8, head[9] = channels == 4 ? 6 : 2;
    write_chunk(file, "IHDR", head, sizeof head);
    for (uint32_t y = 0; y < height; y++) {
        at = 0;
        if (!y)
            chunk[at++] = 0x78, chunk[at++] = 0x01;
        for (size_t done = 0; done < row;) {
            size_t size = row - done < STORED ? row - done : STORED, first = done ? 0 : 1;
            chunk[at++] = y + 1 == height && done + size == row;
            chunk[at++] = (uint8_t)size, chunk[at++] = (uint8_t)(size >> 8);
            chunk[at++] = (uint8_t)~size, chunk[at++] = (uint8_t)(~size >> 8);
            if (first)
                chunk[at] = 0; /* no filter */
            memcpy(chunk + at + first, pixels + y * (row - 1) + done - (first ? 0 : 1), size - first);
            for (size_t i = 0; i < size; i++)
                a = (a + chunk[at + i]) % 65521, b = (b + a) % 65521;
            at += size, done += size;
        }
        if (y + 1 == height)
            put32(chunk + at, b << 16 | a), at += 4;
        write_chunk(file, "IDAT", chunk, at);
    }
    write_chunk(file, "IEND", head, 0);
    free(chunk);
    return 0;
}

static int write_pixels(const arguments *given, const uint8_t *pixels, size_t channels)
{
    uint32_t width = given->options.width, height = given->options.height;
    int to_stdout = !given->output || !strcmp(given->output, "-"), failed = 0;
    FILE *file = to_stdout ? stdout : fopen(given->output, "wb");
    if (!file)
        return fail("%s: %s", given->output, strerror(errno));
    if (!strcmp(given->format, "png"))
        failed = write_png(file, pixels, width, height, channels);
    else {
        if (!strcmp(given->format, "ppm"))
            fprintf(file, "P6\n%u %u\n255\n", (unsigned)width, (unsigned)height);
        fwrite(pixels, channels, (size_t)width * height, file);
    }
    failed |= fflush(file) || ferror(file);
    if (!to_stdout)
        failed |= fclose(file);
    return failed ? fail("%s: cannot be written", to_stdout ? "standard output" : given->output) : 0;
}

/* ---- arguments ---- */

static int usage(void)
{
    fputs("usage: dcndec -m MODEL.dcnm [-r X,Y,W,H] [-t THREADS] [-f ppm|png|raw] IN.dcn [OUT]\n"
          "       dcndec --info IN.dcn\n",
          stderr);
    return 2;
}

static int parse(int count, char **words, arguments *given)
{
    for (int i = 1; i < count; i++) {
        const char *word = words[i], *value = i + 1 < count ? words[i + 1] : NULL;
        unsigned region[4];
        if (!strcmp(word, "--info"))
            given->info = 1;
        else if (word[0] != '-' || !word[1]) {
            if (given->output)
                return -1;
            *(given->input ? &given->output : &given->input) = word;
        } else if (!value || strlen(word) != 2)
            return -1;
        else if (word[1] == 'm')
            given->model = value, i++;
        else if (word[1] == 'f')
            given->format = value, i++;
        else if (word[1] == 't')
            given->options.threads = atoi(value), i++;
        else if (word[1] == 'r' && sscanf(value, "%u,%u,%u,%u", &region[0], &region[1], &region[2], &region[3]) == 4) {
            given->options.x = region[0], given->options.y = region[1];
            given->options.width = region[2], given->options.height = region[3], i++;
        } else
            return -1;
    }
    const char *ending = given->output ? strrchr(given->output, '.') : NULL;
    if (!given->format)
        given->format = ending && !strcmp(ending, ".png") ? "png" : ending && !strcmp(ending, ".raw") ? "raw" : "ppm";
    if (strcmp(given->format, "png") && strcmp(given->format, "ppm") && strcmp(given->format, "raw"))
        return -1;
    return given->input ? 0 : -1;
}

static int print_info(const dcn_info *info)
{
    printf("%ux%u%s%s, quality %d, model %s ", (unsigned)info->width, (unsigned)info->height, info->grey ? " grey" : "",
           info->alpha ? " with alpha" : "", info->quality, info->name);
    for (int i = 0; i < DCN_ID_BYTES; i++)
        printf("%02x", info->model_id[i]);
    printf(", latents %zu bytes, exif %zu, icc %zu, xmp %zu\n", info->latents.size, info->exif.size, info->icc.size,
           info->xmp.size);
    return 0;
}

/* NAME.dcnm in the folder DCN_MODELS, or in that of the file. */
static const char *model_path(const arguments *given, const dcn_info *info, char path[MOST_PATH])
{
    const char *folder = getenv("DCN_MODELS"), *slash = strrchr(given->input, '/');
    if (given->model)
        return given->model;
    if (folder)
        snprintf(path, MOST_PATH, "%s/%s.dcnm", folder, info->name);
    else
        snprintf(path, MOST_PATH, "%.*s%s.dcnm", slash ? (int)(slash + 1 - given->input) : 0, given->input, info->name);
    return path;
}

static int decode(arguments *given, const dcn_info *info)
{
    char path[MOST_PATH];
    size_t size, channels = info->alpha && strcmp(given->format, "ppm") ? DCN_RGBA : DCN_RGB;
    dcn_error error;
    dcn_model *model;
    if (!given->options.width && !given->options.height)
        given->options.width = info->width, given->options.height = info->height;
    const char *name = model_path(given, info, path);
    uint8_t *bytes = read_file(name, &size);
    if (!bytes)
        return 1;
    dcn_status status = dcn_model_open(bytes, size, &model, &error);
    free(bytes);
    if (status != DCN_OK)
        return fail("%s: %s", name, error.message);
    uint8_t *pixels = calloc((size_t)given->options.width * given->options.height, channels);
    status = pixels ? dcn_decode_info(model, info, &given->options, (dcn_pixels)channels, pixels, 0, &error) : DCN_OUT_OF_MEMORY;
    int code = !pixels ? fail("no memory for the pixels")
               : status != DCN_OK ? fail("%s: %s", given->input, error.message)
                                  : write_pixels(given, pixels, channels);
    free(pixels);
    dcn_model_close(model);
    return code;
}

int main(int count, char **words)
{
    arguments given = {0};
    dcn_info info;
    dcn_error error;
    size_t size;
    if (parse(count, words, &given))
        return usage();
    uint8_t *file = read_file(given.input, &size);
    if (!file)
        return 1;
    int code;
    if (dcn_read_info(file, size, &info, &error) != DCN_OK)
        code = fail("%s: %s", given.input, error.message);
    else
        code = given.info ? print_info(&info) : decode(&given, &info);
    free(file);
    return code;
}
