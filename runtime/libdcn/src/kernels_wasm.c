/* Kernels for WebAssembly with 128-bit SIMD: pairs of 16-bit products, 2 positions x 16 columns, which leaves enough of
 * the 16 registers that an engine has on x86. */
#include "kernels.h"

#ifdef DCN_WASM128
#include <wasm_simd128.h>

enum { POSITIONS = 2 };

static void wasm_tile(const int16_t *const *rows, int side, int pairs, int inputs, const int16_t *weights, int width,
                      int32_t *sums)
{
    (void)width;
    v128_t local[POSITIONS][4];
#pragma clang loop unroll(full)
    for (int m = 0; m < POSITIONS; m++)
        for (int n = 0; n < 4; n++)
            local[m][n] = wasm_i32x4_const_splat(0);
    for (int row = 0; row < side; row++) {
        const int16_t *from = rows[row];
        for (int k = 0; k < pairs; k++, weights += 32) {
            v128_t column[4];
#pragma clang loop unroll(full)
            for (int n = 0; n < 4; n++)
                column[n] = wasm_v128_load(weights + 8 * n);
#pragma clang loop unroll(full)
            for (int m = 0; m < POSITIONS; m++) {
                v128_t pair = wasm_v128_load32_splat(from + m * inputs + 2 * k);
#pragma clang loop unroll(full)
                for (int n = 0; n < 4; n++)
                    local[m][n] = wasm_i32x4_add(local[m][n], wasm_i32x4_dot_i16x8(column[n], pair));
            }
        }
    }
    for (int m = 0; m < POSITIONS; m++)
        for (int n = 0; n < 4; n++)
            wasm_v128_store(sums + 16 * m + 4 * n, local[m][n]);
}

/* There is no shift by a different number in each lane. */
static void wasm_finish(const int32_t *sums, const int32_t *bias, const int32_t *shift, int count,
                        dcn_epilogue epilogue, void *output)
{
    dcn_finish_from(0, sums, bias, shift, count, epilogue, output);
}

DCN_INPUTS(wasm, )
DCN_COMPILED(wasm, )

const dcn_kernel_set DCN_WASM_SET = DCN_SET(wasm, POSITIONS, POSITIONS, POSITIONS, POSITIONS);
#endif
