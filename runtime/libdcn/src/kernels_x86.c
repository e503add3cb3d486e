/* Kernels for AVX2 and for AVX-512 with VNNI: pairs of 16-bit products, added in 32 bits. */
#include "kernels.h"

#ifdef DCN_X86
#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

#define INLINED static inline __attribute__((always_inline))
#define AVX2 __attribute__((target("avx2")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

/* Asked of the processor itself: not every compiler's library has __builtin_cpu_supports. */
dcn_kernels dcn_x86_kernels(void)
{
    enum { OSXSAVE = 1 << 27, AVX2_BIT = 1 << 5, VNNI = 1 << 11, YMM = 0x6, ZMM = 0xE6 };
    const unsigned wide = 1u << 16 | 1u << 30 | 1u << 31; /* F, BW, VL */
    unsigned a, b, c, d, saved, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OSXSAVE))
        return DCN_PORTABLE;
    __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0)); /* which registers the system saves */
    if ((saved & YMM) != YMM || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & AVX2_BIT))
        return DCN_PORTABLE;
    return (saved & ZMM) == ZMM && (b & wide) == wide && (c & VNNI) ? DCN_AVX512 : DCN_AVX2;
}

static inline int32_t pair_at(const int16_t *at)
{
    int32_t pair;
    memcpy(&pair, at, sizeof pair);
    return pair;
}

/* ---- AVX-512: rows x (16 vectors) ---- */

AVX512 INLINED void avx512_product(const int16_t *const *rows, int side, int pairs, int inputs,
                                   const int16_t *weights, int32_t *sums, const int positions, const int vectors)
{
    __m512i local[12][4];
#pragma GCC unroll 12
    for (int m = 0; m < positions; m++)
#pragma GCC unroll 4
        for (int n = 0; n < vectors; n++)
            local[m][n] = _mm512_setzero_si512();
    for (int row = 0; row < side; row++) {
        const int16_t *from = rows[row];
        for (int k = 0; k < pairs; k++, weights += 32 * vectors) {
            __m512i column[4];
#pragma GCC unroll 4
            for (int n = 0; n < vectors; n++)
                column[n] = _mm512_load_si512(weights + 32 * n);
#pragma GCC unroll 12
            for (int m = 0; m < positions; m++) {
                __m512i pair = _mm512_set1_epi32(pair_at(from + m * inputs + 2 * k));
#pragma GCC unroll 4
                for (int n = 0; n < vectors; n++)
                    local[m][n] = _mm512_dpwssd_epi32(local[m][n], column[n], pair);
            }
        }
    }
#pragma GCC unroll 12
    for (int m = 0; m < positions; m++)
#pragma GCC unroll 4
        for (int n = 0; n < vectors; n++)
            _mm512_storeu_si512(sums + 16 * (m * vectors + n), local[m][n]);
}

AVX512 static void avx512_tile(const int16_t *const *rows, int side, int pairs, int inputs, const int16_t *weights,
                               int width, int32_t *sums)
{
    switch (width) {
    case 16:
        avx512_product(rows, side, pairs, inputs, weights, sums, 12, 1);
        break;
    case 32:
        avx512_product(rows, side, pairs, inputs, weights, sums, 12, 2);
        break;
    case 48:
        avx512_product(rows, side, pairs, inputs, weights, sums, 8, 3);
        break;
    default:
        avx512_product(rows, side, pairs, inputs, weights, sums, 6, 4);
    }
}

AVX512 static void avx512_finish(const int32_t *sums, const int32_t *bias, const int32_t *shift, int count,
                                 dcn_epilogue epilogue, void *output)
{
    for (int n = 0; n < count; n += 16) {
        __mmask16 mask = count - n < 16 ? (__mmask16)((1u << (count - n)) - 1) : (__mmask16)0xFFFF;
        __m512i value = _mm512_add_epi32(_mm512_loadu_si512(sums + n), _mm512_loadu_si512(bias + n));
        value = _mm512_srav_epi32(value, _mm512_loadu_si512(shift + n));
        if (epilogue == DCN_PIXELS || epilogue == DCN_RELU)
            value = _mm512_max_epi32(value, _mm512_setzero_si512());
        if (epilogue == DCN_PIXELS) {
            _mm_mask_storeu_epi8((uint8_t *)output + n, mask, _mm512_cvtusepi32_epi8(value));
            continue;
        }
        __m256i packed = _mm512_cvtsepi32_epi16(value);
        int16_t *to = (int16_t *)output + n;
        if (epilogue == DCN_ADD)
            packed = _mm256_adds_epi16(packed, _mm256_maskz_loadu_epi16(mask, to));
        _mm256_mask_storeu_epi16(to, mask, packed);
    }
}

AVX512 static int avx512_transform_inputs(const int16_t *const *rows, int tiles, int channels, int16_t *columns,
                                          int16_t *inputs, int step)
{
    int count = (2 * tiles + 2) * channels;
    const __m512i half = _mm512_set1_epi16(8192);
    __m512i beyond = _mm512_setzero_si512();
    for (int n = 0; n < count; n += 32) {
        __mmask32 mask = count - n < 32 ? (1u << (count - n)) - 1 : 0xFFFFFFFFu;
        __m512i r[4];
#pragma GCC unroll 4
        for (int y = 0; y < 4; y++) {
            r[y] = _mm512_maskz_loadu_epi16(mask, rows[y] + n);
            beyond = _mm512_or_si512(beyond, _mm512_add_epi16(r[y], half));
        }
        _mm512_mask_storeu_epi16(columns + n, mask, _mm512_sub_epi16(r[0], r[2]));
        _mm512_mask_storeu_epi16(columns + count + n, mask, _mm512_add_epi16(r[1], r[2]));
        _mm512_mask_storeu_epi16(columns + 2 * count + n, mask, _mm512_sub_epi16(r[2], r[1]));
        _mm512_mask_storeu_epi16(columns + 3 * count + n, mask, _mm512_sub_epi16(r[1], r[3]));
    }
    if (_mm512_test_epi16_mask(beyond, _mm512_set1_epi16((int16_t)0xC000)))
        return 0;
    for (int i = 0; i < 4; i++, inputs += 4 * step)
        for (int t = 0; t < tiles; t++) {
            const int16_t *from = columns + i * count + 2 * t * channels;
            int16_t *to = inputs + t * channels;
            for (int c = 0; c < channels; c += 32) {
                __mmask32 mask = channels - c < 32 ? (1u << (channels - c)) - 1 : 0xFFFFFFFFu;
                __m512i a = _mm512_maskz_loadu_epi16(mask, from + c);
                __m512i b = _mm512_maskz_loadu_epi16(mask, from + channels + c);
                __m512i d = _mm512_maskz_loadu_epi16(mask, from + 2 * channels + c);
                __m512i e = _mm512_maskz_loadu_epi16(mask, from + 3 * channels + c);
                _mm512_mask_storeu_epi16(to + c, mask, _mm512_sub_epi16(a, d));
                _mm512_mask_storeu_epi16(to + step + c, mask, _mm512_add_epi16(b, d));
                _mm512_mask_storeu_epi16(to + 2 * step + c, mask, _mm512_sub_epi16(d, b));
                _mm512_mask_storeu_epi16(to + 3 * step + c, mask, _mm512_sub_epi16(b, e));
            }
        }
    return 1;
}

DCN_COMPILED(avx512, AVX512)

const dcn_kernel_set DCN_AVX512_SET = DCN_SET(avx512, 12, 12, 8, 6);

/* ---- AVX2: 6 positions x 2 vectors of 8 ---- */

AVX2 static void avx2_tile(const int16_t *const *rows, int side, int pairs, int inputs, const int16_t *weights,
                           int width, int32_t *sums)
{
    (void)width;
    __m256i local[6][2];
#pragma GCC unroll 6
    for (int m = 0; m < 6; m++)
        local[m][0] = local[m][1] = _mm256_setzero_si256();
    for (int row = 0; row < side; row++) {
        const int16_t *from = rows[row];
        for (int k = 0; k < pairs; k++, weights += 32) {
            __m256i low = _mm256_load_si256((const __m256i *)weights);
            __m256i high = _mm256_load_si256((const __m256i *)(weights + 16));
#pragma GCC unroll 6
            for (int m = 0; m < 6; m++) {
                __m256i pair = _mm256_set1_epi32(pair_at(from + m * inputs + 2 * k));
                local[m][0] = _mm256_add_epi32(local[m][0], _mm256_madd_epi16(low, pair));
                local[m][1] = _mm256_add_epi32(local[m][1], _mm256_madd_epi16(high, pair));
            }
        }
    }
#pragma GCC unroll 6
    for (int m = 0; m < 6; m++) {
        _mm256_storeu_si256((__m256i *)(sums + 16 * m), local[m][0]);
        _mm256_storeu_si256((__m256i *)(sums + 16 * m + 8), local[m][1]);
    }
}

DCN_INPUTS(avx2, AVX2)

AVX2 static void avx2_finish(const int32_t *sums, const int32_t *bias, const int32_t *shift, int count,
                             dcn_epilogue epilogue, void *output)
{
    int n = 0;
    for (; n + 8 <= count; n += 8) {
        __m256i value = _mm256_add_epi32(_mm256_loadu_si256((const __m256i *)(sums + n)),
                                         _mm256_loadu_si256((const __m256i *)(bias + n)));
        value = _mm256_srav_epi32(value, _mm256_loadu_si256((const __m256i *)(shift + n)));
        if (epilogue == DCN_RELU)
            value = _mm256_max_epi32(value, _mm256_setzero_si256());
        __m128i packed = _mm_packs_epi32(_mm256_castsi256_si128(value), _mm256_extracti128_si256(value, 1));
        if (epilogue == DCN_PIXELS) {
            _mm_storel_epi64((__m128i *)((uint8_t *)output + n), _mm_packus_epi16(packed, packed));
            continue;
        }
        __m128i *to = (__m128i *)((int16_t *)output + n);
        if (epilogue == DCN_ADD)
            packed = _mm_adds_epi16(packed, _mm_loadu_si128(to));
        _mm_storeu_si128(to, packed);
    }
    dcn_finish_from(n, sums, bias, shift, count, epilogue, output);
}

DCN_COMPILED(avx2, AVX2)

const dcn_kernel_set DCN_AVX2_SET = DCN_SET(avx2, 6, 6, 6, 6);
#endif
