/* The layers of a synthesis, prepared for kernels; internal. */
#ifndef DCN_SYNTHESIS_NETWORK_H
#define DCN_SYNTHESIS_NETWORK_H

#include "synthesis.h"

enum { DCN_RING = 8 }; /* rows that each layer keeps while a picture is computed */

struct dcn_synthesis {
    dcn_kernels kernels;
    int latents, width, layers, first, known, predicted, hidden;
    dcn_convolution prediction, up, last, residual[DCN_MOST_LAYERS][2];
    uint8_t exponent[DCN_MOST_CHANNELS];
};

#endif
