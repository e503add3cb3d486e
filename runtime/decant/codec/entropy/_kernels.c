/* The decoder of one stream of the layout `grid`, as docs/format.md has it: scale classes from hyperlatents and
 * earlier symbols, and symbols from the stream, all in exact integers; and what the first half adds to means.
 *
 * decant.codec.layout says the same with numpy and constriction. They encode, and decode where this module is not
 * there (a machine without a C compiler); tests hold that both give the same symbols and refuse the same streams. Sums
 * are float32 products of integers that stay below 2^24 (decant.codec.entropy.scale_network and
 * decant.codec.entropy.context_network check the tables), so that every order of adding gives the same. The
 * interpreter's lock is released while a stream is decoded.
 */
#ifndef DECANT_WITHOUT_PYTHON /* the fuzzer in tests/attacks/fuzz takes the decoder alone */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#endif
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Where the system can choose at load time, products are compiled for wider vectors too. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("avx512f", "arch=haswell", "default"), optimize("O3")))
#else
#define WIDE
#endif
#ifdef __GNUC__
#define INLINED static inline __attribute__((always_inline)) /* into each of those forms */
#else
#define INLINED static inline
#endif

enum { CLASSES = 32, TOTAL_BITS = 24, LOOKUP_BITS = 9, LARGEST_SYMBOL = 32767, MAGNITUDES = 256, PLACES = 4 };
enum { ROWS = 4, COLUMNS = 32 }; /* of a block of a product */
enum { FORM_UNIT = 1 << 10, HIDDEN_UNIT = 1 << 6, HIDDEN_MAX = 255 };
enum { MOST_STAGES = 8 };
/* Bounds of what a caller may give; no product of these wraps, with 32-bit sizes either. */
enum { MOST_WIDTH = 4096, MOST_SIDE = 1 << 16, LARGEST_OFFSET = 4 << 15, LARGEST_BIAS = 1 << 30 };

/* What is wrong with a stream, with two or three numbers for the message. */
typedef enum { FINE, TOO_MANY, TOO_LARGE, TOO_FAR, NOT_ENDED, NO_MEMORY } Problem;

typedef struct {
    Problem problem;
    long long numbers[3];
} Outcome;

static Problem refuse(Outcome *outcome, Problem problem, long long a, long long b, long long c)
{
    *outcome = (Outcome){problem, {a, b, c}};
    return problem;
}

/* ---- the coder ---- */

/* A stack of 32-bit words, the last on top, under a state of 64 bits. */
typedef struct {
    uint64_t state;
    const unsigned char *bytes;
    size_t left; /* words */
} Coder;

static inline uint64_t popped(Coder *coder)
{
    const unsigned char *at = coder->bytes + 4 * --coder->left;
    return (uint64_t)at[0] | (uint64_t)at[1] << 8 | (uint64_t)at[2] << 16 | (uint64_t)at[3] << 24;
}

static Coder coder_of(const unsigned char *bytes, size_t size)
{
    Coder coder = {0, bytes, size / 4};
    while (coder.state >> 32 == 0 && coder.left)
        coder.state = coder.state << 32 | popped(&coder);
    return coder;
}

static inline uint32_t quantile(const Coder *coder)
{
    return (uint32_t)coder->state & ((1u << TOTAL_BITS) - 1);
}

/* The letter that has `count` quantiles from `first` on is taken. */
static inline void take(Coder *coder, uint32_t first, uint32_t count)
{
    coder->state = (coder->state >> TOTAL_BITS) * count + (quantile(coder) - first);
    if (coder->state >> 32 == 0 && coder->left)
        coder->state = coder->state << 32 | popped(coder);
}

typedef struct {
    uint32_t first, count, letter;
} Entry;

/* An alphabet: letter i has the quantiles from ends[i] to before ends[i + 1]; `entries`: for the upper bits of a
 * quantile the first letter that can have it. */
typedef struct {
    uint32_t *ends;
    Entry *entries;
} Alphabet;

static inline void letters(Coder *coder, Alphabet alphabet, size_t count, int32_t *out)
{
    Coder local = *coder;
    for (size_t i = 0; i < count; i++) {
        uint32_t found = quantile(&local);
        Entry entry = alphabet.entries[found >> (TOTAL_BITS - LOOKUP_BITS)];
        while (found - entry.first >= entry.count) {
            entry.letter++;
            entry.first = alphabet.ends[entry.letter];
            entry.count = alphabet.ends[entry.letter + 1] - entry.first;
        }
        take(&local, entry.first, entry.count);
        out[i] = (int32_t)entry.letter;
    }
    *coder = local;
}

/* One letter of at most 16 bits, uniform. */
static inline uint32_t uniform(Coder *coder, int bits)
{
    if (!bits)
        return 0;
    uint32_t letter = quantile(coder) >> (TOTAL_BITS - bits);
    take(coder, letter << (TOTAL_BITS - bits), 1u << (TOTAL_BITS - bits));
    return letter;
}

static uint32_t number(Coder *coder, int bits)
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

/* ---- the tables of a bundle ---- */

/* What earlier symbols add to the classes of a part. `width` is context_width; what classes see has `seen` values:
 * mixed_width where there is a second layer, else the same. */
typedef struct {
    int known;            /* channels whose symbols are known */
    float *hidden_weight; /* (width, 3 * known), in units of HIDDEN_UNIT: the place, beside, above and below */
    float *hidden_bias;   /* (width,), alike, with the half that rounds */
    float *mixed_weight;  /* (PLACES, mixed_width, class_width + width): of the scale network's values, then of those */
    float *mixed_bias;    /* (mixed_width,), with the half that rounds */
    float *out_weight;    /* (channels, seen), in units of FORM_UNIT */
    float *out_bound;     /* the same, 0 where it is negative */
} Context;

/* A stage, of which the first ones are coded in two halves: what adds to the classes of all of it or of its first
 * half (nothing in the first stage), to those of its second half, and to the means there (decant.codec.entropy.checkerboard). */
typedef struct {
    int channels;
    Context context, half;
    float *near_hidden, *near_hidden_bias, *near_out, *near_out_bias;
} Stage;

typedef struct {
    uint8_t radius[CLASSES];
    uint16_t runs[CLASSES];
    Alphabet symbols[CLASSES], zeros[CLASSES];
    int channels, hyper, class_width, context_width, mixed_width, stages, halves, most_known;
    int32_t *hyper_weight; /* (hyper, 9, PLACES * class_width) */
    int32_t *hyper_bias;   /* (PLACES * class_width,), with the half that rounds */
    float *scale_weight; /* (PLACES, channels, class_width), in units of FORM_UNIT */
    float *scale_bound;  /* (channels, class_width): the largest of all places, at least 0 */
    Stage stage[MOST_STAGES];
    uint8_t magnitude[MAGNITUDES];
} Tables;

static void free_context(Context *context)
{
    free(context->hidden_weight), free(context->hidden_bias), free(context->mixed_weight), free(context->mixed_bias);
    free(context->out_weight), free(context->out_bound);
}

static void free_tables(Tables *tables)
{
    for (int c = 0; c < CLASSES; c++) {
        free(tables->symbols[c].ends), free(tables->symbols[c].entries);
        free(tables->zeros[c].ends), free(tables->zeros[c].entries);
    }
    for (int i = 0; i < MOST_STAGES; i++) {
        Stage *stage = tables->stage + i;
        free_context(&stage->context), free_context(&stage->half);
        free(stage->near_hidden), free(stage->near_hidden_bias), free(stage->near_out), free(stage->near_out_bias);
    }
    free(tables->scale_weight), free(tables->scale_bound), free(tables->hyper_weight), free(tables->hyper_bias);
    free(tables);
}

/* Counts must add up to all quantiles: a letter is looked for until one has the quantile. */
static int is_whole(const uint32_t *counts, size_t size)
{
    uint64_t total = 0;
    for (size_t i = 0; i < size; i++)
        total += counts[i];
    return total == (uint64_t)1 << TOTAL_BITS;
}

static int make_alphabet(Alphabet *alphabet, const uint32_t *counts, size_t size)
{
    alphabet->ends = malloc((size + 1) * sizeof(uint32_t));
    alphabet->entries = malloc(sizeof(Entry) << LOOKUP_BITS);
    if (!alphabet->ends || !alphabet->entries)
        return 0;
    alphabet->ends[0] = 0;
    for (size_t i = 0; i < size; i++)
        alphabet->ends[i + 1] = alphabet->ends[i] + counts[i];
    uint32_t letter = 0;
    for (uint32_t i = 0; i < 1u << LOOKUP_BITS; i++) {
        while (alphabet->ends[letter + 1] <= i << (TOTAL_BITS - LOOKUP_BITS))
            letter++;
        alphabet->entries[i] =
            (Entry){alphabet->ends[letter], alphabet->ends[letter + 1] - alphabet->ends[letter], letter};
    }
    return 1;
}

/* ---- symbols ---- */

static int decode_numbers(Coder *coder, size_t count, int64_t *out)
{
    uint8_t *lengths = malloc(count);
    if (!lengths)
        return 0;
    for (size_t i = 0; i < count; i++) {
        lengths[i] = (uint8_t)uniform(coder, 5);
        out[i] = ((int64_t)1 << lengths[i]) - 1;
    }
    for (size_t i = 0; i < count; i++)
        if (lengths[i] > 16)
            out[i] += (int64_t)uniform(coder, lengths[i] - 16) << 16;
    for (size_t i = 0; i < count; i++)
        out[i] += uniform(coder, lengths[i] > 16 ? 16 : lengths[i]);
    free(lengths);
    return 1;
}

/* A part is counted and sorted in lanes, so many stretches of it side by side: in one after the other, a place
 * would wait for the counter that the place before, mostly of its class, has just moved. */
enum { LANES = 4 };

typedef struct {
    const uint8_t *classes;
    size_t size, stretch;                 /* of all; of a lane, the last one's is what is left */
    size_t counts[LANES][CLASSES];        /* places of each class */
    size_t sizes[CLASSES], starts[CLASSES]; /* of all lanes; where a class begins among the coded places */
} Sorting;

/* Whether some of the eight places from `classes` on in one of the lanes is coded. */
static inline int any_of_eight(const uint8_t *classes, size_t stretch)
{
    uint64_t found = 0, eight;
    for (int lane = 0; lane < LANES; lane++) {
        memcpy(&eight, classes + lane * stretch, 8);
        found |= eight;
    }
    return found != 0;
}

static size_t count_classes(Sorting *sorting, const uint8_t *classes, size_t size)
{
    size_t stretch = sorting->stretch = size / LANES / 8 * 8;
    sorting->classes = classes, sorting->size = size;
    memset(sorting->counts, 0, sizeof sorting->counts);
    for (size_t i = 0; i < stretch; i += 8) {
        if (any_of_eight(classes + i, stretch))
            for (size_t j = i; j < i + 8; j++)
                for (int lane = 0; lane < LANES; lane++)
                    sorting->counts[lane][classes[lane * stretch + j]]++;
    }
    for (size_t i = LANES * stretch; i < size; i++)
        sorting->counts[LANES - 1][classes[i]]++;
    size_t coded = 0;
    for (int c = 1; c < CLASSES; c++) {
        sorting->sizes[c] = 0;
        for (int lane = 0; lane < LANES; lane++)
            sorting->sizes[c] += sorting->counts[lane][c];
        sorting->starts[c] = coded;
        coded += sorting->sizes[c];
    }
    sorting->sizes[0] = sorting->starts[0] = 0;
    return coded;
}

/* The coded places, class after class and in order, go to `order`. Those of class 0 are written too, to `spare`. */
static void sort_places(const Sorting *sorting, uint32_t *order, uint32_t *spare)
{
    const uint8_t *classes = sorting->classes;
    size_t stretch = sorting->stretch;
    uint32_t *next[LANES][CLASSES];
    for (int c = 0; c < CLASSES; c++) {
        uint32_t *at = c ? order + sorting->starts[c] : spare;
        for (int lane = 0; lane < LANES; lane++) {
            next[lane][c] = at;
            at += c ? sorting->counts[lane][c] : 0;
        }
    }
    for (size_t i = 0; i < stretch; i += 8) {
        if (any_of_eight(classes + i, stretch))
            for (size_t j = i; j < i + 8; j++)
                for (int lane = 0; lane < LANES; lane++) {
                    size_t place = lane * stretch + j;
                    uint8_t c = classes[place];
                    *next[lane][c] = (uint32_t)place;
                    next[lane][c] += c > 0;
                }
    }
    for (size_t i = LANES * stretch; i < sorting->size; i++) {
        *next[LANES - 1][classes[i]] = (uint32_t)i;
        next[LANES - 1][classes[i]] += classes[i] > 0;
    }
}

/* The next part of a stream: `out` (size,), which holds zeros, gets the symbols of the places with these
 * `classes`. */
static Problem decode_part(
    const Tables *tables, Coder *coder, const uint8_t *classes, size_t size, float *out, Outcome *outcome)
{
    Sorting sorting;
    size_t coded_counts[CLASSES] = {0}, coded = count_classes(&sorting, classes, size);
    const size_t *sizes = sorting.sizes, *starts = sorting.starts;
    if (!coded)
        return FINE;
    uint32_t spare, *order = malloc(coded * sizeof(uint32_t));
    int32_t *symbols = malloc(coded * sizeof(int32_t)), *zeros = malloc(coded * sizeof(int32_t));
    int64_t *beyond = NULL;
    Problem problem = FINE;
    if (!order || !symbols || !zeros) {
        problem = refuse(outcome, NO_MEMORY, 0, 0, 0);
        goto done;
    }
    sort_places(&sorting, order, &spare);

    size_t escapes = 0;
    for (int c = 1; c < CLASSES; c++) {
        size_t count = sizes[c], start = starts[c];
        int limit = tables->runs[c], last = 2 * tables->radius[c] + (limit == 0);
        if (!count)
            continue;
        if (limit) {
            count = number(coder, bit_length(count));
            if (count > sizes[c]) {
                problem = refuse(outcome, TOO_MANY, (long long)count, c, (long long)sizes[c]);
                goto done;
            }
            letters(coder, tables->zeros[c], count, zeros + start);
            for (size_t i = start; i < start + count; i++)
                escapes += zeros[i] == limit;
        }
        coded_counts[c] = count;
        letters(coder, tables->symbols[c], count, symbols + start);
        for (size_t i = start; i < start + count; i++)
            escapes += symbols[i] == last;
    }
    if (escapes) {
        beyond = malloc(escapes * sizeof(int64_t));
        if (!beyond || !decode_numbers(coder, escapes, beyond)) {
            problem = refuse(outcome, NO_MEMORY, 0, 0, 0);
            goto done;
        }
    }

    const int64_t *escape = beyond;
    int64_t largest = 0;
    for (int c = 1; c < CLASSES; c++) {
        int limit = tables->runs[c], radius = tables->radius[c], last = 2 * radius + (limit == 0);
        int32_t *zero = zeros + starts[c], *symbol = symbols + starts[c];
        for (size_t i = 0; limit && escapes && i < coded_counts[c]; i++)
            if (zero[i] == limit) { /* any run of a whole class leads beyond it */
                int64_t length = *escape++ + limit;
                zero[i] = (int32_t)(length < (int64_t)sizes[c] ? length : (int64_t)sizes[c]);
            }
        for (size_t i = 0; i < coded_counts[c]; i++) {
            int32_t letter = symbol[i];
            symbol[i] = letter - radius + (limit && letter >= radius);
            if (letter == last) {
                int64_t value = *escape++, magnitude = (value >> 1) + radius + 1;
                largest = magnitude > largest ? magnitude : largest;
                symbol[i] = (int32_t)(value & 1 ? -magnitude : magnitude);
            }
        }
    }
    if (largest > LARGEST_SYMBOL) {
        problem = refuse(outcome, TOO_LARGE, largest, 0, 0);
        goto done;
    }
    for (int c = 1; c < CLASSES; c++) {
        const uint32_t *places = order + starts[c];
        const int32_t *zero = zeros + starts[c], *symbol = symbols + starts[c];
        if (!tables->runs[c]) {
            for (size_t i = 0; i < coded_counts[c]; i++)
                out[places[i]] = (float)symbol[i];
            continue;
        }
        uint64_t reached = coded_counts[c], at = 0;
        for (size_t i = 0; i < coded_counts[c]; i++)
            reached += (uint64_t)zero[i];
        if (reached > sizes[c]) {
            problem = refuse(outcome, TOO_FAR, c, (long long)reached, (long long)sizes[c]);
            goto done;
        }
        for (size_t i = 0; i < coded_counts[c]; i++) {
            at += (uint64_t)zero[i];
            out[places[at++]] = (float)symbol[i];
        }
    }
done:
    free(order), free(symbols), free(zeros), free(beyond);
    return problem;
}

/* ---- classes ---- */

/* first (ROWS,) + the sum over k of weight[k][row] * in[k][column], for a block of columns. */
INLINED void product(
    float sums[ROWS][COLUMNS], const float *first, const float *restrict weight, const float *restrict in, int depth,
    size_t columns)
{
    for (int r = 0; r < ROWS; r++)
        for (int i = 0; i < COLUMNS; i++)
            sums[r][i] = first[r];
    for (int k = 0; k < depth; k++)
        for (int r = 0; r < ROWS; r++)
            for (int i = 0; i < COLUMNS; i++)
                sums[r][i] += weight[k * ROWS + r] * in[k * columns + i];
}

/* `panels` times ROWS rows of products, as classes: rounded down and clipped. Weights of a panel are (depth, ROWS);
 * `columns`, a multiple of COLUMNS, is the step from one row of `in` and of `out` to the next. */
WIDE static void products_as_classes(
    uint8_t *restrict out, const float *first, const float *restrict weight, const float *restrict in, int depth,
    size_t columns, int panels)
{
    for (size_t x = 0; x < columns; x += COLUMNS)
        for (int panel = 0; panel < panels; panel++) {
            float sums[ROWS][COLUMNS];
            product(sums, first + panel * ROWS, weight + (size_t)panel * depth * ROWS, in + x, depth, columns);
            for (int r = 0; r < ROWS; r++)
                for (int i = 0; i < COLUMNS; i++) {
                    int32_t value = (int32_t)sums[r][i];
                    value = value < 0 ? 0 : value;
                    out[((size_t)panel * ROWS + r) * columns + x + i] =
                        (uint8_t)(value > CLASSES - 1 ? CLASSES - 1 : value);
                }
        }
}

/* The same as hidden values, and the largest of each row. */
WIDE static void products_as_hidden(
    float *restrict out, int32_t *most, const float *first, const float *restrict weight, const float *restrict in,
    int depth, size_t columns, int panels)
{
    for (size_t x = 0; x < columns; x += COLUMNS)
        for (int panel = 0; panel < panels; panel++) {
            float sums[ROWS][COLUMNS];
            product(sums, first + panel * ROWS, weight + (size_t)panel * depth * ROWS, in + x, depth, columns);
            for (int r = 0; r < ROWS; r++) {
                int32_t largest = most[panel * ROWS + r];
                for (int i = 0; i < COLUMNS; i++) {
                    int32_t value = (int32_t)sums[r][i];
                    value = value < 0 ? 0 : value;
                    value = value > HIDDEN_MAX ? HIDDEN_MAX : value;
                    largest = value > largest ? value : largest;
                    out[((size_t)panel * ROWS + r) * columns + x + i] = (float)value;
                }
                most[panel * ROWS + r] = largest;
            }
        }
}

/* The same as they are, or at least 0. */
WIDE static void products_as_floats(
    float *restrict out, const float *first, const float *restrict weight, const float *restrict in, int depth,
    size_t columns, int panels, int rectified)
{
    float least = rectified ? 0 : -3.4e38f;
    for (size_t x = 0; x < columns; x += COLUMNS)
        for (int panel = 0; panel < panels; panel++) {
            float sums[ROWS][COLUMNS];
            product(sums, first + panel * ROWS, weight + (size_t)panel * depth * ROWS, in + x, depth, columns);
            for (int r = 0; r < ROWS; r++)
                for (int i = 0; i < COLUMNS; i++)
                    out[((size_t)panel * ROWS + r) * columns + x + i] = sums[r][i] > least ? sums[r][i] : least;
        }
}

WIDE static void add_scaled(int32_t *restrict sums, const int32_t *restrict weight, int32_t value, int count)
{
    for (int i = 0; i < count; i++)
        sums[i] += weight[i] * value;
}

WIDE static void add_scaled_wide(int64_t *restrict sums, const int32_t *restrict weight, int32_t value, int count)
{
    for (int i = 0; i < count; i++)
        sums[i] += (int64_t)weight[i] * value;
}

/* Sizes of integer symbols, at most MAGNITUDES - 1. */
WIDE static void sizes_of(uint8_t *restrict out, const float *restrict symbols, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        float size = symbols[i] < 0 ? -symbols[i] : symbols[i];
        out[i] = (uint8_t)(int32_t)(size < MAGNITUDES - 1 ? size : MAGNITUDES - 1); /* of NaN too */
    }
}

WIDE static void added(float *restrict out, const float *left, const float *right, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = left[i] + right[i];
}

/* in (2 * count,) -> every second one from the first and from the second on. */
WIDE static void pairs_apart(float *restrict first, float *restrict second, const float *restrict in, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        first[i] = in[2 * i];
        second[i] = in[2 * i + 1];
    }
}

WIDE static void pairs_together(
    uint8_t *restrict out, const uint8_t *restrict first, const uint8_t *restrict second, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        out[2 * i] = first[i];
        out[2 * i + 1] = second[i];
    }
}

/* Everything of one group. Planes of places are those of a frame: `height` x `width` hidden values, each of
 * which covers 2 x 2 latents; `padded` is their number, rounded up to whole blocks. Rows of latents take
 * `step` numbers here, two for each hidden value. */
typedef struct {
    const Tables *tables;
    int rows, columns, height, width;
    size_t padded, step, size; /* size: rows * columns */
    float *inputs;             /* (PLACES, depth, padded): what classes are sums of */
    size_t planes;             /* of features at a place */
    float *features;           /* (PLACES, planes, padded) of channels that are not 0 throughout */
    int *live;                 /* those channels */
    int live_count;
    float *reach;    /* (depth,): the largest value of each input */
    float *panels;   /* weights of all rows of a product */
    float *first;    /* what they begin with */
    int32_t *largest; /* hidden values of each row */
    float *edged;    /* (rows + 2, 1 + step + 1): magnitudes of one channel, with zeros around */
    float *line;     /* (step,): of a row */
    uint8_t *sizes;  /* (rows, columns) of one channel */
    uint8_t *found;  /* (2, channels, padded): classes at the places of one row of each pair, then none */
    int *channels;   /* of the rows of a product */
    uint8_t *paired; /* (step,): classes of a row */
    uint8_t *classes; /* (channels of the stage, rows, columns) */
    float *floats;    /* (channels, padded): hidden values of means, or of a context's second layer */
    float *out;       /* (channels, rows, columns) */
} Group;

/* How many panels hold so many rows. */
static inline int panels_of(int rows)
{
    return (rows + ROWS - 1) / ROWS;
}

/* How many values of a context classes see. */
static inline int seen_of(const Tables *tables)
{
    return tables->mixed_width ? tables->mixed_width : tables->context_width;
}

/* Inputs at a place: those from hyperlatents, then those from a context, in whole panels. */
static inline int depth_of(const Tables *tables)
{
    int width = tables->context_width > tables->mixed_width ? tables->context_width : tables->mixed_width;
    return tables->class_width + panels_of(width) * ROWS;
}

static inline float *inputs_of(const Group *group, int place)
{
    return group->inputs + (size_t)place * depth_of(group->tables) * group->padded;
}

static inline float *features_of(const Group *group, int place)
{
    return group->features + (size_t)place * group->planes * group->padded;
}

/* Append the features of channels `from` to before `to`. */
static void add_features(Group *group, int from, int to)
{
    const uint8_t *magnitude = group->tables->magnitude;
    size_t across = group->step + 2, columns = (size_t)group->columns;
    for (int c = from; c < to; c++) {
        sizes_of(group->sizes, group->out + (size_t)c * group->size, group->size);
        int any = 0;
        for (int y = 0; y < group->rows; y++) {
            const uint8_t *sizes = group->sizes + y * columns;
            float *row = group->edged + (y + 1) * across + 1;
            for (size_t x = 0; x < columns; x++) {
                uint8_t value = magnitude[sizes[x]];
                any |= value;
                row[x] = value;
            }
        }
        if (!any)
            continue;
        size_t at = (size_t)3 * group->live_count * group->padded;
        for (int y = 0; y < group->rows; y++) {
            const float *row = group->edged + (y + 1) * across + 1;
            size_t to_row = at + (size_t)(y / 2) * group->width;
            float *left = features_of(group, y % 2 * 2) + to_row, *right = features_of(group, y % 2 * 2 + 1) + to_row;
            pairs_apart(left, right, row, (size_t)group->width);
            added(group->line, row - 1, row + 1, group->step);
            pairs_apart(left + group->padded, right + group->padded, group->line, (size_t)group->width);
            added(group->line, row - across, row + across, group->step);
            pairs_apart(left + 2 * group->padded, right + 2 * group->padded, group->line, (size_t)group->width);
        }
        group->live[group->live_count++] = c;
    }
}

/* Weights (rows, depth), row after row, and what they begin with, as panels; returns how many. */
static int panels_from(Group *group, const float *weight, const float *first, int rows, int depth)
{
    for (int row = 0; row < panels_of(rows) * ROWS; row++) {
        float *panel = group->panels + (size_t)(row / ROWS) * depth * ROWS + row % ROWS;
        group->first[row] = row < rows ? first[row] : 0;
        for (int k = 0; k < depth; k++)
            panel[k * ROWS] = row < rows ? weight[(size_t)row * depth + k] : 0;
    }
    return panels_of(rows);
}

/* The values of a context that classes see, as inputs at the places of `which`. */
static void add_context(Group *group, const Context *context, const int *which, int places)
{
    const Tables *tables = group->tables;
    int width = tables->context_width, depth = 3 * group->live_count, panels = panels_of(width), seen = seen_of(tables);
    for (int d = 0; d < panels * ROWS; d++) {
        float *panel = group->panels + (size_t)(d / ROWS) * depth * ROWS + d % ROWS;
        const float *weight = context->hidden_weight + (size_t)(d < width ? d : 0) * 3 * context->known;
        group->first[d] = d < width ? context->hidden_bias[d] : 0;
        for (int k = 0; k < group->live_count; k++)
            for (int t = 0; t < 3; t++)
                panel[(3 * k + t) * ROWS] = d < width ? weight[t * context->known + group->live[k]] : 0;
    }
    memset(group->largest, 0, (size_t)panels * ROWS * sizeof(int32_t));
    for (int p = 0; p < places; p++)
        products_as_hidden(inputs_of(group, which[p]) + (size_t)tables->class_width * group->padded, group->largest,
                           group->first, group->panels, features_of(group, which[p]), depth, group->padded, panels);
    if (tables->mixed_width) {
        depth = tables->class_width + width;
        memset(group->largest, 0, (size_t)panels_of(seen) * ROWS * sizeof(int32_t));
        for (int p = 0; p < places; p++) {
            const float *weight = context->mixed_weight + (size_t)which[p] * seen * depth;
            float *inputs = inputs_of(group, which[p]);
            panels = panels_from(group, weight, context->mixed_bias, seen, depth);
            products_as_hidden(group->floats, group->largest, group->first, group->panels, inputs, depth, group->padded,
                               panels);
            memcpy(inputs + (size_t)tables->class_width * group->padded, group->floats,
                   (size_t)seen * group->padded * sizeof(float));
        }
    }
    for (int d = 0; d < seen; d++)
        group->reach[tables->class_width + d] = (float)group->largest[d];
}

/* Channels of a stage whose classes are not 0 throughout, as are most channels of most pictures: those whose
 * sums can reach 1. `depth`: how many inputs count. */
static int find_channels(
    Group *group, int channels, const Context *context, int before, const int32_t *offset, int depth)
{
    const Tables *tables = group->tables;
    int width = tables->class_width, count = 0;
    for (int c = 0; c < channels; c++) {
        const float *scale = tables->scale_bound + (size_t)(before + c) * width;
        const float *near = context ? context->out_bound + (size_t)c * seen_of(tables) : NULL;
        float most = (float)offset[before + c] / FORM_UNIT;
        for (int k = 0; k < width; k++)
            most += scale[k] * group->reach[k];
        for (int k = width; k < depth; k++)
            most += near[k - width] * group->reach[k];
        if (most >= 1)
            group->channels[count++] = c;
    }
    return count;
}

/* The classes of the `channels` of a stage from `before` on, with a `context` or without (NULL), at the places of
 * `which`; 0 elsewhere. */
static void find_classes(
    Group *group, int channels, const Context *context, int before, const int32_t *offset, const int *which, int places)
{
    const Tables *tables = group->tables;
    int width = tables->class_width, seen = seen_of(tables), depth = width + (context ? seen : 0);
    int count = find_channels(group, channels, context, before, offset, depth), panels = panels_of(count);
    size_t plane = (size_t)panels * ROWS * group->padded;
    memset(group->classes, 0, channels * group->size);
    for (int i = 0; count && i < 2; i++) {
        memset(group->found, 0, 2 * plane);
        for (int p = 0; p < places; p++) {
            if (which[p] >> 1 != i)
                continue;
            for (int row = 0; row < panels * ROWS; row++) {
                float *panel = group->panels + (size_t)(row / ROWS) * depth * ROWS + row % ROWS;
                int c = row < count ? group->channels[row] : group->channels[0];
                const float *scale = tables->scale_weight + ((size_t)which[p] * tables->channels + before + c) * width;
                const float *near = context ? context->out_weight + (size_t)c * seen : NULL;
                group->first[row] = (float)offset[before + c] / FORM_UNIT;
                for (int k = 0; k < width; k++)
                    panel[k * ROWS] = scale[k];
                for (int k = width; k < depth; k++)
                    panel[k * ROWS] = near[k - width];
            }
            products_as_classes(group->found + (which[p] & 1) * plane, group->first, group->panels,
                                inputs_of(group, which[p]), depth, group->padded, panels);
        }
        for (int row = 0; row < count; row++)
            for (int y = i; y < group->rows; y += 2) {
                const uint8_t *left = group->found + row * group->padded + (size_t)(y / 2) * group->width;
                pairs_together(group->paired, left, left + plane, (size_t)group->width);
                memcpy(group->classes + (size_t)group->channels[row] * group->size + (size_t)y * group->columns,
                       group->paired, (size_t)group->columns);
            }
    }
}

static void free_group(Group *group)
{
    free(group->inputs), free(group->features), free(group->live), free(group->reach), free(group->panels);
    free(group->first), free(group->edged), free(group->line), free(group->sizes), free(group->found);
    free(group->channels), free(group->paired), free(group->classes), free(group->floats);
    free(group->largest);
}

static int make_group(Group *group)
{
    const Tables *tables = group->tables;
    size_t depth = (size_t)depth_of(tables), known = 0;
    size_t most = depth - (size_t)tables->class_width, deepest = 3 * (size_t)tables->most_known;
    for (int i = 0; i < tables->stages; i++) {
        size_t channels = (size_t)tables->stage[i].channels;
        most = channels > most ? channels : most;
        known = i < tables->halves && channels > known ? channels : known;
    }
    most = (most + ROWS - 1) / ROWS * ROWS;
    deepest = deepest > depth ? deepest : depth;
    deepest = deepest > 4 * known ? deepest : 4 * known;
    size_t planes = 3 * (size_t)tables->most_known > 4 * known ? 3 * (size_t)tables->most_known : 4 * known;
    group->height = 2 * ((group->rows + 3) / 4), group->width = 2 * ((group->columns + 3) / 4);
    group->padded = ((size_t)group->height * group->width + COLUMNS - 1) / COLUMNS * COLUMNS;
    group->step = 2 * (size_t)group->width;
    group->size = (size_t)group->rows * group->columns;
    group->planes = planes;
    group->inputs = calloc(PLACES * depth * group->padded, sizeof(float));
    group->features = calloc(PLACES * planes * group->padded, sizeof(float));
    group->live = malloc(tables->channels * sizeof(int));
    group->reach = calloc(depth, sizeof(float));
    group->panels = malloc(most * deepest * sizeof(float));
    group->first = malloc(most * sizeof(float));
    group->edged = calloc(((size_t)group->rows + 2) * (group->step + 2), sizeof(float));
    group->line = malloc(group->step * sizeof(float));
    group->sizes = malloc(group->size);
    group->found = malloc(2 * most * group->padded);
    group->channels = malloc(most * sizeof(int));
    group->paired = malloc(group->step);
    group->classes = malloc(most * group->size);
    group->floats = malloc(most * group->padded * sizeof(float));
    group->largest = malloc(most * sizeof(int32_t));
    return group->inputs && group->features && group->live && group->reach && group->panels && group->first &&
           group->edged && group->line && group->sizes && group->found && group->channels && group->paired &&
           group->classes && group->floats && group->largest;
}

/* The inputs that follow from hyperlatents `v` int32 (hyper, rows, columns), of which the group's first is at
 * `top`, `left`. */
static int add_hyper(Group *group, const int32_t *given, int rows, int columns, int top, int left)
{
    const Tables *tables = group->tables;
    int hidden = PLACES * tables->class_width;
    size_t count = (size_t)tables->hyper * rows * columns;
    int32_t *v = malloc(count * sizeof(int32_t)); /* nobody else writes to what the bound is of */
    if (!v)
        return 0;
    memcpy(v, given, count * sizeof(int32_t));
    uint32_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t size = v[i] < 0 ? 0u - (uint32_t)v[i] : (uint32_t)v[i];
        largest = size > largest ? size : largest;
    }
    uint64_t bias = 0;
    for (int o = 0; o < hidden; o++) {
        uint64_t size = (uint64_t)(tables->hyper_bias[o] < 0 ? -(int64_t)tables->hyper_bias[o] : tables->hyper_bias[o]);
        bias = size > bias ? size : bias;
    }
    int wide = (uint64_t)largest * 128 * 9 * tables->hyper + bias >= 1u << 31;
    int32_t *sums = malloc(hidden * sizeof(int32_t));
    int64_t *wide_sums = malloc(hidden * sizeof(int64_t));
    for (int y = 0; sums && wide_sums && y < group->height / 2; y++)
        for (int x = 0; x < group->width / 2; x++) {
            for (int o = 0; o < hidden; o++)
                sums[o] = tables->hyper_bias[o], wide_sums[o] = tables->hyper_bias[o];
            for (int k = 0; k < tables->hyper; k++)
                for (int t = 0; t < 9; t++) {
                    int from_y = top + y + t / 3 - 1, from_x = left + x + t % 3 - 1;
                    if (from_y < 0 || from_x < 0 || from_y >= rows || from_x >= columns)
                        continue;
                    int32_t value = v[((size_t)k * rows + from_y) * columns + from_x];
                    const int32_t *weight = tables->hyper_weight + ((size_t)k * 9 + t) * hidden;
                    if (value && !wide)
                        add_scaled(sums, weight, value, hidden);
                    else if (value)
                        add_scaled_wide(wide_sums, weight, value, hidden);
                }
            for (int o = 0; o < hidden; o++) {
                int64_t sum = wide ? wide_sums[o] : sums[o];
                int32_t value = sum < 0 ? 0 : sum >= (HIDDEN_MAX + 1) * HIDDEN_UNIT ? HIDDEN_MAX : (int32_t)(sum >> 6);
                int c = o / PLACES, i = o % PLACES / 2, j = o % 2;
                size_t at = c * group->padded + (size_t)(2 * y + i) * group->width + 2 * x + j;
                for (int p = 0; p < PLACES; p++)
                    inputs_of(group, p)[at] = (float)value;
                group->reach[c] = value > group->reach[c] ? (float)value : group->reach[c];
            }
        }
    int made = sums && wide_sums;
    free(sums), free(wide_sums), free(v);
    return made;
}

/* What the first half of a stage adds to the means of its second: `added` float32 (channels, rows, columns), which
 * holds zeros (decant.codec.entropy.checkerboard). `step` (channels,): the quality's; `out`: the stage's symbols. Features end here. */
static void add_means(Group *group, const Stage *stage, const float *out, const float *step, float *added)
{
    static const int odd[] = {1, 2};
    int count = stage->channels, width = group->tables->context_width;
    size_t across = group->step + 2, padded = group->padded;
    for (int c = 0; c < count; c++) {
        const float *symbols = out + (size_t)c * group->size;
        for (int y = 0; y < group->rows; y++)
            for (int x = 0; x < group->columns; x++)
                group->edged[(y + 1) * across + x + 1] =
                    (y + x) % 2 ? 0 : symbols[(size_t)y * group->columns + x] * step[c];
        for (int y = 0; y < group->rows; y++) {
            const float *row = group->edged + (y + 1) * across + 1;
            size_t at = (size_t)(y / 2) * group->width;
            float *to = features_of(group, y % 2 ? 2 : 1) + at, *spare = group->line;
            const float *near[] = {row - 1, row + 1, row - across, row + across};
            for (int n = 0; n < 4; n++) {
                float *plane = to + ((size_t)n * count + c) * padded;
                pairs_apart(y % 2 ? plane : spare, y % 2 ? spare : plane, near[n], (size_t)group->width);
            }
        }
    }
    for (int p = 0; p < 2; p++) {
        int i = odd[p] >> 1, j = odd[p] & 1;
        float *features = features_of(group, odd[p]);
        int panels = panels_from(group, stage->near_hidden, stage->near_hidden_bias, width, 4 * count);
        products_as_floats(group->floats, group->first, group->panels, features, 4 * count, padded, panels, 1);
        panels = panels_from(group, stage->near_out, stage->near_out_bias, count, width);
        products_as_floats(features, group->first, group->panels, group->floats, width, padded, panels, 0);
        for (int c = 0; c < count; c++)
            for (int y = i; y < group->rows; y += 2) {
                const float *row = features + c * padded + (size_t)(y / 2) * group->width;
                float *to = added + (size_t)c * group->size + (size_t)y * group->columns;
                for (int x = j, n = 0; x < group->columns; x += 2, n++)
                    to[x] = row[n];
            }
    }
}

static Problem decode_stages(
    Group *group, Coder *coder, const int32_t *offset, const float *step, float *added, Outcome *outcome)
{
    static const int every[] = {0, 1, 2, 3}, even[] = {0, 3}, odd[] = {1, 2};
    const Tables *tables = group->tables;
    int before = 0;
    for (int i = 0; i < tables->stages; i++) {
        const Stage *stage = tables->stage + i;
        const Context *context = i ? &stage->context : NULL;
        int halved = i < tables->halves, places = halved ? 2 : 4, end = before + stage->channels;
        float *out = group->out + (size_t)before * group->size;
        const int *which = halved ? even : every;
        if (context)
            add_context(group, context, which, places);
        find_classes(group, stage->channels, context, before, offset, which, places);
        if (decode_part(tables, coder, group->classes, stage->channels * group->size, out, outcome))
            return outcome->problem;
        if (halved) {
            int live_count = group->live_count;
            add_features(group, before, end); /* of the first half: the second is 0 so far */
            add_context(group, &stage->half, odd, 2);
            group->live_count = live_count;
            find_classes(group, stage->channels, &stage->half, before, offset, odd, 2);
            if (decode_part(tables, coder, group->classes, stage->channels * group->size, out, outcome))
                return outcome->problem;
        }
        if (i + 1 < tables->stages)
            add_features(group, before, end);
        before = end;
    }
    before = 0;
    for (int i = 0; i < tables->halves; before += tables->stage[i++].channels)
        add_means(group, tables->stage + i, group->out + (size_t)before * group->size, step + before,
                  added + (size_t)before * group->size);
    return FINE;
}

#ifndef DECANT_WITHOUT_PYTHON
/* ---- Python ---- */

static const char CAPSULE[] = "decant.codec.entropy._kernels.Tables";

static void destroy(PyObject *capsule)
{
    free_tables(PyCapsule_GetPointer(capsule, CAPSULE));
}

/* The bytes of `object`, of which there must be `size`. */
static int view_of(PyObject *object, Py_ssize_t size, int flags, Py_buffer *view)
{
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | flags) < 0)
        return 0;
    if (size >= 0 && view->len != size) {
        PyErr_Format(PyExc_ValueError, "a buffer of %zd bytes; %zd expected", view->len, size);
        PyBuffer_Release(view);
        return 0;
    }
    return 1;
}

/* The same of `count` numbers of 4 bytes, which must lie where the processor reads such numbers. */
static int words_of(PyObject *object, uint64_t count, int flags, Py_buffer *view)
{
    if (count > (uint64_t)PY_SSIZE_T_MAX / 4)
        return PyErr_SetString(PyExc_ValueError, "more numbers than memory holds"), 0;
    if (!view_of(object, (Py_ssize_t)(4 * count), flags, view))
        return 0;
    if ((uintptr_t)view->buf % 4) {
        PyErr_SetString(PyExc_ValueError, "a buffer that is not aligned");
        PyBuffer_Release(view);
        return 0;
    }
    return 1;
}

/* float32 array of the int8 or int32 numbers of `object`, (values + added) / unit; NULL with an exception. */
static float *floats_of(PyObject *object, size_t count, int wide, float added, float unit)
{
    Py_buffer view;
    if (!(wide ? words_of(object, count, 0, &view) : view_of(object, (Py_ssize_t)count, 0, &view)))
        return NULL;
    float *found = malloc(count ? count * sizeof(float) : 1);
    if (!found)
        PyErr_NoMemory();
    for (size_t i = 0; found && i < count; i++)
        found[i] = ((float)(wide ? ((int32_t *)view.buf)[i] : ((int8_t *)view.buf)[i]) + added) / unit;
    PyBuffer_Release(&view);
    return found;
}

static int fill_alphabets(Tables *tables, PyObject *counts, PyObject *run_counts)
{
    for (int zeros = 0; zeros < 2; zeros++) {
        size_t total = 0, sizes[CLASSES] = {0};
        for (int c = 1; c < CLASSES; c++) {
            int limit = tables->runs[c];
            sizes[c] = zeros ? (limit ? (size_t)limit + 1 : 0) : 2 * (size_t)tables->radius[c] + (limit ? 1 : 2);
            total += sizes[c];
        }
        Py_buffer view;
        if (!words_of(zeros ? run_counts : counts, total, 0, &view))
            return 0;
        uint32_t *copy = malloc(total ? 4 * total : 1), *at = copy; /* what is checked is what is used */
        int made = copy != NULL, whole = 1;
        if (made)
            memcpy(copy, view.buf, 4 * total);
        PyBuffer_Release(&view);
        for (int c = 1; made && whole && c < CLASSES; at += sizes[c++]) {
            whole = !sizes[c] || is_whole(at, sizes[c]);
            if (whole && sizes[c])
                made = make_alphabet(zeros ? tables->zeros + c : tables->symbols + c, at, sizes[c]);
        }
        free(copy);
        if (!whole)
            return PyErr_SetString(PyExc_ValueError, "counts of an alphabet that do not add up to 2^24"), 0;
        if (!made)
            return PyErr_NoMemory(), 0;
    }
    return 1;
}

static int copy_of(PyObject *object, void *to, Py_ssize_t size)
{
    Py_buffer view;
    if (!view_of(object, size, 0, &view))
        return 0;
    memcpy(to, view.buf, (size_t)size);
    PyBuffer_Release(&view);
    return 1;
}

static int fill_scales(Tables *tables, PyObject *hidden, PyObject *bias, PyObject *weight)
{
    size_t channels = (size_t)tables->channels, width = (size_t)tables->class_width, outputs = PLACES * width;
    size_t taps = 9 * (size_t)tables->hyper;
    float *rows = floats_of(weight, PLACES * channels * width, 0, 0, FORM_UNIT);
    Py_buffer view = {0};
    if (!rows || !view_of(hidden, (Py_ssize_t)(outputs * taps), 0, &view))
        return free(rows), 0;
    tables->scale_weight = malloc(PLACES * channels * width * sizeof(float));
    tables->scale_bound = calloc(channels * width, sizeof(float));
    tables->hyper_weight = malloc(taps * outputs * sizeof(int32_t));
    tables->hyper_bias = malloc(outputs * sizeof(int32_t));
    int made = tables->scale_weight && tables->scale_bound && tables->hyper_weight && tables->hyper_bias;
    for (size_t m = 0; made && m < channels; m++)
        for (size_t p = 0; p < PLACES; p++)
            for (size_t k = 0; k < width; k++) {
                float value = rows[(PLACES * m + p) * width + k], *bound = tables->scale_bound + m * width + k;
                tables->scale_weight[(p * channels + m) * width + k] = value;
                *bound = value > *bound ? value : *bound;
            }
    for (size_t o = 0; made && o < outputs; o++)
        for (size_t t = 0; t < taps; t++)
            tables->hyper_weight[t * outputs + o] = ((int8_t *)view.buf)[o * taps + t];
    PyBuffer_Release(&view);
    free(rows);
    if (!made)
        return PyErr_NoMemory(), 0;
    if (!copy_of(bias, tables->hyper_bias, (Py_ssize_t)(outputs * sizeof(int32_t))))
        return 0;
    for (size_t o = 0; o < outputs; o++) {
        if (tables->hyper_bias[o] > LARGEST_BIAS || tables->hyper_bias[o] < -LARGEST_BIAS)
            return PyErr_SetString(PyExc_ValueError, "a bias beyond 2^30"), 0;
        tables->hyper_bias[o] += HIDDEN_UNIT / 2;
    }
    return 1;
}

/* A copy of float32 numbers; NULL with an exception. */
static float *numbers_of(PyObject *object, size_t count)
{
    float *found = malloc(count ? count * sizeof(float) : 1);
    if (!found)
        return (float *)PyErr_NoMemory();
    if (!copy_of(object, found, (Py_ssize_t)(count * sizeof(float))))
        return free(found), NULL;
    return found;
}

/* The weights of a context of a stage: hidden_weight, hidden_bias, out_weight, and where it has a second layer
 * mixed_weight, below_weight, mixed_bias. */
static int fill_context(Tables *tables, Context *context, int known, int channels, PyObject *weights)
{
    PyObject *hidden, *bias, *out, *mixed = NULL, *below = NULL, *mixed_bias = NULL;
    size_t width = (size_t)tables->context_width, seen = (size_t)seen_of(tables), under = (size_t)tables->class_width;
    float rounding = HIDDEN_UNIT / 2;
    if (!PyTuple_Check(weights) || tables->context_width < 1)
        return PyErr_SetString(PyExc_ValueError, "a context without weights, or without a width"), 0;
    if (!PyArg_ParseTuple(weights, tables->mixed_width ? "OOOOOO" : "OOO", &hidden, &bias, &out, &mixed, &below,
                          &mixed_bias))
        return 0;
    context->known = known;
    tables->most_known = known > tables->most_known ? known : tables->most_known;
    if (!(context->hidden_weight = floats_of(hidden, width * 3 * known, 0, 0, HIDDEN_UNIT)) ||
        !(context->hidden_bias = floats_of(bias, width, 1, rounding, HIDDEN_UNIT)) ||
        !(context->out_weight = floats_of(out, seen * channels, 0, 0, FORM_UNIT)) ||
        !(context->out_bound = floats_of(out, seen * channels, 0, 0, FORM_UNIT)))
        return 0;
    for (size_t k = 0; k < seen * channels; k++)
        context->out_bound[k] = context->out_bound[k] < 0 ? 0 : context->out_bound[k];
    if (!tables->mixed_width)
        return 1;
    if (!(context->mixed_bias = floats_of(mixed_bias, seen, 1, rounding, HIDDEN_UNIT)))
        return 0;
    float *own = floats_of(mixed, seen * width, 0, 0, HIDDEN_UNIT), *at = NULL;
    float *other = floats_of(below, PLACES * seen * under, 0, 0, HIDDEN_UNIT);
    if (own && other && !(at = context->mixed_weight = malloc(PLACES * seen * (under + width) * sizeof(float))))
        PyErr_NoMemory();
    for (size_t p = 0; at && p < PLACES; p++)
        for (size_t d = 0; d < seen; d++, at += under + width) {
            memcpy(at, other + (PLACES * d + p) * under, under * sizeof(float));
            memcpy(at + under, own + d * width, width * sizeof(float));
        }
    free(own), free(other);
    return at != NULL;
}

static int fill_near(Tables *tables, Stage *stage, PyObject *near)
{
    if (!PyTuple_Check(near))
        return PyErr_SetString(PyExc_ValueError, "halves without means"), 0;
    PyObject *hidden, *hidden_bias, *out, *out_bias;
    size_t width = (size_t)tables->context_width, count = (size_t)stage->channels;
    if (!PyArg_ParseTuple(near, "OOOO", &hidden, &hidden_bias, &out, &out_bias))
        return 0;
    return (stage->near_hidden = numbers_of(hidden, width * 4 * count)) &&
           (stage->near_hidden_bias = numbers_of(hidden_bias, width)) &&
           (stage->near_out = numbers_of(out, count * width)) && (stage->near_out_bias = numbers_of(out_bias, count));
}

/* Stages as (channels, context, half, near), None where there is none: the first has no context, and only the first
 * ones, as many as halves, have the others. */
static int fill_stages(Tables *tables, PyObject *stages)
{
    int before = 0;
    tables->stages = (int)PyTuple_Size(stages);
    if (tables->stages < 1 || tables->stages > MOST_STAGES)
        return PyErr_SetString(PyExc_ValueError, "1 to 8 stages expected"), 0;
    for (int i = 0; i < tables->stages; i++) {
        Stage *stage = tables->stage + i;
        PyObject *context, *half, *near;
        PyObject *item = PyTuple_GetItem(stages, i);
        if (!PyTuple_Check(item))
            return PyErr_SetString(PyExc_ValueError, "a stage that is no tuple"), 0;
        if (!PyArg_ParseTuple(item, "iOOO", &stage->channels, &context, &half, &near))
            return 0;
        if (stage->channels < 1 || stage->channels > tables->channels - before)
            return PyErr_SetString(PyExc_ValueError, "a stage without channels, or of more than there are"), 0;
        int end = before + stage->channels;
        if (i && !fill_context(tables, &stage->context, before, stage->channels, context))
            return 0;
        if (half != Py_None) {
            if (tables->halves++ != i)
                return PyErr_SetString(PyExc_ValueError, "halves after a stage without"), 0;
            if (!fill_context(tables, &stage->half, end, stage->channels, half) || !fill_near(tables, stage, near))
                return 0;
        }
        before = end;
    }
    if (before != tables->channels)
        return PyErr_SetString(PyExc_ValueError, "stages do not add up to the channels"), 0;
    return 1;
}

static int widths_are_possible(const Tables *tables)
{
    const int widths[] = {tables->channels, tables->hyper, tables->class_width};
    for (int i = 0; i < 3; i++)
        if (widths[i] < 1 || widths[i] > MOST_WIDTH)
            return PyErr_SetString(PyExc_ValueError, "a width beyond 1 to 4096"), 0;
    if (tables->context_width < 0 || tables->context_width > MOST_WIDTH || tables->mixed_width < 0 ||
        tables->mixed_width > MOST_WIDTH)
        return PyErr_SetString(PyExc_ValueError, "a width beyond 0 to 4096"), 0;
    return 1;
}

static PyObject *py_tables(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *radius, *runs, *counts, *run_counts, *hidden, *bias, *weight, *magnitude, *stages;
    Tables *tables = calloc(1, sizeof(Tables));
    if (!tables)
        return PyErr_NoMemory();
    if (!PyArg_ParseTuple(arguments, "OOOOiiiiiOOOOO!", &radius, &runs, &counts, &run_counts, &tables->channels,
                          &tables->hyper, &tables->class_width, &tables->context_width, &tables->mixed_width, &hidden,
                          &bias, &weight, &magnitude, &PyTuple_Type, &stages) ||
        !widths_are_possible(tables) || !copy_of(radius, tables->radius, sizeof tables->radius) || !copy_of(runs, tables->runs, sizeof tables->runs) ||
        !fill_alphabets(tables, counts, run_counts) || !fill_scales(tables, hidden, bias, weight) ||
        !copy_of(magnitude, tables->magnitude, sizeof tables->magnitude) || !fill_stages(tables, stages)) {
        free_tables(tables);
        return NULL;
    }
    PyObject *capsule = PyCapsule_New(tables, CAPSULE, destroy);
    if (!capsule)
        free_tables(tables);
    return capsule;
}

/* None, or (problem, numbers) */
static PyObject *result_of(const Outcome *outcome)
{
    if (outcome->problem == NO_MEMORY)
        return PyErr_NoMemory();
    if (outcome->problem == FINE)
        Py_RETURN_NONE;
    const long long *n = outcome->numbers;
    return Py_BuildValue("i(LLL)", (int)outcome->problem, n[0], n[1], n[2]);
}

/* The view of a stream, which is of whole words. */
static int stream_of(PyObject *object, Py_buffer *view)
{
    if (!view_of(object, -1, 0, view))
        return 0;
    if (view->len % 4) {
        PyErr_SetString(PyExc_ValueError, "a stream that is not of whole words");
        PyBuffer_Release(view);
        return 0;
    }
    return 1;
}

/* A copy of the offsets of all channels, within the bounds for which sums are exact; NULL with an exception. */
static int32_t *offsets_of(const Tables *tables, const int32_t *given)
{
    int32_t *offset = malloc(tables->channels * sizeof(int32_t));
    if (!offset)
        return (int32_t *)PyErr_NoMemory();
    memcpy(offset, given, tables->channels * sizeof(int32_t));
    for (int c = 0; c < tables->channels; c++)
        if (offset[c] > LARGEST_OFFSET || offset[c] < -LARGEST_OFFSET) {
            free(offset);
            return PyErr_SetString(PyExc_ValueError, "a class offset beyond 2^17"), NULL;
        }
    return offset;
}

static PyObject *py_decode_group(PyObject *module, PyObject *arguments)
{
    (void)module;
    enum { STREAM, HYPER, OFFSET, STEP, OUT, ADDED, BUFFERS };
    PyObject *capsule, *objects[BUFFERS];
    Py_buffer views[BUFFERS];
    Group group = {0};
    int hyper_rows, hyper_columns, top, left, held = 0;
    if (!PyArg_ParseTuple(arguments, "OOO(iiii)OO(ii)OO", &capsule, objects + STREAM, objects + HYPER, &hyper_rows,
                          &hyper_columns, &top, &left, objects + OFFSET, objects + STEP, &group.rows, &group.columns,
                          objects + OUT, objects + ADDED))
        return NULL;
    const Tables *tables = group.tables = PyCapsule_GetPointer(capsule, CAPSULE);
    if (!tables)
        return NULL;
    if (hyper_rows > MOST_SIDE || hyper_columns > MOST_SIDE || group.rows > MOST_SIDE || group.columns > MOST_SIDE)
        return PyErr_SetString(PyExc_ValueError, "a side beyond 65536"), NULL;
    if (group.rows < 1 || group.columns < 1 || top < 0 || left < 0 || top > hyper_rows || left > hyper_columns ||
        group.rows > 4 * (hyper_rows - top) || group.columns > 4 * (hyper_columns - left))
        return PyErr_SetString(PyExc_ValueError, "a group that the hyperlatents do not cover"), NULL;
    uint64_t size = (uint64_t)group.rows * group.columns, first = 0; /* channels of stages in halves */
    if (size * tables->channels > INT32_MAX)
        return PyErr_SetString(PyExc_ValueError, "a group of more than 2^31 symbols"), NULL;
    for (int i = 0; i < tables->halves; i++)
        first += tables->stage[i].channels;
    uint64_t counts[BUFFERS] = {0, (uint64_t)tables->hyper * hyper_rows * hyper_columns, tables->channels, first,
                                size * tables->channels, size * first};
    if (!stream_of(objects[STREAM], views))
        return NULL;
    for (held = HYPER; held < BUFFERS; held++)
        if (!words_of(objects[held], counts[held], held >= OUT ? PyBUF_WRITABLE : 0, views + held))
            break;
    PyObject *result = NULL;
    int32_t *offset = held == BUFFERS ? offsets_of(tables, views[OFFSET].buf) : NULL;
    if (offset) {
        Outcome outcome = {FINE, {0}};
        Py_BEGIN_ALLOW_THREADS
        group.out = views[OUT].buf;
        Coder coder = coder_of(views[STREAM].buf, (size_t)views[STREAM].len);
        if (!make_group(&group) || !add_hyper(&group, views[HYPER].buf, hyper_rows, hyper_columns, top, left))
            refuse(&outcome, NO_MEMORY, 0, 0, 0);
        else if (!decode_stages(&group, &coder, offset, views[STEP].buf, views[ADDED].buf, &outcome) &&
                 (coder.state || coder.left))
            refuse(&outcome, NOT_ENDED, 0, 0, 0);
        free_group(&group), free(offset);
        Py_END_ALLOW_THREADS
        result = result_of(&outcome);
    }
    while (held)
        PyBuffer_Release(views + --held);
    return result;
}

/* A copy of the `count` classes of `object`, each below CLASSES: they are read twice, and another thread may write to
 * the caller's in between. NULL with an exception. */
static uint8_t *classes_of(PyObject *object, size_t *count)
{
    Py_buffer view;
    if (!view_of(object, -1, 0, &view))
        return NULL;
    *count = (size_t)view.len;
    uint8_t *classes = NULL;
    if (*count > INT32_MAX)
        PyErr_SetString(PyExc_ValueError, "more than 2^31 classes");
    else if (!(classes = malloc(*count ? *count : 1)))
        PyErr_NoMemory();
    else {
        uint8_t all = 0;
        memcpy(classes, view.buf, *count);
        for (size_t i = 0; i < *count; i++)
            all |= classes[i];
        if (all >= CLASSES) {
            PyErr_SetString(PyExc_ValueError, "a class beyond 31");
            free(classes);
            classes = NULL;
        }
    }
    PyBuffer_Release(&view);
    return classes;
}

static PyObject *py_decode_part(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *capsule, *bytes, *kinds, *symbols, *result = NULL;
    if (!PyArg_ParseTuple(arguments, "OOOO", &capsule, &bytes, &kinds, &symbols))
        return NULL;
    const Tables *tables = PyCapsule_GetPointer(capsule, CAPSULE);
    if (!tables)
        return NULL;
    Py_buffer stream, out;
    if (!stream_of(bytes, &stream))
        return NULL;
    size_t count;
    uint8_t *classes = classes_of(kinds, &count);
    if (!classes)
        goto no_classes;
    if (!words_of(symbols, count, PyBUF_WRITABLE, &out))
        goto no_out;
    Outcome outcome = {FINE, {0}};
    Py_BEGIN_ALLOW_THREADS
    Coder coder = coder_of(stream.buf, (size_t)stream.len);
    if (!decode_part(tables, &coder, classes, count, out.buf, &outcome) &&
        (coder.state || coder.left))
        refuse(&outcome, NOT_ENDED, 0, 0, 0);
    Py_END_ALLOW_THREADS
    result = result_of(&outcome);
    PyBuffer_Release(&out);
no_out:
    free(classes);
no_classes:
    PyBuffer_Release(&stream);
    return result;
}

static PyMethodDef METHODS[] = {
    {"tables", py_tables, METH_VARARGS, "The tables of a bundle, as the decoder holds them."},
    {"decode_group", py_decode_group, METH_VARARGS, "Decode the stream of a group into zeros; None or what is wrong."},
    {"decode_part", py_decode_part, METH_VARARGS, "Decode a stream of one part into zeros; None or what is wrong."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {
    PyModuleDef_HEAD_INIT, "_kernels", "Streams of the layout grid, decoded in C (decant.codec.layout has their numpy form).",
    -1, METHODS, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__kernels(void)
{
    return PyModule_Create(&MODULE);
}
#endif /* DECANT_WITHOUT_PYTHON */
