/* Which of 16 symbols are not 0, as bits; internal. */
#ifndef DCN_NONZERO_H
#define DCN_NONZERO_H

#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#endif

static inline uint32_t dcn_nonzero(const int16_t *symbols)
{
#if defined(__SSE2__)
    __m128i low = _mm_cmpeq_epi16(_mm_loadu_si128((const __m128i *)symbols), _mm_setzero_si128());
    __m128i high = _mm_cmpeq_epi16(_mm_loadu_si128((const __m128i *)(symbols + 8)), _mm_setzero_si128());
    return ~(uint32_t)_mm_movemask_epi8(_mm_packs_epi16(low, high)) & 0xFFFF;
#elif defined(__wasm_simd128__)
    v128_t zero = wasm_i16x8_const_splat(0);
    v128_t low = wasm_i16x8_eq(wasm_v128_load(symbols), zero), high = wasm_i16x8_eq(wasm_v128_load(symbols + 8), zero);
    return ~(uint32_t)wasm_i8x16_bitmask(wasm_i8x16_narrow_i16x8(low, high)) & 0xFFFF;
#else
    uint64_t four[4];
    uint32_t found = 0;
    memcpy(four, symbols, sizeof four);
    if (!(four[0] | four[1] | four[2] | four[3]))
        return 0;
    for (int i = 0; i < 16; i++)
        found |= (uint32_t)(symbols[i] != 0) << i;
    return found;
#endif
}

/* The place of the lowest bit of `bits`, which are not 0. */
static inline int dcn_lowest(uint32_t bits)
{
#ifdef __GNUC__
    return __builtin_ctz(bits);
#else
    int place = 0;
    for (; !(bits & 1); bits >>= 1)
        place++;
    return place;
#endif
}

#endif
