/* See entropy_model.h. decant.codec.entropy.scale_network and .context_network are the same in numpy.
 *
 * Sums stay below 2^24, so that decoders may compute them in float32 too.
 */
#include "entropy_model.h"

#include <string.h>

#include "memory.h"

enum { EXACT_FLOAT = 1 << 24, ROUNDING = DCN_HIDDEN_UNIT / 2 };

const char *dcn_model_fault_text(dcn_model_fault fault)
{
    static const char *const texts[] = {
        "good",
        "sizes of the entropy model are out of range, or its channel groups do not add up to its channels",
        "counts of an alphabet do not add up to 2^24",
        "a bias is beyond 2^30",
        "sums of the entropy model can exceed 2^24",
        "no memory",
    };
    return texts[fault];
}

int dcn_entropy_sizes_fit(const dcn_entropy_tensors *tensors)
{
    const int widths[] = {tensors->channels, tensors->hyper, tensors->class_width};
    for (int i = 0; i < 3; i++)
        if (widths[i] < 1 || widths[i] > DCN_MOST_WIDTH)
            return 0;
    if (tensors->context_width < 0 || tensors->context_width > DCN_MOST_WIDTH || tensors->mixed_width < 0 ||
        tensors->mixed_width > DCN_MOST_WIDTH || tensors->groups < 1 || tensors->groups > DCN_MOST_GROUPS ||
        tensors->halves < 0 || tensors->halves > tensors->groups)
        return 0;
    if (!tensors->context_width && (tensors->groups > 1 || tensors->halves))
        return 0;
    int channels = 0;
    for (int i = 0; i < tensors->groups; i++) {
        if (tensors->group[i].channels < 1 || tensors->group[i].channels > tensors->channels - channels)
            return 0;
        channels += tensors->group[i].channels;
    }
    return channels == tensors->channels;
}

void dcn_entropy_counts_of(const dcn_entropy_tensors *tensors, size_t *counts, size_t *run_counts)
{
    *counts = *run_counts = 0;
    for (int scale = 1; scale < DCN_SCALES; scale++) {
        *counts += 2 * (size_t)tensors->radius[scale] + (tensors->runs[scale] ? 1 : 2);
        *run_counts += tensors->runs[scale] ? (size_t)tensors->runs[scale] + 1 : 0;
    }
}

static int64_t size_of(int32_t value)
{
    return value < 0 ? -(int64_t)value : value;
}

/* The sum of the absolute values of a row. */
static int64_t sum_of(const int8_t *row, size_t count)
{
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += size_of(row[i]);
    return sum;
}

/* The largest sum of the PLACES rows from `rows` on. */
static int64_t largest_sum(const int8_t *rows, size_t depth)
{
    int64_t largest = 0;
    for (size_t p = 0; p < DCN_PLACES; p++) {
        int64_t sum = sum_of(rows + p * depth, depth);
        largest = sum > largest ? sum : largest;
    }
    return largest;
}

/* Room for `rows` rows of `depth` weights and for those that kernels read beyond. */
static int16_t *weights_of(size_t rows, size_t depth)
{
    return dcn_allocate_zeroed((rows + DCN_TILE_ROWS) * depth, sizeof(int16_t));
}

static int32_t *biases_of(const int32_t *values, size_t count)
{
    int32_t *made = dcn_allocate_zeroed(count + 1, sizeof *made);
    for (size_t i = 0; made && i < count; i++)
        made[i] = values[i] + ROUNDING;
    return made;
}

static void widen(int16_t *to, const int8_t *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = from[i];
}

static dcn_model_fault make_alphabets(dcn_entropy_model *model, const dcn_entropy_tensors *tensors)
{
    dcn_symbol_tables *tables = &model->symbols;
    const uint32_t *counts = tensors->counts, *run_counts = tensors->run_counts;
    memcpy(tables->radius, tensors->radius, sizeof tables->radius);
    memcpy(tables->runs, tensors->runs, sizeof tables->runs);
    for (int scale = 1; scale < DCN_SCALES; scale++) {
        size_t size = dcn_symbols_of(tables, scale), run_size = dcn_run_symbols_of(tables, scale);
        if (tables->runs[scale] > DCN_MOST_RUN || (tables->runs[scale] && !tables->radius[scale]))
            return DCN_MODEL_SIZES;
        if (!dcn_counts_are_whole(counts, size) || (run_size && !dcn_counts_are_whole(run_counts, run_size)))
            return DCN_MODEL_COUNTS;
        if (dcn_alphabet_make(&tables->symbols[scale], counts, size) ||
            (run_size && dcn_alphabet_make(&tables->zeros[scale], run_counts, run_size)))
            return DCN_MODEL_NO_MEMORY;
        counts += size, run_counts += run_size;
    }
    return DCN_MODEL_GOOD;
}

/* The first layer of the scale network as a convolution; where its sums do not fit, the other form is used. */
static dcn_model_fault make_hyper_layer(dcn_entropy_model *model, const dcn_entropy_tensors *tensors)
{
    size_t hyper = (size_t)model->hyper, inputs = (size_t)dcn_even(model->hyper);
    size_t outputs = DCN_PLACES * (size_t)model->class_width;
    int16_t *weights = dcn_allocate_zeroed(outputs * 9 * inputs, sizeof *weights);
    uint8_t *shift = dcn_allocate(outputs, 1);
    if (weights && shift) {
        memset(shift, 6, outputs);
        for (size_t o = 0; o < outputs; o++)
            for (size_t k = 0; k < hyper; k++)
                for (size_t t = 0; t < 9; t++)
                    weights[(o * 9 + t) * inputs + k] = tensors->scale_hidden_weight[(o * hyper + k) * 9 + t];
        if (dcn_convolution_make(&model->hyper_layer, model->kernels, (int)inputs, (int)outputs, 3, (int)outputs,
                                 weights, tensors->scale_hidden_bias, shift))
            model->hyper_layer = (dcn_convolution){0};
    }
    dcn_model_fault fault = weights && shift ? DCN_MODEL_GOOD : DCN_MODEL_NO_MEMORY;
    dcn_release(weights), dcn_release(shift);
    return fault;
}

static dcn_model_fault make_scale_network(dcn_entropy_model *model, const dcn_entropy_tensors *tensors)
{
    size_t channels = (size_t)model->channels, width = (size_t)model->class_width, outputs = DCN_PLACES * width;
    size_t taps = 9 * (size_t)model->hyper;
    model->hyper_weight = dcn_allocate(taps * outputs, sizeof(int32_t));
    model->hyper_bias = dcn_allocate(outputs, sizeof(int32_t));
    if (!model->hyper_weight || !model->hyper_bias)
        return DCN_MODEL_NO_MEMORY;
    for (size_t o = 0; o < outputs; o++) {
        if (size_of(tensors->scale_hidden_bias[o]) > DCN_LARGEST_BIAS)
            return DCN_MODEL_BIAS;
        model->hyper_bias[o] = tensors->scale_hidden_bias[o] + ROUNDING;
        for (size_t t = 0; t < taps; t++)
            model->hyper_weight[t * outputs + o] = tensors->scale_hidden_weight[o * taps + t];
    }
    for (size_t m = 0; m < channels; m++)
        if (DCN_HIDDEN_MAX * largest_sum(tensors->scale_out_weight + DCN_PLACES * m * width, width) +
                DCN_LARGEST_OFFSET >=
            EXACT_FLOAT)
            return DCN_MODEL_SUMS;
    return make_hyper_layer(model, tensors);
}

/* Whether all sums of a context stay exact; `before`: the first of its `channels`. */
static int context_fits(const dcn_entropy_tensors *tensors, const dcn_context_tensors *context, int known, int before,
                        int channels)
{
    size_t width = (size_t)tensors->context_width, mixed = (size_t)tensors->mixed_width, reach = (size_t)known;
    size_t under = (size_t)tensors->class_width, seen = mixed ? mixed : width;
    for (size_t k = 0; k < width; k++) {
        const int8_t *row = context->hidden_weight + k * 3 * reach;
        int64_t most = DCN_HIDDEN_MAX * (sum_of(row, reach) + 2 * sum_of(row + reach, 2 * reach));
        if (most + size_of(context->hidden_bias[k]) + ROUNDING >= EXACT_FLOAT)
            return 0;
    }
    for (size_t k = 0; k < mixed; k++) {
        int64_t sum = sum_of(context->mixed_weight + k * width, width) +
                      largest_sum(context->below_weight + DCN_PLACES * k * under, under);
        if (DCN_HIDDEN_MAX * sum + size_of(context->mixed_bias[k]) + ROUNDING >= EXACT_FLOAT)
            return 0;
    }
    for (size_t c = 0; c < (size_t)channels; c++) {
        int64_t sum = sum_of(context->out_weight + c * seen, seen) +
                      largest_sum(tensors->scale_out_weight + DCN_PLACES * ((size_t)before + c) * under, under);
        if (DCN_HIDDEN_MAX * sum + DCN_LARGEST_OFFSET >= EXACT_FLOAT)
            return 0;
    }
    return 1;
}

/* The last layer of a part: `out` (channels, seen), or NULL where there is no context. */
static dcn_model_fault make_logits(const dcn_entropy_model *model, const dcn_entropy_tensors *tensors,
                                   const int8_t *out, size_t seen, int before, int channels, dcn_context *context)
{
    size_t under = (size_t)model->class_width, start = (size_t)dcn_even((int)under), count = (size_t)channels;
    size_t depth = start + (out ? (size_t)dcn_even((int)seen) : 0);
    context->depth = (int)depth;
    context->logit_weight = weights_of(DCN_PLACES * count, depth);
    context->logit_bound = dcn_allocate_zeroed(count * depth, sizeof(int16_t));
    if (!context->logit_weight || !context->logit_bound)
        return DCN_MODEL_NO_MEMORY;
    for (size_t p = 0; p < DCN_PLACES; p++)
        for (size_t c = 0; c < count; c++) {
            int16_t *row = context->logit_weight + (p * count + c) * depth, *bound = context->logit_bound + c * depth;
            widen(row, tensors->scale_out_weight + (DCN_PLACES * ((size_t)before + c) + p) * under, under);
            if (out)
                widen(row + start, out + c * seen, seen);
            for (size_t k = 0; k < depth; k++)
                bound[k] = row[k] > bound[k] ? row[k] : bound[k];
        }
    return DCN_MODEL_GOOD;
}

static dcn_model_fault make_context(dcn_entropy_model *model, const dcn_entropy_tensors *tensors,
                                    const dcn_context_tensors *from, int known, int before, int channels,
                                    dcn_context *context)
{
    size_t width = (size_t)model->context_width, mixed = (size_t)model->mixed_width, under = (size_t)model->class_width;
    size_t seen = mixed ? mixed : width;
    if (!context_fits(tensors, from, known, before, channels))
        return DCN_MODEL_SUMS;
    context->known = known;
    model->most_known = known > model->most_known ? known : model->most_known;
    size_t deep = 3 * (size_t)known, both = (size_t)dcn_even((int)under) + (size_t)dcn_even((int)width);
    context->hidden_weight = dcn_allocate(width * deep, sizeof(int16_t));
    context->hidden_bias = biases_of(from->hidden_bias, width);
    if (!context->hidden_weight || !context->hidden_bias)
        return DCN_MODEL_NO_MEMORY;
    widen(context->hidden_weight, from->hidden_weight, width * deep);
    if (mixed) {
        context->mixed_weight = weights_of(DCN_PLACES * mixed, both);
        context->mixed_bias = biases_of(from->mixed_bias, mixed);
        if (!context->mixed_weight || !context->mixed_bias)
            return DCN_MODEL_NO_MEMORY;
    }
    for (size_t p = 0; p < DCN_PLACES; p++)
        for (size_t d = 0; d < mixed; d++) {
            int16_t *row = context->mixed_weight + (p * mixed + d) * both;
            widen(row, from->below_weight + (DCN_PLACES * d + p) * under, under);
            widen(row + dcn_even((int)under), from->mixed_weight + d * width, width);
        }
    return make_logits(model, tensors, from->out_weight, seen, before, channels, context);
}

static dcn_model_fault make_groups(dcn_entropy_model *model, const dcn_entropy_tensors *tensors)
{
    int before = 0;
    for (int i = 0; i < model->groups; i++) {
        dcn_group *group = &model->group[i];
        const dcn_group_tensors *from = &tensors->group[i];
        int channels = group->channels = from->channels, end = before + channels;
        dcn_model_fault fault;
        if (!i)
            fault = make_logits(model, tensors, NULL, 0, 0, channels, &group->context);
        else
            fault = make_context(model, tensors, &from->context, before, before, channels, &group->context);
        if (!fault && i < model->halves) {
            fault = make_context(model, tensors, &from->non_anchors, end, before, channels, &group->non_anchors);
            model->halved = end;
        }
        if (fault)
            return fault;
        before = end;
    }
    return DCN_MODEL_GOOD;
}

dcn_model_fault dcn_entropy_model_new(const dcn_entropy_tensors *tensors, dcn_entropy_model **made)
{
    *made = NULL;
    if (!dcn_entropy_sizes_fit(tensors))
        return DCN_MODEL_SIZES;
    dcn_entropy_model *model = dcn_allocate_zeroed(1, sizeof *model);
    if (!model)
        return DCN_MODEL_NO_MEMORY;
    model->channels = tensors->channels, model->hyper = tensors->hyper;
    model->class_width = tensors->class_width, model->context_width = tensors->context_width;
    model->mixed_width = tensors->mixed_width, model->groups = tensors->groups, model->halves = tensors->halves;
    model->kernels = dcn_best_kernels();
    memcpy(model->magnitude, tensors->magnitude, sizeof model->magnitude);
    dcn_model_fault fault = make_alphabets(model, tensors);
    if (!fault)
        fault = make_scale_network(model, tensors);
    if (!fault)
        fault = make_groups(model, tensors);
    if (fault)
        dcn_entropy_model_free(model);
    else
        *made = model;
    return fault;
}

static void free_context(dcn_context *context)
{
    dcn_release(context->hidden_weight), dcn_release(context->hidden_bias), dcn_release(context->mixed_weight);
    dcn_release(context->mixed_bias), dcn_release(context->logit_weight), dcn_release(context->logit_bound);
}

void dcn_entropy_model_free(dcn_entropy_model *model)
{
    if (!model)
        return;
    dcn_symbol_tables_free(&model->symbols);
    for (int i = 0; i < DCN_MOST_GROUPS; i++)
        free_context(&model->group[i].context), free_context(&model->group[i].non_anchors);
    dcn_release(model->hyper_weight), dcn_release(model->hyper_bias);
    dcn_convolution_free(&model->hyper_layer);
    dcn_release(model);
}
