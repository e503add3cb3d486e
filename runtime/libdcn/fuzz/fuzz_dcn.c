/* libFuzzer on the interface of libdcn: containers, model files whose checksum is right, pictures.
 *
 *     clang -g -O2 -I runtime/libdcn/src -I runtime/libdcn/include -fsanitize=fuzzer,address,undefined
 *         -DMODEL='"artifacts/decant_bundles/nano/nano.dcnm"' -o fuzz-dcn fuzz_dcn.c runtime/libdcn/src/?*.c
 *
 * The first byte chooses what is fuzzed. Of a picture come its size, quality, flags and region, the length of its alpha
 * section, then alpha and latents.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"

#ifndef MODEL
#define MODEL "artifacts/decant_bundles/nano/nano.dcnm"
#endif

enum { MOST_MODEL = 1 << 21, MOST_SIDE = 96 };

static uint8_t model_bytes[MOST_MODEL];
static size_t model_size;
static dcn_model *model;

static void open_model(void)
{
    FILE *file = fopen(MODEL, "rb");
    dcn_error error;
    if (!file)
        abort();
    model_size = fread(model_bytes, 1, sizeof model_bytes, file);
    fclose(file);
    if (dcn_model_open(model_bytes, model_size, &model, &error) != DCN_OK)
        abort();
}

/* Four bytes of input change one byte of the model file, whose checksum is made right again. */
static void fuzz_model(const uint8_t *data, size_t size)
{
    uint8_t *changed = malloc(model_size);
    dcn_model *made;
    dcn_error error;
    if (!changed)
        abort();
    memcpy(changed, model_bytes, model_size);
    for (; size >= 4; data += 4, size -= 4) {
        size_t at = (dcn_u16(data) | (size_t)data[2] << 16) % (model_size - 4);
        changed[data[2] & 0x80 ? at % 80 : at] ^= data[3];
    }
    uint32_t crc = dcn_crc32(changed, model_size - 4);
    for (int i = 0; i < 4; i++)
        changed[model_size - 4 + (size_t)i] = (uint8_t)(crc >> 8 * i);
    if (dcn_model_open(changed, model_size, &made, &error) != DCN_OK && made)
        abort();
    dcn_model_close(made);
    free(changed);
}

static void fuzz_picture(const uint8_t *data, size_t size)
{
    enum { HEAD = 8 };
    if (size < HEAD)
        return;
    size_t alpha = data[7] < size - HEAD ? data[7] : 0;
    dcn_info info = {.width = 1u + data[0] % MOST_SIDE, .height = 1u + data[1] % MOST_SIDE, .quality = data[2] % 102,
                     .grey = data[3] & 1, .alpha = alpha > 0};
    memcpy(info.model_id, dcn_model_id(model), DCN_ID_BYTES);
    info.latents = (dcn_bytes){data + HEAD + alpha, size - HEAD - alpha};
    if (alpha)
        info.alpha_plane = (dcn_bytes){data + HEAD, alpha};
    dcn_options options = {.x = data[4] % info.width, .y = data[5] % info.height, .threads = 1 + data[3] / 2 % 2};
    options.width = 1 + data[6] % (info.width - options.x), options.height = 1 + data[6] % (info.height - options.y);
    dcn_pixels format = data[3] & 4 ? DCN_RGBA : DCN_RGB;
    uint8_t *pixels = malloc((size_t)options.width * options.height * format);
    dcn_error error;
    if (!pixels)
        abort();
    dcn_decode_info(model, &info, &options, format, pixels, 0, &error);
    free(pixels);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dcn_info info;
    dcn_error error;
    if (!model)
        open_model();
    if (!size)
        return 0;
    if (data[0] % 8 == 0)
        fuzz_model(data + 1, size - 1);
    else if (data[0] % 8 == 1)
        dcn_read_info(data + 1, size - 1, &info, &error);
    else
        fuzz_picture(data + 1, size - 1);
    return 0;
}
