/* What the player's scripts (decoder.js) call in WebAssembly: libdcn (dcn.h) with numbers alone. Addresses come from
 * player_allocate. Functions that can fail give a dcn_status; player_message is then the sentence for people.
 *
 * Nothing is imported from the page: the module reads and writes its own memory, and nothing else. */
#include <stdlib.h>

#include "dcn.h"

#define EXPORTED(name) __attribute__((export_name(#name))) name

static dcn_error error;
static dcn_info info;

/* There is no environment; libc's own would be imported from the page. */
char *getenv(const char *name)
{
    (void)name;
    return NULL;
}

void *EXPORTED(player_allocate)(size_t size)
{
    return malloc(size ? size : 1);
}

void EXPORTED(player_release)(void *memory)
{
    free(memory);
}

const char *EXPORTED(player_message)(void)
{
    return error.message;
}

const char *EXPORTED(player_kernels)(void)
{
    return dcn_kernels_in_use();
}

/* NULL with a message where the bytes are no model. They may be released afterwards. */
dcn_model *EXPORTED(player_open)(const void *bytes, size_t size)
{
    dcn_model *model;
    dcn_model_open(bytes, size, &model, &error);
    return model;
}

void EXPORTED(player_close)(dcn_model *model)
{
    dcn_model_close(model);
}

const char *EXPORTED(player_model_name)(const dcn_model *model)
{
    return dcn_model_name(model);
}

const uint8_t *EXPORTED(player_model_id)(const dcn_model *model)
{
    return dcn_model_id(model);
}

/* Reads a file; what it says is asked for below, until the next one is read. Its bytes stay until it is decoded. */
int EXPORTED(player_read)(const void *file, size_t size)
{
    return (int)dcn_read_info(file, size, &info, &error);
}

uint32_t EXPORTED(player_width)(void)
{
    return info.width;
}

uint32_t EXPORTED(player_height)(void)
{
    return info.height;
}

int EXPORTED(player_quality)(void)
{
    return info.quality;
}

/* 1: grey; 2: alpha; their sum. */
int EXPORTED(player_flags)(void)
{
    return info.grey | info.alpha << 1;
}

const char *EXPORTED(player_name)(void)
{
    return info.name;
}

const uint8_t *EXPORTED(player_id)(void)
{
    return info.model_id;
}

const uint8_t *EXPORTED(player_exif)(void)
{
    return info.exif.bytes;
}

size_t EXPORTED(player_exif_size)(void)
{
    return info.exif.bytes ? info.exif.size : 0;
}

/* An upper bound of the bytes that decoding takes beside the pixels, as a double: it may be beyond 2^32. */
double EXPORTED(player_memory)(const dcn_model *model)
{
    return (double)dcn_decode_memory(model, &info, NULL);
}

/* Decodes the file that was read into `pixels` (RGBA, width * height * 4 bytes of the region); width and height 0: the
 * whole picture. */
int EXPORTED(player_decode)(const dcn_model *model, uint32_t x, uint32_t y, uint32_t width, uint32_t height,
                            uint8_t *pixels)
{
    dcn_options options = {.x = x, .y = y, .width = width, .height = height};
    return (int)dcn_decode_info(model, &info, &options, DCN_RGBA, pixels, 0, &error);
}
