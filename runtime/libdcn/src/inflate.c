/* See inflate.h. */
#include "inflate.h"

#include <string.h>

enum { END_OF_BLOCK = 256, MOST_CODES = 286, MOST_DISTANCES = 30 };

void dcn_inflate_begin(dcn_inflate *inflate, const uint8_t *bytes, size_t size)
{
    memset(inflate, 0, sizeof *inflate);
    inflate->bytes = bytes, inflate->size = size;
}

/* The next `count` bits, at most 16, the first in the lowest place; 0 after a failure. */
static uint32_t bits_of(dcn_inflate *inflate, int count)
{
    while (inflate->bit_count < count) {
        if (inflate->at == inflate->size) {
            inflate->failed = 1;
            return 0;
        }
        inflate->bits |= (uint32_t)inflate->bytes[inflate->at++] << inflate->bit_count;
        inflate->bit_count += 8;
    }
    uint32_t value = inflate->bits & ((1u << count) - 1);
    inflate->bits >>= count;
    inflate->bit_count -= count;
    return value;
}

/* Returns how many codes of the longest length are left over; negative where there are too many. */
static int make_code(dcn_huffman *code, const uint8_t *lengths, int count)
{
    uint16_t next[DCN_MOST_LENGTH_BITS + 1];
    int left = 1;
    memset(code->count, 0, sizeof code->count);
    for (int i = 0; i < count; i++)
        code->count[lengths[i]]++;
    if (code->count[0] == count)
        return 0; /* no codes: using one fails */
    for (int length = 1; length <= DCN_MOST_LENGTH_BITS; length++) {
        left = 2 * left - code->count[length];
        if (left < 0)
            return left;
    }
    next[1] = 0;
    for (int length = 1; length < DCN_MOST_LENGTH_BITS; length++)
        next[length + 1] = (uint16_t)(next[length] + code->count[length]);
    for (int i = 0; i < count; i++)
        if (lengths[i])
            code->symbol[next[lengths[i]]++] = (uint16_t)i;
    return left;
}

/* The next symbol of a code, bit by bit; -1 after a failure. */
static int symbol_of(dcn_inflate *inflate, const dcn_huffman *code)
{
    int value = 0, first = 0, index = 0;
    for (int length = 1; length <= DCN_MOST_LENGTH_BITS; length++) {
        value |= (int)bits_of(inflate, 1);
        if (inflate->failed)
            return -1;
        int count = code->count[length];
        if (value - count < first)
            return code->symbol[index + value - first];
        index += count;
        first = (first + count) << 1;
        value <<= 1;
    }
    inflate->failed = 1;
    return -1;
}

static void fixed_codes(dcn_inflate *inflate)
{
    uint8_t lengths[288];
    for (int i = 0; i < 288; i++)
        lengths[i] = (uint8_t)(i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8);
    make_code(&inflate->lengths, lengths, 288);
    memset(lengths, 5, MOST_DISTANCES);
    make_code(&inflate->distances, lengths, MOST_DISTANCES);
}

static void dynamic_codes(dcn_inflate *inflate)
{
    static const uint8_t order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    uint8_t lengths[MOST_CODES + MOST_DISTANCES] = {0};
    int codes = (int)bits_of(inflate, 5) + 257, distances = (int)bits_of(inflate, 5) + 1;
    int count = (int)bits_of(inflate, 4) + 4, at = 0;
    inflate->failed |= codes > MOST_CODES || distances > MOST_DISTANCES;
    for (int i = 0; i < count; i++)
        lengths[order[i]] = (uint8_t)bits_of(inflate, 3);
    if (inflate->failed || make_code(&inflate->lengths, lengths, 19)) {
        inflate->failed = 1;
        return;
    }
    memset(lengths, 0, sizeof lengths);
    while (at < codes + distances) {
        int symbol = symbol_of(inflate, &inflate->lengths), repeat = 1;
        if (inflate->failed)
            return;
        uint8_t value = (uint8_t)symbol;
        if (symbol == 16) {
            if (!at) {
                inflate->failed = 1;
                return;
            }
            value = lengths[at - 1], repeat = 3 + (int)bits_of(inflate, 2);
        } else if (symbol > 16) {
            value = 0, repeat = symbol == 17 ? 3 + (int)bits_of(inflate, 3) : 11 + (int)bits_of(inflate, 7);
        }
        if (repeat > codes + distances - at) {
            inflate->failed = 1;
            return;
        }
        memset(lengths + at, value, (size_t)repeat);
        at += repeat;
    }
    /* Incomplete codes are allowed where there is one code only, as zlib has it. */
    int left = make_code(&inflate->lengths, lengths, codes);
    if (!lengths[END_OF_BLOCK] || left < 0 || (left && codes - inflate->lengths.count[0] != 1))
        inflate->failed = 1;
    left = make_code(&inflate->distances, lengths + codes, distances);
    if (left < 0 || (left && distances - inflate->distances.count[0] != 1))
        inflate->failed = 1;
}

static void begin_block(dcn_inflate *inflate)
{
    inflate->last = (int)bits_of(inflate, 1);
    uint32_t type = bits_of(inflate, 2);
    inflate->in_block = 1, inflate->stored = type == 0;
    if (type == 0) {
        inflate->bits = 0, inflate->bit_count = 0;
        inflate->left = bits_of(inflate, 16);
        uint32_t inverse = bits_of(inflate, 16);
        inflate->failed |= inflate->left != (inverse ^ 0xFFFF);
    } else if (type == 1)
        fixed_codes(inflate);
    else if (type == 2)
        dynamic_codes(inflate);
    else
        inflate->failed = 1;
}

static void end_block(dcn_inflate *inflate)
{
    inflate->in_block = 0;
    inflate->ended = inflate->last;
}

/* Reads the length and distance of a copy. */
static void begin_match(dcn_inflate *inflate, int symbol)
{
    static const uint16_t base[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                      31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    static const uint8_t extra[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    static const uint16_t far_base[30] = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
                                          193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    if (symbol - 257 >= 29) {
        inflate->failed = 1;
        return;
    }
    inflate->match = base[symbol - 257] + bits_of(inflate, extra[symbol - 257]);
    int far = symbol_of(inflate, &inflate->distances);
    if (inflate->failed || far >= MOST_DISTANCES) {
        inflate->failed = 1;
        return;
    }
    inflate->distance = far_base[far] + bits_of(inflate, far < 4 ? 0 : far / 2 - 1);
    inflate->failed |= inflate->distance > inflate->written;
}

/* One byte of the stream, -1 where it ends or fails. */
static int next_byte(dcn_inflate *inflate)
{
    while (!inflate->failed && !inflate->ended) {
        if (inflate->match) {
            inflate->match--;
            return inflate->window[(inflate->position - inflate->distance) % DCN_WINDOW];
        }
        if (!inflate->in_block) {
            begin_block(inflate);
            continue;
        }
        if (inflate->stored) {
            if (!inflate->left) {
                end_block(inflate);
                continue;
            }
            inflate->left--;
            uint32_t byte = bits_of(inflate, 8);
            return inflate->failed ? -1 : (int)byte;
        }
        int symbol = symbol_of(inflate, &inflate->lengths);
        if (symbol < 0)
            break;
        if (symbol < END_OF_BLOCK)
            return symbol;
        if (symbol == END_OF_BLOCK)
            end_block(inflate);
        else
            begin_match(inflate, symbol);
    }
    return -1;
}

int dcn_inflate_read(dcn_inflate *inflate, uint8_t *out, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int byte = next_byte(inflate);
        if (byte < 0)
            return -1;
        out[i] = inflate->window[inflate->position % DCN_WINDOW] = (uint8_t)byte;
        inflate->position++;
        inflate->written++;
    }
    return 0;
}

int dcn_inflate_at_end(dcn_inflate *inflate)
{
    return next_byte(inflate) < 0 && inflate->ended && !inflate->failed && inflate->at == inflate->size;
}
