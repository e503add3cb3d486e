/* See rans.h. decant.codec.entropy.rans is the same in numpy, and the encoder. */
#include "rans.h"

#include <string.h>

#include "memory.h"

/* ---- the coder ---- */

static inline uint64_t popped(dcn_coder *coder)
{
    const uint8_t *at = coder->bytes + 4 * --coder->left;
    return (uint64_t)at[0] | (uint64_t)at[1] << 8 | (uint64_t)at[2] << 16 | (uint64_t)at[3] << 24;
}

dcn_coder dcn_coder_of(const uint8_t *bytes, size_t size)
{
    dcn_coder coder = {0, bytes, size / 4};
    while (coder.state >> 32 == 0 && coder.left)
        coder.state = coder.state << 32 | popped(&coder);
    return coder;
}

int dcn_coder_ended(const dcn_coder *coder)
{
    return !coder->state && !coder->left;
}

static inline uint32_t quantile(const dcn_coder *coder)
{
    return (uint32_t)coder->state & ((1u << DCN_TOTAL_BITS) - 1);
}

/* Updates the state after a symbol that has `count` quantiles from `start` on. */
static inline void take(dcn_coder *coder, uint32_t start, uint32_t count)
{
    coder->state = (coder->state >> DCN_TOTAL_BITS) * count + (quantile(coder) - start);
    if (coder->state >> 32 == 0 && coder->left)
        coder->state = coder->state << 32 | popped(coder);
}

/* A symbol of an alphabet, and the quantile's distance from its start. */
static inline uint32_t found(const dcn_alphabet *alphabet, uint32_t rest, uint32_t *count, uint32_t *inside)
{
    uint32_t at = rest >> (DCN_TOTAL_BITS - DCN_LOOKUP_BITS), symbol = alphabet->first[at];
    uint64_t entry = alphabet->entries[at];
    uint32_t start = (uint32_t)entry;
    *count = (uint32_t)(entry >> 32);
    while (rest - start >= *count) {
        symbol++;
        start = alphabet->starts[symbol];
        *count = alphabet->starts[symbol + 1] - start;
    }
    *inside = rest - start;
    return symbol;
}

/* A symbol takes at most one word, so as many symbols as words are left need no check of the end of the stream. */
static inline void take_symbols(dcn_coder *coder, dcn_alphabet alphabet, size_t count, int32_t *out)
{
    const uint32_t mask = (1u << DCN_TOTAL_BITS) - 1;
    uint64_t state = coder->state;
    size_t sure = count < coder->left ? count : coder->left, i = 0;
    dcn_coder local = *coder;
    for (; i < sure; i++) {
        uint32_t size, inside;
        out[i] = (int32_t)found(&alphabet, (uint32_t)state & mask, &size, &inside);
        state = (state >> DCN_TOTAL_BITS) * size + inside;
        if (state >> 32 == 0)
            state = state << 32 | popped(&local);
    }
    local.state = state;
    for (; i < count; i++) {
        uint32_t size, inside;
        uint32_t rest = quantile(&local);
        out[i] = (int32_t)found(&alphabet, rest, &size, &inside);
        take(&local, rest - inside, size);
    }
    *coder = local;
}

/* One number of at most 16 bits, uniform. */
static inline uint32_t uniform(dcn_coder *coder, int bits)
{
    if (!bits)
        return 0;
    uint32_t value = quantile(coder) >> (DCN_TOTAL_BITS - bits);
    take(coder, value << (DCN_TOTAL_BITS - bits), 1u << (DCN_TOTAL_BITS - bits));
    return value;
}

static uint32_t number(dcn_coder *coder, int bits)
{
    uint32_t high = bits > 16 ? uniform(coder, bits - 16) << 16 : 0;
    return high | uniform(coder, bits > 16 ? 16 : bits);
}

static int bit_length(size_t value)
{
    int bits = 0;
    for (; value; value >>= 1)
        bits++;
    return bits;
}

/* ---- tables ---- */

size_t dcn_symbols_of(const dcn_symbol_tables *tables, int scale)
{
    return 2 * (size_t)tables->radius[scale] + (tables->runs[scale] ? 1 : 2);
}

size_t dcn_run_symbols_of(const dcn_symbol_tables *tables, int scale)
{
    return tables->runs[scale] ? (size_t)tables->runs[scale] + 1 : 0;
}

int dcn_counts_are_whole(const uint32_t *counts, size_t size)
{
    uint64_t total = 0;
    for (size_t i = 0; i < size; i++) {
        if (!counts[i])
            return 0;
        total += counts[i];
    }
    return total == (uint64_t)1 << DCN_TOTAL_BITS;
}

int dcn_alphabet_make(dcn_alphabet *alphabet, const uint32_t *counts, size_t size)
{
    alphabet->starts = dcn_allocate(size + 1, sizeof *alphabet->starts);
    alphabet->entries = dcn_allocate((size_t)1 << DCN_LOOKUP_BITS, sizeof *alphabet->entries);
    alphabet->first = dcn_allocate((size_t)1 << DCN_LOOKUP_BITS, sizeof *alphabet->first);
    if (!alphabet->starts || !alphabet->entries || !alphabet->first)
        return -1;
    uint32_t *starts = alphabet->starts;
    starts[0] = 0;
    for (size_t i = 0; i < size; i++)
        starts[i + 1] = starts[i] + counts[i];
    uint32_t symbol = 0;
    for (uint32_t i = 0; i < 1u << DCN_LOOKUP_BITS; i++) {
        while (starts[symbol + 1] <= i << (DCN_TOTAL_BITS - DCN_LOOKUP_BITS))
            symbol++;
        alphabet->entries[i] = (uint64_t)(starts[symbol + 1] - starts[symbol]) << 32 | starts[symbol];
        alphabet->first[i] = (uint16_t)symbol;
    }
    return 0;
}

void dcn_symbol_tables_free(dcn_symbol_tables *tables)
{
    for (int scale = 0; scale < DCN_SCALES; scale++) {
        const dcn_alphabet *alphabets[2] = {&tables->symbols[scale], &tables->zeros[scale]};
        for (int i = 0; i < 2; i++)
            dcn_release(alphabets[i]->starts), dcn_release(alphabets[i]->entries), dcn_release(alphabets[i]->first);
    }
}

/* ---- the positions of a part, sorted by scale index ---- */

/* Positions are counted and sorted in lanes: stretches of the part, taken in turn. Neighbouring positions mostly have
 * the same scale index. In one lane, each would wait for the counter that the one before has just changed. */
enum { LANES = 4 };

typedef struct {
    const uint8_t *scales;
    size_t size, stretch;                         /* of all; of a lane (the last one has the rest, too) */
    size_t counts[LANES][DCN_SCALES];             /* positions of each scale index */
    size_t sizes[DCN_SCALES], starts[DCN_SCALES]; /* of all lanes; where they begin among the coded positions */
} sorting;

/* Whether some of the eight positions from `scales` on in one of the lanes is coded. */
static inline int any_of_eight(const uint8_t *scales, size_t stretch)
{
    uint64_t any = 0, eight;
    for (size_t lane = 0; lane < LANES; lane++) {
        memcpy(&eight, scales + lane * stretch, 8);
        any |= eight;
    }
    return any != 0;
}

static size_t count_scales(sorting *sorting, const uint8_t *scales, size_t size)
{
    size_t stretch = sorting->stretch = size / LANES / 8 * 8;
    sorting->scales = scales, sorting->size = size;
    memset(sorting->counts, 0, sizeof sorting->counts);
    for (size_t i = 0; i < stretch; i += 8) {
        if (any_of_eight(scales + i, stretch))
            for (size_t j = i; j < i + 8; j++)
                for (size_t lane = 0; lane < LANES; lane++)
                    sorting->counts[lane][scales[lane * stretch + j]]++;
    }
    for (size_t i = LANES * stretch; i < size; i++)
        sorting->counts[LANES - 1][scales[i]]++;
    size_t coded = 0;
    for (int scale = 1; scale < DCN_SCALES; scale++) {
        sorting->sizes[scale] = 0;
        for (int lane = 0; lane < LANES; lane++)
            sorting->sizes[scale] += sorting->counts[lane][scale];
        sorting->starts[scale] = coded;
        coded += sorting->sizes[scale];
    }
    sorting->sizes[0] = sorting->starts[0] = 0;
    return coded;
}

/* Writes the coded positions to `order`, sorted by scale index, then position. Those of scale index 0 are
 * written too, to `spare`. */
static void sort_positions(const sorting *sorting, uint32_t *order, uint32_t *spare)
{
    const uint8_t *scales = sorting->scales;
    size_t stretch = sorting->stretch;
    uint32_t *next[LANES][DCN_SCALES];
    for (int scale = 0; scale < DCN_SCALES; scale++) {
        uint32_t *at = scale ? order + sorting->starts[scale] : spare;
        for (int lane = 0; lane < LANES; lane++) {
            next[lane][scale] = at;
            at += scale ? sorting->counts[lane][scale] : 0;
        }
    }
    for (size_t i = 0; i < stretch; i += 8) {
        if (any_of_eight(scales + i, stretch))
            for (size_t j = i; j < i + 8; j++)
                for (size_t lane = 0; lane < LANES; lane++) {
                    size_t position = lane * stretch + j;
                    uint8_t scale = scales[position];
                    *next[lane][scale] = (uint32_t)position;
                    next[lane][scale] += scale > 0;
                }
    }
    for (size_t i = LANES * stretch; i < sorting->size; i++) {
        *next[LANES - 1][scales[i]] = (uint32_t)i;
        next[LANES - 1][scales[i]] += scales[i] > 0;
    }
}

/* ---- symbols ---- */

/* State while a part is decoded: first the table entries, then the values of escapes, then symbols at positions. */
typedef struct {
    const dcn_symbol_tables *tables;
    sorting sorting;
    size_t coded[DCN_SCALES]; /* symbols that have an entry of their own */
    size_t escapes;
    uint32_t *order;
    int32_t *symbols, *zeros;
    int64_t *beyond; /* values of escapes */
} part;

/* Reads runs of zeros and symbols, as entries of their tables. */
static dcn_stream_fault take_entries(part *part, dcn_coder *coder, dcn_stream_result *result)
{
    const dcn_symbol_tables *tables = part->tables;
    for (int scale = 1; scale < DCN_SCALES; scale++) {
        size_t count = part->sorting.sizes[scale], start = part->sorting.starts[scale];
        int limit = tables->runs[scale], last = 2 * tables->radius[scale] + (limit == 0);
        if (!count)
            continue;
        if (limit) {
            size_t most = count;
            count = number(coder, bit_length(most));
            if (count > most)
                return dcn_stream_refuse(result, DCN_STREAM_TOO_MANY, (int64_t)count, scale, (int64_t)most);
            take_symbols(coder, tables->zeros[scale], count, part->zeros + start);
            for (size_t i = start; i < start + count; i++)
                part->escapes += part->zeros[i] == limit;
        }
        part->coded[scale] = count;
        take_symbols(coder, tables->symbols[scale], count, part->symbols + start);
        for (size_t i = start; i < start + count; i++)
            part->escapes += part->symbols[i] == last;
    }
    return DCN_STREAM_GOOD;
}

/* Reads the bypass bits of all escapes. Returns -1 without enough memory. */
static int take_escapes(part *part, dcn_coder *coder)
{
    size_t count = part->escapes;
    if (!count)
        return 0;
    uint8_t *lengths = dcn_allocate(count, 1);
    part->beyond = dcn_allocate(count, sizeof *part->beyond);
    if (!lengths || !part->beyond) {
        dcn_release(lengths);
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        lengths[i] = (uint8_t)uniform(coder, 5);
        part->beyond[i] = ((int64_t)1 << lengths[i]) - 1;
    }
    for (size_t i = 0; i < count; i++)
        if (lengths[i] > 16)
            part->beyond[i] += (int64_t)uniform(coder, lengths[i] - 16) << 16;
    for (size_t i = 0; i < count; i++)
        part->beyond[i] += uniform(coder, lengths[i] > 16 ? 16 : lengths[i]);
    dcn_release(lengths);
    return 0;
}

/* Converts table entries to runs and symbols. */
static dcn_stream_fault resolve(part *part, dcn_stream_result *result)
{
    const dcn_symbol_tables *tables = part->tables;
    const int64_t *escape = part->beyond;
    int64_t largest = 0;
    for (int scale = 1; scale < DCN_SCALES; scale++) {
        int limit = tables->runs[scale], radius = tables->radius[scale], last = 2 * radius + (limit == 0);
        int32_t *zero = part->zeros + part->sorting.starts[scale], *symbol = part->symbols + part->sorting.starts[scale];
        int64_t size = (int64_t)part->sorting.sizes[scale];
        for (size_t i = 0; limit && part->escapes && i < part->coded[scale]; i++)
            if (zero[i] == limit) { /* any run as long as the part leads beyond it */
                int64_t length = *escape++ + limit;
                zero[i] = (int32_t)(length < size ? length : size);
            }
        for (size_t i = 0; i < part->coded[scale]; i++) {
            int32_t entry = symbol[i];
            symbol[i] = entry - radius + (limit && entry >= radius);
            if (entry == last) {
                int64_t value = *escape++, magnitude = (value >> 1) + radius + 1;
                largest = magnitude > largest ? magnitude : largest;
                symbol[i] = (int32_t)(value & 1 ? -magnitude : magnitude);
            }
        }
    }
    if (largest > DCN_LARGEST_SYMBOL)
        return dcn_stream_refuse(result, DCN_STREAM_TOO_LARGE, largest, 0, 0);
    return DCN_STREAM_GOOD;
}

/* Writes the symbols to their positions. */
static dcn_stream_fault place(const part *part, int16_t *out, dcn_stream_result *result)
{
    for (int scale = 1; scale < DCN_SCALES; scale++) {
        size_t start = part->sorting.starts[scale], count = part->coded[scale], size = part->sorting.sizes[scale];
        const uint32_t *positions = part->order + start;
        const int32_t *zero = part->zeros + start, *symbol = part->symbols + start;
        if (!part->tables->runs[scale]) {
            for (size_t i = 0; i < count; i++)
                out[positions[i]] = (int16_t)symbol[i];
            continue;
        }
        uint64_t reached = count, at = 0;
        for (size_t i = 0; i < count; i++)
            reached += (uint64_t)zero[i];
        if (reached > size)
            return dcn_stream_refuse(result, DCN_STREAM_TOO_FAR, scale, (int64_t)reached, (int64_t)size);
        for (size_t i = 0; i < count; i++) {
            at += (uint64_t)zero[i];
            out[positions[at++]] = (int16_t)symbol[i];
        }
    }
    return DCN_STREAM_GOOD;
}

dcn_stream_fault dcn_decode_part(const dcn_symbol_tables *tables, dcn_coder *coder, const uint8_t *scales, size_t size,
                                 int16_t *symbols, dcn_stream_result *result)
{
    part part = {.tables = tables};
    size_t coded = count_scales(&part.sorting, scales, size);
    if (!coded)
        return DCN_STREAM_GOOD;
    uint32_t spare;
    dcn_stream_fault fault;
    part.order = dcn_allocate(coded, sizeof *part.order);
    part.symbols = dcn_allocate(coded, sizeof *part.symbols);
    part.zeros = dcn_allocate(coded, sizeof *part.zeros);
    if (!part.order || !part.symbols || !part.zeros)
        fault = dcn_stream_refuse(result, DCN_STREAM_NO_MEMORY, 0, 0, 0);
    else {
        sort_positions(&part.sorting, part.order, &spare);
        fault = take_entries(&part, coder, result);
        if (!fault && take_escapes(&part, coder))
            fault = dcn_stream_refuse(result, DCN_STREAM_NO_MEMORY, 0, 0, 0);
        if (!fault)
            fault = resolve(&part, result);
        if (!fault)
            fault = place(&part, symbols, result);
    }
    dcn_release(part.order), dcn_release(part.symbols), dcn_release(part.zeros), dcn_release(part.beyond);
    return fault;
}
