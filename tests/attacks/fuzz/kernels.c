/* libFuzzer on the entropy decoder of _kernels.c: small random tables, any classes, any stream.
 *
 *     clang -g -O2 -DDECANT_WITHOUT_PYTHON -fsanitize=fuzzer,address,undefined -o fuzz-kernels kernels.c
 *
 * The first byte chooses the tables, the next two the size of the group, four the hyperlatents. Tables are of the
 * form that py_tables makes and checks; what a stream can do to them is the question.
 */
#include "../../../runtime/decant/codec/entropy/_kernels.c"

enum { VARIANTS = 16, HYPER_SIDE = 2 };

static uint32_t random_state;

static uint32_t next_random(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

static void *room(size_t count)
{
    void *found = calloc(count ? count : 1, 1);
    if (!found)
        abort();
    return found;
}

static float *weights(size_t count, float unit)
{
    float *found = room(count * sizeof(float));
    for (size_t i = 0; i < count; i++)
        found[i] = (float)((int)(next_random() % 256) - 128) / unit;
    return found;
}

static float *bounds(const float *of, size_t count)
{
    float *found = room(count * sizeof(float));
    for (size_t i = 0; i < count; i++)
        found[i] = of[i] < 0 ? 0 : of[i];
    return found;
}

static void fill_alphabet(Alphabet *alphabet, size_t size)
{
    uint32_t counts[1024], left = 1u << TOTAL_BITS;
    for (size_t i = 0; i < size; i++) {
        uint32_t most = left - (uint32_t)(size - i - 1);
        counts[i] = i + 1 == size ? left : 1 + next_random() % (most / 2 ? most / 2 : 1);
        left -= counts[i];
    }
    if (!is_whole(counts, size) || !make_alphabet(alphabet, counts, size))
        abort();
}

static void fill_context(Tables *tables, Context *context, int known, int channels)
{
    size_t width = (size_t)tables->context_width, seen = (size_t)seen_of(tables);
    context->known = known;
    tables->most_known = known > tables->most_known ? known : tables->most_known;
    context->hidden_weight = weights(width * 3 * known, HIDDEN_UNIT);
    context->hidden_bias = weights(width, 1);
    context->out_weight = weights(seen * channels, FORM_UNIT / 16);
    context->out_bound = bounds(context->out_weight, seen * channels);
    if (tables->mixed_width) {
        context->mixed_bias = weights(seen, 1);
        context->mixed_weight = weights(PLACES * seen * (tables->class_width + width), HIDDEN_UNIT);
    }
}

static Tables *make_tables(uint32_t variant)
{
    random_state = variant * 2654435761u + 1;
    Tables *tables = room(sizeof(Tables));
    tables->hyper = 1 + next_random() % 3;
    tables->class_width = 1 + next_random() % 6;
    tables->context_width = 1 + next_random() % 6;
    tables->mixed_width = next_random() % 2 ? 1 + next_random() % 6 : 0;
    tables->stages = 1 + next_random() % 3;
    tables->halves = next_random() % (tables->stages + 1);
    for (int c = 1; c < CLASSES; c++) {
        tables->radius[c] = (uint8_t)(1 + next_random() % 32);
        tables->runs[c] = next_random() % 2 ? (uint16_t)(1 + next_random() % 200) : 0;
        fill_alphabet(tables->symbols + c, 2 * (size_t)tables->radius[c] + (tables->runs[c] ? 1 : 2));
        if (tables->runs[c])
            fill_alphabet(tables->zeros + c, (size_t)tables->runs[c] + 1);
    }
    for (int i = 0; i < tables->stages; i++) {
        Stage *stage = tables->stage + i;
        int before = tables->channels, count = stage->channels = 1 + next_random() % 5;
        tables->channels += count;
        if (i)
            fill_context(tables, &stage->context, before, count);
        if (i < tables->halves) {
            fill_context(tables, &stage->half, tables->channels, count);
            stage->near_hidden = weights((size_t)tables->context_width * 4 * count, 64);
            stage->near_hidden_bias = weights(tables->context_width, 64);
            stage->near_out = weights((size_t)tables->context_width * count, 64);
            stage->near_out_bias = weights(count, 64);
        }
    }
    size_t outputs = PLACES * (size_t)tables->class_width, taps = 9 * (size_t)tables->hyper;
    tables->hyper_weight = room(outputs * taps * sizeof(int32_t));
    tables->hyper_bias = room(outputs * sizeof(int32_t));
    for (size_t i = 0; i < outputs * taps; i++)
        tables->hyper_weight[i] = (int32_t)(next_random() % 256) - 128;
    for (size_t i = 0; i < outputs; i++)
        tables->hyper_bias[i] = (int32_t)(next_random() % 65536) - 32768;
    size_t scales = (size_t)tables->channels * tables->class_width;
    tables->scale_weight = weights(PLACES * scales, FORM_UNIT / 16);
    tables->scale_bound = room(scales * sizeof(float));
    for (size_t i = 0; i < PLACES * scales; i++) {
        float *bound = tables->scale_bound + i % scales, value = tables->scale_weight[i];
        *bound = value > *bound ? value : *bound;
    }
    for (int i = 0; i < MAGNITUDES; i++)
        tables->magnitude[i] = (uint8_t)(i < 16 ? i : 16);
    return tables;
}

static void decode_one_part(const Tables *tables, const uint8_t *data, size_t size)
{
    size_t count = size / 2 < 512 ? size / 2 : 512;
    uint8_t *classes = room(count);
    float *out = room(count * sizeof(float));
    for (size_t i = 0; i < count; i++)
        classes[i] = data[i] % CLASSES;
    Outcome outcome = {FINE, {0}};
    Coder coder = coder_of(data + count, size - count);
    decode_part(tables, &coder, classes, count, out, &outcome);
    free(classes), free(out);
}

static void decode_one_group(const Tables *tables, const uint8_t *data, size_t size)
{
    if (size < 6)
        return;
    Group group = {.tables = tables, .rows = 1 + data[0] % (4 * HYPER_SIDE), .columns = 1 + data[1] % (4 * HYPER_SIDE)};
    int32_t v[3 * HYPER_SIDE * HYPER_SIDE], offset[64];
    for (int i = 0; i < 3 * HYPER_SIDE * HYPER_SIDE; i++)
        v[i] = ((int32_t)(int8_t)data[2 + i % 4]) * (1 << (i % 16));
    for (int c = 0; c < tables->channels; c++)
        offset[c] = ((int32_t)data[2 + c % 4] - 64) * 256;
    size_t places = (size_t)group.rows * group.columns;
    float step[64], *out = room(places * tables->channels * sizeof(float));
    float *added = room(places * tables->channels * sizeof(float));
    for (int c = 0; c < tables->channels; c++)
        step[c] = 0.5f + c;
    group.out = out;
    Outcome outcome = {FINE, {0}};
    Coder coder = coder_of(data + 6, size - 6);
    if (make_group(&group) && add_hyper(&group, v, HYPER_SIDE, HYPER_SIDE, 0, 0))
        decode_stages(&group, &coder, offset, step, added, &outcome);
    free_group(&group), free(out), free(added);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Tables *tables[VARIANTS];
    if (!size)
        return 0;
    uint32_t variant = data[0] % VARIANTS;
    if (!tables[variant])
        tables[variant] = make_tables(variant);
    if (data[0] & 0x80)
        decode_one_part(tables[variant], data + 1, size - 1);
    else
        decode_one_group(tables[variant], data + 1, size - 1);
    return 0;
}
