/* Kernels for NEON, which every 64-bit ARM processor has: 6 positions x 16 columns of widening products. The dot
 * product instructions of newer ones take 8-bit numbers alone; four of them for one 16-bit product would be no faster. */
#include "kernels.h"

#ifdef DCN_ARM64
#include <arm_neon.h>
#include <string.h>

enum { POSITIONS = 6 };

static inline int16x4_t pair_at(const int16_t *at)
{
    int32_t pair;
    memcpy(&pair, at, sizeof pair);
    return vreinterpret_s16_s32(vdup_n_s32(pair));
}

static void neon_tile(const int16_t *const *rows, int side, int pairs, int inputs, const int16_t *weights, int width,
                      int32_t *sums)
{
    (void)width;
    int32x4_t local[POSITIONS][4];
#pragma GCC unroll 6
    for (int m = 0; m < POSITIONS; m++)
#pragma GCC unroll 4
        for (int n = 0; n < 4; n++)
            local[m][n] = vdupq_n_s32(0);
    for (int row = 0; row < side; row++) {
        const int16_t *from = rows[row];
        for (int k = 0; k < pairs; k++, weights += 32) {
            int16x8x2_t low = vld2q_s16(weights), high = vld2q_s16(weights + 16);
#pragma GCC unroll 6
            for (int m = 0; m < POSITIONS; m++) {
                int16x4_t pair = pair_at(from + m * inputs + 2 * k);
#pragma GCC unroll 2
                for (int i = 0; i < 2; i++) {
                    int16x4_t value = i ? vdup_lane_s16(pair, 1) : vdup_lane_s16(pair, 0);
                    local[m][0] = vmlal_s16(local[m][0], vget_low_s16(low.val[i]), value);
                    local[m][1] = vmlal_s16(local[m][1], vget_high_s16(low.val[i]), value);
                    local[m][2] = vmlal_s16(local[m][2], vget_low_s16(high.val[i]), value);
                    local[m][3] = vmlal_s16(local[m][3], vget_high_s16(high.val[i]), value);
                }
            }
        }
    }
#pragma GCC unroll 6
    for (int m = 0; m < POSITIONS; m++)
#pragma GCC unroll 4
        for (int n = 0; n < 4; n++)
            vst1q_s32(sums + 16 * m + 4 * n, local[m][n]);
}

static void neon_finish(const int32_t *sums, const int32_t *bias, const int32_t *shift, int count,
                        dcn_epilogue epilogue, void *output)
{
    int n = 0;
    for (; n + 8 <= count; n += 8) {
        int32x4_t half[2];
        for (int i = 0; i < 2; i++) {
            half[i] = vaddq_s32(vld1q_s32(sums + n + 4 * i), vld1q_s32(bias + n + 4 * i));
            half[i] = vshlq_s32(half[i], vnegq_s32(vld1q_s32(shift + n + 4 * i)));
        }
        int16x8_t packed = vcombine_s16(vqmovn_s32(half[0]), vqmovn_s32(half[1]));
        if (epilogue == DCN_PIXELS) {
            vst1_u8((uint8_t *)output + n, vqmovun_s16(packed));
            continue;
        }
        int16_t *to = (int16_t *)output + n;
        if (epilogue == DCN_RELU)
            packed = vmaxq_s16(packed, vdupq_n_s16(0));
        if (epilogue == DCN_ADD)
            packed = vqaddq_s16(packed, vld1q_s16(to));
        vst1q_s16(to, packed);
    }
    dcn_finish_from(n, sums, bias, shift, count, epilogue, output);
}

DCN_INPUTS(neon, )
DCN_COMPILED(neon, )

const dcn_kernel_set DCN_NEON_SET = DCN_SET(neon, POSITIONS, POSITIONS, POSITIONS, POSITIONS);
#endif
