/* A coding tile while it is decoded; internal to tile.c, scale_network.c and context_network.c. */
#ifndef DCN_TILE_WORK_H
#define DCN_TILE_WORK_H

#include "planes.h"
#include "tile.h"

enum { DCN_TAPS = 3 }; /* features of a channel at a position: its magnitude, those beside it, those above and below */

/* A tile while it is decoded. Planes are those of a frame: `height` x `width` hidden values of the scale network, each
 * of which covers 2 x 2 latents, its four places. Rows of latents take `step` numbers here, two for each hidden
 * value. */
typedef struct {
    const dcn_entropy_model *model;
    int rows, columns, height, width;
    size_t padded;                   /* height * width, rounded up to whole blocks */
    size_t step, size;               /* size: rows * columns */
    dcn_planes inputs[DCN_PLACES];   /* what logits are sums of */
    dcn_planes features[DCN_PLACES]; /* of pairs of channels that are not 0 throughout, DCN_TAPS each */
    dcn_planes hidden;               /* of a context's second layer */
    int16_t *lines;                  /* (2 channels, PLACES, DCN_TAPS, padded): of the next pair */
    int *live;                       /* the channels of all pairs; -1 where there is none */
    int live_count;                  /* even */
    int32_t *reach;   /* (depth): the largest value of each input */
    int16_t *weights; /* of all rows of a product */
    int32_t *bias;    /* of those rows */
    int16_t *edged;   /* (rows + 2, 1 + step + 1): magnitudes of one channel, with zeros around */
    int16_t *line;    /* (step): of a row */
    uint8_t *found;   /* (2, channels, padded): scale indices at the places of one row of each pair */
    int *channels;    /* of the rows of a product */
    uint8_t *paired;  /* (step): scale indices of a row */
    uint8_t *scales;  /* (channels of the group, rows, columns) */
    int16_t *symbols; /* (channels, rows, columns) */
} dcn_tile_work;

/* Values of a context that logits see. */
static inline int seen_of(const dcn_entropy_model *model)
{
    return model->mixed_width ? model->mixed_width : model->context_width;
}

/* The inputs of logits that follow from hyperlatents. Returns -1 where memory is short. */
int dcn_add_hyper(dcn_tile_work *work, const dcn_tile *tile);

/* Appends the features of the channels from `from` to before `to`. */
void dcn_add_features(dcn_tile_work *work, int from, int to);

/* The values of a context that logits see, as inputs at the places of `which`. */
void dcn_add_context(dcn_tile_work *work, const dcn_context *context, const int *which, int places);

#endif
