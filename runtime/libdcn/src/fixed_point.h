/* Fixed-point numbers of the integer synthesis (docs/synthesis.md); internal. */
#ifndef DCN_FIXED_POINT_H
#define DCN_FIXED_POINT_H

#include <math.h>

#include "synthesis.h"

/* The step of a channel in units of 2^-(exponent + DCN_STEP_BITS), rounded half to even. */
static inline int32_t fixed_step(float step, int exponent)
{
    double scaled = rint(ldexp((double)step, exponent + DCN_STEP_BITS));
    return scaled < 1 ? 1 : scaled > (double)(1 << 30) ? 1 << 30 : (int32_t)scaled;
}

static inline int32_t saturated(int32_t value)
{
    return value < INT16_MIN ? INT16_MIN : value > INT16_MAX ? INT16_MAX : value;
}

/* The largest symbol whose product with `step` stays in 32 bits. */
static inline int32_t most_symbol(int32_t step)
{
    return step > 1 << 15 ? (1 << 30) / step : 32767;
}

static inline int32_t residual_of(int32_t symbol, int32_t step, int32_t most)
{
    symbol = symbol > -most ? symbol : -most;
    symbol = symbol < most ? symbol : most;
    return saturated((symbol * step + (1 << (DCN_STEP_BITS - 1))) >> DCN_STEP_BITS);
}

/* A layer as kernels read it, whose outputs lie in segments of `segment` channels. Returns 1 where it cannot be. */
static inline int prepared(dcn_convolution *made, dcn_kernels kernels, const dcn_layer *layer, int segment)
{
    return dcn_convolution_make(made, kernels, layer->inputs, layer->outputs, layer->side, segment, layer->weights,
                                layer->bias, layer->shift);
}

#endif
