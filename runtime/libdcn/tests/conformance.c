/* Reads a conformance set from standard input, computes every case with every set of kernels that this processor has,
 * and prints a line for each set: its name, how many cases there were and how many gave other values than expected.
 * tests/helpers/conformance.py writes such sets, with results of numpy. Ends with 0 where nothing differs.
 *
 * A case begins with its kind, an int32: 1 a layer, 2 a synthesis, 0 the end. All numbers are little-endian. */
#define _POSIX_C_SOURCE 200809L /* setenv */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "synthesis.h"

enum { MOST_SETS = 3 };

static void *read_block(size_t count, size_t size)
{
    char *memory = calloc(count * size + 4096, 1); /* kernels read some positions beyond a row */
    if (!memory || fread(memory, size, count, stdin) != count) {
        fprintf(stderr, "conformance: the set ends in the middle of a case\n");
        exit(2);
    }
    return memory;
}

static void read_ints(int32_t *to, size_t count)
{
    int32_t *values = read_block(count, sizeof *values);
    memcpy(to, values, count * sizeof *values);
    free(values);
}

static dcn_layer read_layer(void)
{
    int32_t sizes[3];
    read_ints(sizes, 3);
    size_t outputs = (size_t)sizes[1], depth = (size_t)(sizes[2] * sizes[2] * sizes[0]);
    dcn_layer layer = {.inputs = sizes[0], .outputs = sizes[1], .side = sizes[2]};
    if (outputs) {
        layer.weights = read_block(outputs * depth, sizeof(int16_t));
        layer.bias = read_block(outputs, sizeof(int32_t));
        layer.shift = read_block(outputs, 1);
    }
    return layer;
}

static void free_layer(dcn_layer *layer)
{
    free((void *)(uintptr_t)layer->weights), free((void *)(uintptr_t)layer->bias), free((void *)(uintptr_t)layer->shift);
}

/* One layer: sizes (segment, epilogue, rows, count), the layer, the input rows (rows + side - 1, count + side - 1,
 * inputs), what is in the output before, and the output expected (rows, segments, count, segment). */
static void layer_case(const dcn_kernels *sets, int count_of_sets, int *differ)
{
    int32_t sizes[4];
    read_ints(sizes, 4);
    dcn_layer layer = read_layer();
    int segment = sizes[0], rows = sizes[2], count = sizes[3], segments = layer.outputs / segment;
    size_t element = sizes[1] == DCN_PIXELS ? 1 : sizeof(int16_t);
    int16_t *from[4] = {NULL};
    for (int y = 0; y < rows + layer.side - 1; y++)
        from[y] = read_block((size_t)((count + layer.side - 1) * layer.inputs), sizeof(int16_t));
    size_t part = (size_t)(count * segment) * element, all = part * (size_t)(rows * segments);
    char *before = read_block(all, 1), *expected = read_block(all, 1), *made = malloc(all);
    dcn_scratch *scratch = malloc(sizeof *scratch);
    void **outputs = malloc((size_t)(rows * segments) * sizeof *outputs);
    if (!made || !scratch || !outputs)
        exit(2);
    for (int i = 0; i < count_of_sets; i++) {
        dcn_convolution convolution;
        int wrong = dcn_convolution_make(&convolution, sets[i], layer.inputs, layer.outputs, layer.side, segment,
                                         layer.weights, layer.bias, layer.shift);
        memcpy(made, before, all);
        for (int n = 0; n < rows * segments; n++)
            outputs[n] = made + (size_t)n * part;
        const int16_t *const given[4] = {from[0], from[1], from[2], from[3]};
        if (!wrong && rows == 2)
            dcn_convolution_pair(&convolution, sets[i], given, count, (dcn_epilogue)sizes[1], outputs, segment, scratch);
        else if (!wrong)
            dcn_convolution_row(&convolution, sets[i], given, count, (dcn_epilogue)sizes[1], outputs, segment);
        differ[i] += wrong || memcmp(made, expected, all) != 0;
        dcn_convolution_free(&convolution);
    }
    free(before), free(expected), free(made), free(scratch), free(outputs), free_layer(&layer);
    for (int y = 0; y < 4; y++)
        free(from[y]);
}

/* A synthesis: sizes (latents, width, layers, first, h, w), exponents, the layers prediction (without outputs: none),
 * up, last and two for each residual layer, symbols, means, steps and the pixels expected. */
static void synthesis_case(const dcn_kernels *sets, int count_of_sets, int *differ)
{
    int32_t sizes[6];
    read_ints(sizes, 6);
    dcn_synthesis_layers layers = {.latents = sizes[0], .width = sizes[1], .layers = sizes[2], .first = sizes[3]};
    int h = sizes[4], w = sizes[5];
    size_t latents = (size_t)(sizes[0] * h * w), size = (size_t)(h * w) * 768;
    uint8_t *exponent = read_block((size_t)sizes[0], 1);
    layers.exponent = exponent;
    layers.prediction = read_layer(), layers.up = read_layer(), layers.last = read_layer();
    for (int i = 0; i < 2 * layers.layers; i++)
        layers.residual[i / 2][i % 2] = read_layer();
    float *symbols = read_block(latents, sizeof(float)), *mean = read_block(latents, sizeof(float));
    float *step = read_block((size_t)sizes[0], sizeof(float));
    uint8_t *expected = read_block(size, 1), *made = malloc(size);
    for (int i = 0; i < count_of_sets; i++) {
        dcn_synthesis *net = NULL;
        setenv("DCN_KERNELS", dcn_kernels_name(sets[i]), 1);
        int wrong = dcn_synthesis_new(&layers, &net) != DCN_OK;
        for (int threads = 1; !wrong && threads <= 3; threads += 2) {
            memset(made, 0, size);
            wrong = dcn_synthesis_run(net, symbols, mean, step, h, w, threads, made) != DCN_OK ||
                    memcmp(made, expected, size) != 0;
        }
        differ[i] += wrong;
        dcn_synthesis_free(net);
    }
    free(exponent), free(symbols), free(mean), free(step), free(expected), free(made);
    free_layer(&layers.prediction), free_layer(&layers.up), free_layer(&layers.last);
    for (int i = 0; i < 2 * layers.layers; i++)
        free_layer(&layers.residual[i / 2][i % 2]);
}

int main(void)
{
    dcn_kernels sets[MOST_SETS] = {DCN_PORTABLE}, best = dcn_best_kernels();
    int count = 1, cases = 0, differ[MOST_SETS] = {0}, wrong = 0;
    if (best == DCN_AVX512)
        sets[count++] = DCN_AVX2;
    if (best != DCN_PORTABLE)
        sets[count++] = best;
    for (int32_t kind = -1; kind; cases += kind != 0) {
        read_ints(&kind, 1);
        if (kind == 1)
            layer_case(sets, count, differ);
        else if (kind == 2)
            synthesis_case(sets, count, differ);
    }
    for (int i = 0; i < count; i++) {
        printf("%s: %d cases, %d differ\n", dcn_kernels_name(sets[i]), cases, differ[i]);
        wrong |= differ[i];
    }
    return wrong != 0;
}
