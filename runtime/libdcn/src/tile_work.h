/* A coding tile while it is decoded; internal to tile.c, scale_network.c and context_network.c. */
#ifndef DCN_TILE_WORK_H
#define DCN_TILE_WORK_H

#include "planes.h"
#include "tile.h"

enum { DCN_TAPS = 3 }; /* features at a position: magnitude, sum of left and right, sum of upper and lower neighbour */

/* State while a tile is decoded. Planes have the shape of a frame: `height` x `width` hidden values of the scale
 * network. Each covers 2 x 2 latents, its four places. A row of latents takes `step` numbers, two for each hidden
 * value. */
typedef struct {
    const dcn_entropy_model *model;
    int rows, columns, height, width;
    size_t padded;                   /* height * width, rounded up to whole blocks */
    size_t step, size;               /* size: rows * columns */
    dcn_planes inputs[DCN_PLACES];   /* inputs of the last layer, whose outputs are logits */
    dcn_planes features[DCN_PLACES]; /* of pairs of channels that are not 0 everywhere, DCN_TAPS each */
    dcn_planes hidden;               /* input of a context's second layer */
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

/* Number of a context's hidden values that are inputs of logits. */
static inline int seen_of(const dcn_entropy_model *model)
{
    return model->mixed_width ? model->mixed_width : model->context_width;
}

/* Computes the inputs of logits that come from hyperlatents. Returns -1 without enough memory. */
int dcn_add_hyper(dcn_tile_work *work, const dcn_tile *tile);

/* Appends the features of the channels `from` to `to` - 1. */
void dcn_add_features(dcn_tile_work *work, int from, int to);

/* Computes the inputs of logits that come from a context, at the places of `which`. */
void dcn_add_context(dcn_tile_work *work, const dcn_context *context, const int *which, int places);

#endif
