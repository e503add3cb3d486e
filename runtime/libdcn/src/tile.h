/* The symbols of one coding tile from its stream, in exact integers (docs/format.md, layout `grid`). */
#ifndef DCN_TILE_H
#define DCN_TILE_H

#include "entropy_model.h"

/* What a tile is decoded from. `v` (hyper, hyper_rows, hyper_columns): hyperlatents in units of 1/16, within
 * +-DCN_LARGEST_INPUT, of the picture or of a part of it that reaches one beyond the tile; what lies outside counts as
 * 0. The tile's first is at `top`, `left`. `offset` (channels): of the quality, within +-DCN_LARGEST_OFFSET. */
typedef struct {
    const uint8_t *stream;
    size_t size; /* bytes, a multiple of 4 */
    const int32_t *v;
    int hyper_rows, hyper_columns, top, left;
    const int32_t *offset;
    int rows, columns;
    int groups; /* channel groups to decode; the model's number for all, which alone checks the stream's end */
} dcn_tile;

/* 1 where the hyperlatents cover the tile and no size wraps. */
int dcn_tile_fits(const dcn_entropy_model *model, const dcn_tile *tile);

/* `symbols` (channels, rows, columns), which holds zeros, gets those of the first groups. */
dcn_stream_fault dcn_decode_tile(const dcn_entropy_model *model, const dcn_tile *tile, int16_t *symbols,
                                 dcn_stream_result *result);

/* Bytes that dcn_decode_tile takes at most while it runs. */
uint64_t dcn_tile_memory(const dcn_entropy_model *model, int rows, int columns);

#endif
