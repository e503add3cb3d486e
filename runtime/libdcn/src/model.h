/* A model that was opened; internal. */
#ifndef DCN_MODEL_H
#define DCN_MODEL_H

#include "bytes.h"
#include "entropy_model.h"
#include "synthesis.h"

enum { DCN_QUALITIES = 100, DCN_LEVELS = 256 };

struct dcn_model {
    char name[DCN_MOST_NAME + 1];
    uint8_t id[DCN_ID_BYTES];
    int tile; /* side of a coding tile in latents */
    dcn_entropy_model *entropy;
    dcn_mean *mean;
    dcn_synthesis *synthesis;
    float step_levels[DCN_LEVELS];
    uint8_t *step_index, *class_offset;      /* (DCN_QUALITIES, channels) */
    uint8_t *hyper_multiplier, *hyper_class; /* (DCN_QUALITIES, hyper) */
};

#endif
