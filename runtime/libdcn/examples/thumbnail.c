/* Prints the mean colour of a picture's middle, decoding that region only: thumbnail MODEL.dcnm FILE.dcn */
#include <stdio.h>
#include <stdlib.h>

#include "dcn.h"

static unsigned char *load(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    unsigned char *bytes = malloc(1 << 24);
    *size = file && bytes ? fread(bytes, 1, 1 << 24, file) : 0;
    if (file)
        fclose(file);
    return bytes;
}

int main(int count, char **words)
{
    size_t model_size, file_size;
    dcn_model *model;
    dcn_info info;
    dcn_error error;
    if (count != 3)
        return 2;
    unsigned char *model_bytes = load(words[1], &model_size), *file = load(words[2], &file_size);
    if (dcn_model_open(model_bytes, model_size, &model, &error) != DCN_OK ||
        dcn_read_info(file, file_size, &info, &error) != DCN_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    dcn_options options = {.x = info.width / 4, .y = info.height / 4, .width = (info.width + 1) / 2,
                           .height = (info.height + 1) / 2};
    size_t area = (size_t)options.width * options.height;
    unsigned char *pixels = malloc(3 * area);
    unsigned long long sums[3] = {0};
    if (!pixels || dcn_decode_info(model, &info, &options, DCN_RGB, pixels, 0, &error) != DCN_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    for (size_t i = 0; i < 3 * area; i++)
        sums[i % 3] += pixels[i];
    printf("%s %ux%u: #%02x%02x%02x\n", info.name, (unsigned)info.width, (unsigned)info.height,
           (unsigned)(sums[0] / area), (unsigned)(sums[1] / area), (unsigned)(sums[2] / area));
    free(pixels), free(file), free(model_bytes);
    dcn_model_close(model);
    return 0;
}
