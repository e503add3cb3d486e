/* See planes.h. Kernels compute a tile of positions times columns; here rows of weights take the part of positions. */
#include "planes.h"

#include "kernels.h"
#include <string.h>

#include "memory.h"

static int width_of(dcn_kernels kernels)
{
    return kernels == DCN_AVX512 ? 32 : 16;
}

int dcn_planes_make(dcn_planes *planes, dcn_kernels kernels, int features, size_t columns)
{
    planes->width = width_of(kernels);
    planes->block = (size_t)((features + 1) / 2) * 2 * (size_t)planes->width;
    /* Vectors are read where they are aligned. */
    size_t size = columns / (size_t)planes->width * planes->block;
    planes->memory = dcn_allocate_zeroed(size + 32, sizeof(int16_t));
    if (!planes->memory)
        return -1;
    planes->values = (int16_t *)((char *)planes->memory + (64 - (uintptr_t)planes->memory % 64) % 64);
    return 0;
}

void dcn_planes_free(dcn_planes *planes)
{
    dcn_release(planes->memory);
    planes->memory = NULL;
}

void dcn_planes_set(const dcn_planes *planes, dcn_kernels kernels, int pair, const int16_t *even, const int16_t *odd,
                    size_t columns)
{
    const dcn_kernel_set *set = dcn_kernels_set(kernels);
    size_t width = (size_t)planes->width;
    int16_t *to = planes->values + (size_t)pair * 2 * width;
    for (size_t x = 0; x < columns; x += width, to += planes->block)
        set->pair(even + x, odd + x, planes->width, to);
}

void dcn_planes_copy(const dcn_planes *to, int to_first, const dcn_planes *from, int first, int pairs, size_t columns)
{
    size_t pair = 2 * (size_t)to->width;
    for (size_t i = 0; i < columns / (size_t)to->width; i++)
        memcpy(to->values + i * to->block + (size_t)to_first * pair,
               from->values + i * from->block + (size_t)first * pair, (size_t)pairs * pair * sizeof(int16_t));
}

/* What becomes of the sums of rows `row` to before `end`, at the columns of block `block`. */
typedef void finish(const dcn_kernel_set *set, const void *context, const int32_t *sums, int row, int end, size_t block);

/* The products of all rows with all blocks, as many rows at once as kernels take. */
static void multiply(dcn_kernels kernels, const int16_t *weights, int depth, int rows, const dcn_planes *in, size_t columns,
                     finish *finish, const void *context)
{
    const dcn_kernel_set *set = dcn_kernels_set(kernels);
    int width = in->width, step = set->rows[width / 16 - 1];
    int32_t sums[DCN_TILE_ROWS * DCN_BLOCK];
    for (size_t i = 0; i < columns / (size_t)width; i++)
        for (int row = 0; row < rows; row += step) {
            const int16_t *from = weights + (ptrdiff_t)row * depth;
            set->tile(&from, 1, depth / 2, depth, in->values + i * in->block, width, sums);
            finish(set, context, sums, row, row + step < rows ? row + step : rows, i);
        }
}

typedef struct {
    uint8_t *out;
    const int32_t *bias;
    size_t columns;
    int width;
} scales;

static void finish_scales(const dcn_kernel_set *set, const void *context, const int32_t *sums, int row, int end, size_t block)
{
    const scales *to = context;
    for (; row < end; row++, sums += to->width)
        set->scales(sums, to->bias[row], to->width, to->out + (size_t)row * to->columns + block * (size_t)to->width);
}

void dcn_planes_scales(dcn_kernels kernels, uint8_t *out, const int32_t *bias, const int16_t *weights, int depth, int rows,
                       const dcn_planes *in, size_t columns)
{
    scales to = {out, bias, columns, in->width};
    multiply(kernels, weights, depth, rows, in, columns, finish_scales, &to);
}

typedef struct {
    const dcn_planes *out;
    int first;
    int32_t *most;
    const int32_t *bias;
} hidden;

static void finish_hidden(const dcn_kernel_set *set, const void *context, const int32_t *sums, int row, int end, size_t block)
{
    const hidden *to = context;
    int width = to->out->width;
    int16_t *values = to->out->values + block * to->out->block;
    for (; row < end; row += 2, sums += 2 * width)
        set->hidden(sums, to->bias + row, width, to->most + row, values + (size_t)(to->first + row / 2) * 2 * (size_t)width);
}

void dcn_planes_hidden(dcn_kernels kernels, const dcn_planes *out, int first, int32_t *most, const int32_t *bias,
                       const int16_t *weights, int depth, int rows, const dcn_planes *in, size_t columns)
{
    hidden to = {out, first, most, bias};
    multiply(kernels, weights, depth, rows, in, columns, finish_hidden, &to);
}
