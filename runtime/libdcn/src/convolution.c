/* Packing, the portable kernel and the choice of kernels; see convolution.h. */
#include "convolution.h"

#include <stdlib.h>
#include <string.h>

#include "kernels.h"

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
    static const char *const names[] = {"portable", "avx2", "avx512"};
    return names[kernels];
}

dcn_kernels dcn_best_kernels(void)
{
    dcn_kernels best = DCN_PORTABLE;
#ifdef DCN_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2"))
        best = DCN_AVX2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
        best = DCN_AVX512;
#endif
    const char *wanted = getenv("DCN_KERNELS");
    for (int kernels = DCN_PORTABLE; wanted && kernels < (int)best; kernels++)
        if (!strcmp(wanted, dcn_kernels_name((dcn_kernels)kernels)))
            return (dcn_kernels)kernels;
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
    size_t total = 0;
    for (int n = 0; n < outputs;) {
        int inside = n % segment, left = segment - inside, width = block_width(kernels, left);
        if (made->blocks == DCN_MOST_BLOCKS)
            return -1;
        made->block[made->blocks++] =
            (dcn_block){n, left < width ? left : width, width, n / segment, inside, total};
        total += (size_t)width * (size_t)depth;
        n += left < width ? left : width;
    }
    int padded = outputs + 64;
    size_t size = total * sizeof(int16_t) + 2 * (size_t)padded * sizeof(int32_t);
    if (!(made->memory = malloc(size + 64)))
        return -1;
    char *at = (char *)made->memory + (64 - (uintptr_t)made->memory % 64) % 64;
    memset(at, 0, size);
    made->weights = (int16_t *)at;
    made->bias = (int32_t *)(at + total * sizeof(int16_t));
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
    return 0;
}

void dcn_convolution_free(dcn_convolution *convolution)
{
    free(convolution->memory);
    memset(convolution, 0, sizeof *convolution);
}

/* ---- the portable kernel: blocks of 16 columns, 4 positions ---- */

enum { ROWS = 4, WIDTH = 16 };

static void portable_tile(const int16_t *const *rows, int side, int pairs, int inputs, const int16_t *weights,
                          int width, int32_t *sums)
{
    int32_t local[ROWS][WIDTH] = {{0}};
    (void)width;
    for (int row = 0; row < side; row++) {
        const int16_t *from = rows[row];
        for (int k = 0; k < pairs; k++, weights += 2 * WIDTH)
            for (int m = 0; m < ROWS; m++) {
                int32_t a = from[m * inputs + 2 * k], b = from[m * inputs + 2 * k + 1];
                for (int n = 0; n < WIDTH; n++)
                    local[m][n] += a * weights[2 * n] + b * weights[2 * n + 1];
            }
    }
    memcpy(sums, local, sizeof local);
}

static inline int32_t clamped(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

static void portable_finish(const int32_t *sums, const int32_t *bias, const int32_t *shift, int count,
                            dcn_epilogue epilogue, void *output)
{
    int16_t *values = output;
    uint8_t *bytes = output;
    for (int n = 0; n < count; n++) {
        int32_t value = (sums[n] + bias[n]) >> shift[n];
        if (epilogue == DCN_PIXELS) {
            bytes[n] = (uint8_t)clamped(value, 0, 255);
            continue;
        }
        value = clamped(value, epilogue == DCN_RELU ? 0 : INT16_MIN, INT16_MAX);
        if (epilogue == DCN_ADD)
            value = clamped(value + values[n], INT16_MIN, INT16_MAX);
        values[n] = (int16_t)value;
    }
}

/* ---- rows ---- */

static const dcn_kernel_set PORTABLE = {portable_tile, portable_finish, {ROWS, ROWS, ROWS, ROWS}};

static const dcn_kernel_set *set_of(dcn_kernels kernels)
{
#ifdef DCN_X86
    if (kernels == DCN_AVX512)
        return &DCN_AVX512_SET;
    if (kernels == DCN_AVX2)
        return &DCN_AVX2_SET;
#endif
    (void)kernels;
    return &PORTABLE;
}

void dcn_convolution_row(const dcn_convolution *convolution, dcn_kernels kernels, const int16_t *const *rows,
                         int count, dcn_epilogue epilogue, void *const *outputs, int stride)
{
    const dcn_kernel_set *set = set_of(kernels);
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
