/* See alpha.h. decant.formats.alpha is the same in Python, and the encoder. */
#include "alpha.h"

#include <string.h>

#include "inflate.h"
#include "memory.h"

enum { CONSTANT, PLAIN, LEFT, UP, LEFT_UP, BITS, BITS_UP, METHODS };

struct dcn_alpha {
    int method, low, high;
    size_t width, packed; /* packed: bytes of a row in the stream */
    uint8_t *row, *bytes; /* the last row, and its bytes in the stream */
    dcn_inflate inflate;
};

dcn_status dcn_alpha_open(const dcn_info *info, dcn_alpha **made, dcn_error *error)
{
    const uint8_t *data = info->alpha_plane.bytes;
    size_t size = info->alpha_plane.size;
    *made = NULL;
    if (!size)
        return dcn_fail(error, DCN_BAD_FILE, "empty alpha section");
    int method = data[0], two = method == BITS || method == BITS_UP;
    if (method >= METHODS)
        return dcn_fail(error, DCN_BAD_FILE, "alpha method %d is unknown; 0..6 expected", method);
    if (method == CONSTANT && size != 2)
        return dcn_fail(error, DCN_BAD_FILE, "constant alpha of %zu bytes; 2 expected", size);
    if (two && (size < 3 || data[1] >= data[2]))
        return dcn_fail(error, DCN_BAD_FILE, "alpha of two values must name them in ascending order");
    dcn_alpha *alpha = dcn_allocate_zeroed(1, sizeof *alpha);
    if (alpha) {
        alpha->method = method, alpha->width = info->width;
        alpha->packed = two ? (alpha->width + 7) / 8 : alpha->width;
        alpha->row = dcn_allocate_zeroed(alpha->width, 1), alpha->bytes = dcn_allocate_zeroed(2 * alpha->packed, 1);
    }
    if (!alpha || !alpha->row || !alpha->bytes) {
        dcn_alpha_free(alpha);
        return dcn_fail(error, DCN_OUT_OF_MEMORY, "no memory for the alpha plane");
    }
    if (method == CONSTANT)
        memset(alpha->row, data[1], alpha->width);
    if (two)
        alpha->low = data[1], alpha->high = data[2];
    if (method != CONSTANT)
        dcn_inflate_begin(&alpha->inflate, data + (two ? 3 : 1), size - (two ? 3 : 1));
    *made = alpha;
    return DCN_OK;
}

/* A row of two values. Returns -1 where bits after its last pixel are set. */
static int unpack_bits(dcn_alpha *alpha)
{
    uint8_t *bytes = alpha->bytes, *before = bytes + alpha->packed;
    for (size_t i = 0; alpha->method == BITS_UP && i < alpha->packed; i++)
        bytes[i] ^= before[i];
    memcpy(before, bytes, alpha->packed);
    for (size_t x = 0; x < alpha->width; x++)
        alpha->row[x] = (uint8_t)(bytes[x / 8] >> (7 - x % 8) & 1 ? alpha->high : alpha->low);
    int rest = (int)(alpha->width % 8);
    return rest && (bytes[alpha->packed - 1] & 0xFF >> rest) ? -1 : 0;
}

const uint8_t *dcn_alpha_row(dcn_alpha *alpha, dcn_error *error)
{
    if (alpha->method == CONSTANT)
        return alpha->row;
    if (dcn_inflate_read(&alpha->inflate, alpha->bytes, alpha->packed)) {
        dcn_fail(error, DCN_BAD_FILE, "alpha is damaged, or has fewer bytes than the picture needs");
        return NULL;
    }
    if (alpha->method >= BITS) {
        if (!unpack_bits(alpha))
            return alpha->row;
        dcn_fail(error, DCN_BAD_FILE, "the bits after the last pixel of an alpha row are not zero");
        return NULL;
    }
    uint8_t beside = 0;
    for (size_t x = 0; x < alpha->width; x++) {
        uint8_t value = alpha->bytes[x];
        if (alpha->method == LEFT || alpha->method == LEFT_UP)
            value = beside = (uint8_t)(value + beside);
        alpha->row[x] = alpha->method >= UP ? (uint8_t)(alpha->row[x] + value) : value;
    }
    return alpha->row;
}

dcn_status dcn_alpha_close(dcn_alpha *alpha, dcn_error *error)
{
    if (alpha->method == CONSTANT || dcn_inflate_at_end(&alpha->inflate))
        return DCN_OK;
    return dcn_fail(error, DCN_BAD_FILE, "alpha does not end where its section and the picture end");
}

void dcn_alpha_free(dcn_alpha *alpha)
{
    if (!alpha)
        return;
    dcn_release(alpha->row), dcn_release(alpha->bytes);
    dcn_release(alpha);
}

uint64_t dcn_alpha_memory(uint32_t width)
{
    return sizeof(struct dcn_alpha) + 3 * (uint64_t)width;
}
