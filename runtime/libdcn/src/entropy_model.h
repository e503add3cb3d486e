/* The entropy model of a codec: the scale network (Ballé et al. 2018, arXiv:1802.01436), the context networks of
 * channel groups (Minnen and Singh 2020, arXiv:2007.08739) and of the checkerboard (He et al. 2021, arXiv:2103.15306),
 * and the tables of symbols. Everything that chooses a table is exact integer arithmetic (docs/format/grid.md).
 */
#ifndef DCN_ENTROPY_MODEL_H
#define DCN_ENTROPY_MODEL_H

#include "convolution.h"
#include "rans.h"

enum { DCN_MOST_GROUPS = 8, DCN_MOST_WIDTH = 4096, DCN_MAGNITUDES = 256, DCN_PLACES = 4 };
/* Number of features, rounded up to an even number: products take pairs. */
static inline int dcn_even(int count)
{
    return (count + 1) / 2 * 2;
}

enum { DCN_FORM_UNIT = 1 << 10, DCN_HIDDEN_UNIT = 1 << 6, DCN_HIDDEN_MAX = 255 };
enum { DCN_LARGEST_OFFSET = 4 << 15, DCN_LARGEST_BIAS = 1 << 30, DCN_LARGEST_INPUT = 1 << 22 };

/* The tensors `context.*` of one part (docs/format/grid.md). The last three exist only with a mixed width. */
typedef struct {
    const int8_t *hidden_weight;
    const int32_t *hidden_bias;
    const int8_t *out_weight, *mixed_weight, *below_weight;
    const int32_t *mixed_bias;
} dcn_context_tensors;

/* One channel group. `context` is that of the whole group, or of its anchor positions; the first group has none
 * (hidden_weight NULL). `non_anchors` is that of its non-anchor positions; a group without checkerboard has none. */
typedef struct {
    int channels;
    dcn_context_tensors context, non_anchors;
} dcn_group_tensors;

/* The tensors of an entropy model. `halves`: number of first groups that have a checkerboard. */
typedef struct {
    int channels, hyper, class_width, context_width, mixed_width, groups, halves;
    const uint8_t *radius, *magnitude;   /* (32), (256) */
    const uint16_t *runs;                /* (32) */
    const uint32_t *counts, *run_counts; /* of all scale indices, one after the other */
    const int8_t *scale_hidden_weight, *scale_out_weight;
    const int32_t *scale_hidden_bias;
    dcn_group_tensors group[DCN_MOST_GROUPS];
} dcn_entropy_tensors;

/* The networks of a part, prepared for products (planes.h): widths are rounded up to even numbers, with zeros. `known`
 * is 0 in the first group, whose logits come from hyperlatents alone. The inputs of logits are the hidden values of the
 * scale network, then those of the context: `depth` together. */
typedef struct {
    int known, depth;
    int16_t *hidden_weight; /* (context_width, 3 * known): the position, beside, above and below */
    int32_t *hidden_bias;   /* (context_width), with the half that rounds */
    int16_t *mixed_weight;  /* (PLACES, mixed_width, class_width + context_width) */
    int32_t *mixed_bias;    /* (mixed_width), with the half that rounds */
    int16_t *logit_weight;  /* (PLACES, channels, depth) */
    int16_t *logit_bound;   /* (channels, depth): the largest of all places, at least 0 */
} dcn_context;

typedef struct {
    int channels;
    dcn_context context, non_anchors;
} dcn_group;

typedef struct {
    dcn_symbol_tables symbols;
    int channels, hyper, class_width, context_width, mixed_width, groups, halves, most_known;
    int halved;            /* channels of the groups with a checkerboard */
    int32_t *hyper_weight; /* (hyper, 9, PLACES * class_width) */
    int32_t *hyper_bias;   /* (PLACES * class_width), with the half that rounds */
    dcn_kernels kernels;
    dcn_convolution hyper_layer; /* the same for inputs of 16 bits, without outputs where it cannot be exact */
    dcn_group group[DCN_MOST_GROUPS];
    uint8_t magnitude[DCN_MAGNITUDES];
} dcn_entropy_model;

/* Faults of tensors; dcn_model_fault_text gives the message. */
typedef enum {
    DCN_MODEL_GOOD,
    DCN_MODEL_SIZES,  /* a width, or the channels of the groups */
    DCN_MODEL_COUNTS, /* an alphabet that does not add up to 2^24 */
    DCN_MODEL_BIAS,   /* beyond 2^30 */
    DCN_MODEL_SUMS,   /* sums that float32 does not hold exactly */
    DCN_MODEL_NO_MEMORY
} dcn_model_fault;

const char *dcn_model_fault_text(dcn_model_fault fault);

/* Whether the sizes in `tensors` are valid. Call it before sizes of its arrays are computed. */
int dcn_entropy_sizes_fit(const dcn_entropy_tensors *tensors);

/* Lengths of counts and run_counts that follow from radius and runs. */
void dcn_entropy_counts_of(const dcn_entropy_tensors *tensors, size_t *counts, size_t *run_counts);

/* Checks the tensors and prepares them. `*made` is NULL unless DCN_MODEL_GOOD is returned. */
dcn_model_fault dcn_entropy_model_new(const dcn_entropy_tensors *tensors, dcn_entropy_model **made);
void dcn_entropy_model_free(dcn_entropy_model *model);

#endif
