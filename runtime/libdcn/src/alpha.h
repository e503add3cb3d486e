/* The alpha plane of a file, row by row (docs/format/file.md). */
#ifndef DCN_ALPHA_H
#define DCN_ALPHA_H

#include "bytes.h"

typedef struct dcn_alpha dcn_alpha;

/* Opens the alpha section of `info`. `*made` is to be freed; NULL after an error. */
dcn_status dcn_alpha_open(const dcn_info *info, dcn_alpha **made, dcn_error *error);

/* The next row, `width` bytes, valid until the next call; NULL after an error. */
const uint8_t *dcn_alpha_row(dcn_alpha *alpha, dcn_error *error);

/* After the last row: whether the section ends there too. */
dcn_status dcn_alpha_close(dcn_alpha *alpha, dcn_error *error);
void dcn_alpha_free(dcn_alpha *alpha);
uint64_t dcn_alpha_memory(uint32_t width);

#endif
