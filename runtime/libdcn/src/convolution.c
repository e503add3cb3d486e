/* Packing, the portable kernel and the choice of kernels; see convolution.h. */
#include "convolution.h"

#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "memory.h"

/* Columns of the next block where `left` output channels are left: blocks of AVX-512 have up to 64, and two that are
 * about equal are faster than a full one and a small one. */
static int block_width(dcn_kernels kernels, int left)
{
    if (kernels != DCN_AVX512 || left <= 16)
        return 16;
    if (left > 64 && left < 128)
        left = (left + 1) / 2;
    return left >= 64 ? 64 : (left + 15) / 16 * 16;
}

const char *dcn_kernels_name(dcn_kernels kernels)
{
    static const char *const names[] = {"portable", "avx2", "avx512", "neon", "wasm"};
    return names[kernels];
}

dcn_kernels dcn_best_kernels(void)
{
    dcn_kernels best = DCN_PORTABLE;
#ifdef DCN_X86
    best = dcn_x86_kernels();
#elif defined(DCN_ARM64)
    best = DCN_NEON;
#elif defined(DCN_WASM128)
    best = DCN_WASM;
#endif
    const char *wanted = getenv("DCN_KERNELS");
    if (wanted && !strcmp(wanted, "portable"))
        return DCN_PORTABLE;
    if (wanted && !strcmp(wanted, "avx2") && best == DCN_AVX512)
        return DCN_AVX2;
    return best;
}

/* Whether no sum can leave int32, whatever the activations are. */
static int sums_fit(int depth, const int16_t *weights, int32_t bias, int shift)
{
    int64_t most = bias < 0 ? -(int64_t)bias : bias;
    most += (int64_t)1 << (shift - 1);
    for (int i = 0; i < depth; i++)
        most += 32768 * (int64_t)(weights[i] < 0 ? -weights[i] : weights[i]);
    return most <= INT32_MAX;
}

/* W = (2G) w (2G)^T of the weights (side, side, inputs) of one output, at input `k`. Returns whether all have 16 bits. */
static int transformed_weights(const int16_t *weights, int inputs, int k, int32_t made[16])
{
    static const int rows[4][3] = {{2, 0, 0}, {1, 1, 1}, {1, -1, 1}, {0, 0, 2}};
    int fits = 1;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            int32_t sum = 0;
            for (int y = 0; y < 3; y++)
                for (int x = 0; x < 3; x++)
                    sum += rows[i][y] * rows[j][x] * weights[(3 * y + x) * inputs + k];
            made[4 * i + j] = sum;
            fits &= sum >= INT16_MIN && sum <= INT16_MAX;
        }
    return fits;
}

static int transforms_fit(int inputs, int outputs, int side, const int16_t *weights)
{
    int32_t made[16];
    int fits = side == 3 && inputs <= DCN_MOST_TRANSFORMED;
    for (int n = 0; fits && n < outputs; n++)
        for (int k = 0; fits && k < inputs; k++)
            fits = transformed_weights(weights + (size_t)n * 9 * (size_t)inputs, inputs, k, made);
    return fits;
}

static void pack_transformed(dcn_convolution *made, const int16_t *weights)
{
    int32_t values[16];
    for (int b = 0; b < made->blocks; b++) {
        const dcn_block *block = &made->block[b];
        size_t place = (size_t)block->width * (size_t)made->inputs;
        for (int n = 0; n < block->count; n++)
            for (int k = 0; k < made->inputs; k++) {
                transformed_weights(weights + (size_t)(block->first + n) * 9 * (size_t)made->inputs, made->inputs, k,
                                    values);
                for (size_t i = 0; i < 16; i++)
                    made->transformed[block->transformed + i * place +
                                      ((size_t)(k / 2) * (size_t)block->width + (size_t)n) * 2 + (size_t)(k % 2)] =
                        (int16_t)values[i];
            }
    }
}

int dcn_convolution_make(dcn_convolution *made, dcn_kernels kernels, int inputs, int outputs, int side, int segment,
                         const int16_t *weights, const int32_t *bias, const uint8_t *shift)
{
    memset(made, 0, sizeof *made);
    if (inputs < 2 || inputs % 2 || inputs > 4096 || outputs < 1 || outputs > 4096 || (side != 1 && side != 3) ||
        segment < 1 || outputs % segment)
        return -1;
    int depth = side * side * inputs;
    for (int n = 0; n < outputs; n++)
        if (shift[n] < 1 || shift[n] > DCN_MOST_SHIFT ||
            !sums_fit(depth, weights + (size_t)n * (size_t)depth, bias[n], shift[n]))
            return -1;
    made->inputs = inputs, made->outputs = outputs, made->side = side, made->segment = segment;
    int transforms = transforms_fit(inputs, outputs, side, weights);
    size_t total = 0, places = 0;
    for (int n = 0; n < outputs;) {
        int inside = n % segment, left = segment - inside, width = block_width(kernels, left);
        if (made->blocks == DCN_MOST_BLOCKS)
            return -1;
        made->block[made->blocks++] =
            (dcn_block){n, left < width ? left : width, width, n / segment, inside, total, places};
        total += (size_t)width * (size_t)depth;
        places += transforms ? 16 * (size_t)width * (size_t)inputs : 0;
        n += left < width ? left : width;
    }
    int padded = outputs + 64;
    size_t size = (total + places) * sizeof(int16_t) + 2 * (size_t)padded * sizeof(int32_t);
    if (!(made->memory = dcn_allocate(size + 64, 1)))
        return -1;
    char *at = (char *)made->memory + (64 - (uintptr_t)made->memory % 64) % 64;
    memset(at, 0, size);
    made->weights = (int16_t *)at;
    made->transformed = transforms ? made->weights + total : NULL;
    made->bias = (int32_t *)(at + (total + places) * sizeof(int16_t));
    made->shift = made->bias + padded;
    for (int n = 0; n < outputs; n++) {
        made->bias[n] = bias[n] + ((int32_t)1 << (shift[n] - 1));
        made->shift[n] = shift[n];
    }
    for (int b = 0; b < made->blocks; b++) {
        const dcn_block *block = &made->block[b];
        for (int n = 0; n < block->count; n++)
            for (int k = 0; k < depth; k++)
                made->weights[block->weights + ((size_t)(k / 2) * (size_t)block->width + (size_t)n) * 2 +
                              (size_t)(k % 2)] = weights[(size_t)(block->first + n) * (size_t)depth + (size_t)k];
    }
    if (transforms)
        pack_transformed(made, weights);
    return 0;
}

void dcn_convolution_free(dcn_convolution *convolution)
{
    dcn_release(convolution->memory);
    memset(convolution, 0, sizeof *convolution);
}

/* ---- the portable kernel: blocks of 16 columns, 4 positions ---- */

enum { ROWS = 4, WIDTH = 16 };

static void portable_tile(const int16_t *const *rows, int side, int pairs, int inputs, const int16_t *weights,
                          int width, int32_t *sums)
{
    uint32_t local[ROWS][WIDTH] = {{0}};
    (void)width;
    for (int row = 0; row < side; row++) {
        const int16_t *from = rows[row];
        for (int k = 0; k < pairs; k++, weights += 2 * WIDTH)
            for (int m = 0; m < ROWS; m++) {
                int32_t a = from[m * inputs + 2 * k], b = from[m * inputs + 2 * k + 1];
                for (int n = 0; n < WIDTH; n++)
                    local[m][n] += (uint32_t)(a * weights[2 * n]) + (uint32_t)(b * weights[2 * n + 1]);
            }
    }
    memcpy(sums, local, sizeof local);
}

static void portable_finish(const int32_t *sums, const int32_t *bias, const int32_t *shift, int count,
                            dcn_epilogue epilogue, void *output)
{
    dcn_finish_from(0, sums, bias, shift, count, epilogue, output);
}

/* ---- rows ---- */

DCN_INPUTS(portable, )
DCN_COMPILED(portable, )

static const dcn_kernel_set PORTABLE = DCN_SET(portable, ROWS, ROWS, ROWS, ROWS);

const dcn_kernel_set *dcn_kernels_set(dcn_kernels kernels)
{
#ifdef DCN_X86
    if (kernels == DCN_AVX512)
        return &DCN_AVX512_SET;
    if (kernels == DCN_AVX2)
        return &DCN_AVX2_SET;
#elif defined(DCN_ARM64)
    if (kernels == DCN_NEON)
        return &DCN_NEON_SET;
#elif defined(DCN_WASM128)
    if (kernels == DCN_WASM)
        return &DCN_WASM_SET;
#endif
    (void)kernels;
    return &PORTABLE;
}

void dcn_convolution_row(const dcn_convolution *convolution, dcn_kernels kernels, const int16_t *const *rows,
                         int count, dcn_epilogue epilogue, void *const *outputs, int stride)
{
    const dcn_kernel_set *set = dcn_kernels_set(kernels);
    int side = convolution->side, inputs = convolution->inputs, pairs = side * inputs / 2;
    size_t element = epilogue == DCN_PIXELS ? 1 : sizeof(int16_t);
    int32_t sums[16 * 64];
    for (int b = 0; b < convolution->blocks; b++) {
        const dcn_block *block = &convolution->block[b];
        const int16_t *weights = convolution->weights + block->weights;
        int step = set->rows[block->width / 16 - 1];
        for (int x = 0; x < count; x += step) {
            /* The last tile may compute positions beyond `count`: rows are padded for it, nothing is stored. */
            const int16_t *from[3];
            for (int row = 0; row < side; row++)
                from[row] = rows[row] + (ptrdiff_t)x * inputs;
            set->tile(from, side, pairs, inputs, weights, block->width, sums);
            int stored = count - x < step ? count - x : step;
            char *to = (char *)outputs[block->segment] + ((size_t)x * (size_t)stride + (size_t)block->at) * element;
            for (int m = 0; m < stored; m++, to += (size_t)stride * element)
                set->finish(sums + m * block->width, convolution->bias + block->first,
                            convolution->shift + block->first, block->count, epilogue, to);
        }
    }
}

/* `tiles` times 2x2 outputs from position `x` on, from transformed inputs. */
static void transformed_block(const dcn_convolution *convolution, const dcn_kernel_set *set, const dcn_block *block,
                              int x, int count, int tiles, dcn_epilogue epilogue, void *const *outputs, int stride,
                              dcn_scratch *scratch)
{
    int inputs = convolution->inputs, width = block->width, step = set->rows[width / 16 - 1];
    int place = (DCN_STRIP + DCN_STRIP_SLACK) * inputs, segments = convolution->outputs / convolution->segment;
    size_t element = epilogue == DCN_PIXELS ? 1 : sizeof(int16_t);
    const int16_t *weights = convolution->transformed + block->transformed;
    for (int t = 0; t < tiles; t += step) {
        int some = tiles - t < step ? tiles - t : step, at = x + 2 * t;
        for (int i = 0; i < 16; i++) {
            const int16_t *from = scratch->inputs + i * place + t * inputs;
            set->tile(&from, 1, inputs / 2, inputs, weights + (size_t)i * (size_t)(width * inputs), width,
                      scratch->sums[i]);
        }
        int row = 2 * some * width, stored = count - at < 2 * some ? count - at : 2 * some;
        set->transform_sums(scratch->sums[0], DCN_MOST_SUMS, some, width, scratch->outputs, row);
        for (int y = 0; y < 2; y++) {
            char *to = (char *)outputs[y * segments + block->segment] +
                       ((size_t)at * (size_t)stride + (size_t)block->at) * element;
            for (int m = 0; m < stored; m++, to += (size_t)stride * element)
                set->finish(scratch->outputs + y * row + m * width, convolution->bias + block->first,
                            convolution->shift + block->first, block->count, epilogue, to);
        }
    }
}

void dcn_convolution_pair(const dcn_convolution *convolution, dcn_kernels kernels, const int16_t *const *rows,
                          int count, dcn_epilogue epilogue, void *const *outputs, int stride, dcn_scratch *scratch)
{
    const dcn_kernel_set *set = dcn_kernels_set(kernels);
    int inputs = convolution->inputs, segments = convolution->outputs / convolution->segment;
    int place = (DCN_STRIP + DCN_STRIP_SLACK) * inputs, x = 0;
    size_t element = epilogue == DCN_PIXELS ? 1 : sizeof(int16_t);
    /* Whole tiles of kernels that take 8 positions at once, where all blocks do. */
    int strip = convolution->block[0].width == 48 && set->rows[2] == 8 ? 8 : DCN_STRIP;
    for (; convolution->transformed && x < count; x += 2 * strip) {
        int tiles = (count - x + 1) / 2 < strip ? (count - x + 1) / 2 : strip;
        const int16_t *from[4];
        for (int y = 0; y < 4; y++)
            from[y] = rows[y] + (ptrdiff_t)x * inputs;
        if (!set->transform_inputs(from, tiles, inputs, scratch->columns, scratch->inputs, place))
            break;
        for (int b = 0; b < convolution->blocks; b++)
            transformed_block(convolution, set, &convolution->block[b], x, count, tiles, epilogue, outputs, stride,
                              scratch);
    }
    if (x >= count)
        return;
    for (int y = 0; y < 2; y++) {
        const int16_t *from[3];
        void *to[DCN_MOST_BLOCKS];
        for (int row = 0; row < convolution->side; row++)
            from[row] = rows[y + row] + (ptrdiff_t)x * inputs;
        for (int s = 0; s < segments; s++)
            to[s] = (char *)outputs[y * segments + s] + (size_t)x * (size_t)stride * element;
        dcn_convolution_row(convolution, kernels, from, count - x, epilogue, to, stride);
    }
}
