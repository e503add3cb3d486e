/* Decodes one coding tile: stream and hyperlatents -> symbols, in exact integers (docs/format/grid.md).
 *
 *     for each channel group:
 *         scale indices of its (anchor) positions: scale network + context of the earlier groups
 *         rANS -> symbols
 *         with a checkerboard: scale indices of the non-anchors, which also see the anchors; rANS -> symbols
 */
#ifndef DCN_TILE_H
#define DCN_TILE_H

#include "entropy_model.h"

/* The input of a tile. `v` (hyper, hyper_rows, hyper_columns): hyperlatents in units of 1/16, within
 * +-DCN_LARGEST_INPUT, of the picture or of a part that extends one beyond the tile. Values outside are 0. The first
 * hyperlatent of the tile is at `top`, `left`. `offset` (channels): the scale-index offsets of the quality, within
 * +-DCN_LARGEST_OFFSET. */
typedef struct {
    const uint8_t *stream;
    size_t size; /* bytes, a multiple of 4 */
    const int32_t *v;
    int hyper_rows, hyper_columns, top, left;
    const int32_t *offset;
    int rows, columns;
    int groups; /* channel groups to decode. The end of the stream is checked only if it is the model's number */
} dcn_tile;

/* Returns 1 if the hyperlatents cover the tile and no size overflows. */
int dcn_tile_fits(const dcn_entropy_model *model, const dcn_tile *tile);

/* `symbols` (channels, rows, columns) must hold zeros and receives those of the first `groups`. */
dcn_stream_fault dcn_decode_tile(const dcn_entropy_model *model, const dcn_tile *tile, int16_t *symbols,
                                 dcn_stream_result *result);

/* Upper bound of the bytes that dcn_decode_tile allocates. */
uint64_t dcn_tile_memory(const dcn_entropy_model *model, int rows, int columns);

#endif
