/* The latents of one picture (docs/format/grid.md): its streams, hyperlatents, and coding tiles. */
#ifndef DCN_PICTURE_H
#define DCN_PICTURE_H

#include "model.h"

enum { DCN_LATENT_PIXELS = 16, DCN_HYPER_LATENTS = 4, DCN_MEAN_HALO = 2 };

/* Latents h x w, hyperlatents hz x wz, coding tiles (tile_rows, tile_columns). `v` (hyper, hz, wz): hyperlatents in
 * units of 1/16. */
typedef struct {
    const dcn_model *model;
    int h, w, hz, wz, tile_rows, tile_columns;
    dcn_bytes hyper_stream, *streams;
    int32_t *v, *offset; /* offset (channels): of the quality */
    float *step;         /* (channels) */
} dcn_picture;

/* Sets the sizes of a picture of this many pixels. */
void dcn_picture_sizes(dcn_picture *picture, const dcn_model *model, uint32_t width, uint32_t height);

/* Finds the streams in the latents of `info` and decodes the hyperlatents. `picture` is to be freed, also after an
 * error. */
dcn_status dcn_picture_open(dcn_picture *picture, const dcn_model *model, const dcn_info *info, dcn_error *error);
void dcn_picture_free(dcn_picture *picture);

/* A coding tile: its latents from `top`, `left` on; and its means, of `mean_columns` positions a row, of which the
 * tile's first is `mean_first`. */
typedef struct {
    int top, left, rows, columns;
    int16_t *symbols; /* (channels, rows, columns) */
    int16_t *means;   /* (mean rows, mean_columns, channels), in units of the channels' exponents */
    size_t mean_columns, mean_first;
} dcn_tile_latents;

/* Sizes of the tile at tile_row, tile_column; symbols and means stay NULL. */
void dcn_tile_place(const dcn_picture *picture, int tile_row, int tile_column, dcn_tile_latents *tile);

/* Decodes the first `groups` channel groups of a tile, whose sizes are set, into `tile->symbols`, which the caller
 * gives and which holds zeros; `tile->means` is to be released. On two threads symbols and means come side by side. */
dcn_status dcn_tile_open(const dcn_picture *picture, int groups, int threads, dcn_tile_latents *tile, dcn_error *error);

/* Upper bounds of the memory of a picture, and of one tile of it while it is decoded. */
uint64_t dcn_picture_memory(const dcn_picture *picture);
uint64_t dcn_picture_tile_memory(const dcn_picture *picture);

#endif
