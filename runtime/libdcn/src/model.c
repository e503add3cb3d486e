/* The model file .dcnm (docs/format/dcnm.md). */
#include "model.h"

#include <string.h>

#include "memory.h"
#include "rice.h"

enum { VERSION = 1, FIXED = 64, CRC = 4, MOST_TENSORS = 160, LARGEST_STEP = 0x7F7FFFFF };

static const uint8_t MAGIC[4] = {0x8A, 'D', 'C', 'M'};

/* Sizes in the header. */
typedef struct {
    int channels, hyper, class_width, tile, context_width, mixed_width;
    int width, layers, hidden, first, known, predicted, mean_width[2];
    int groups, halves, group[DCN_MOST_GROUPS];
} sizes;

/* State while a model file is read. Tensors are kept until the networks are created from them. */
typedef struct {
    dcn_rice rice;
    sizes sizes;
    void *tensor[MOST_TENSORS];
    int tensors, short_of_memory;
    int64_t *row;
    size_t row_size;
} reader;

/* Room for a tensor that is freed with the reader; NULL where the file cannot hold so many values, or memory is
 * short. */
static void *room(reader *reader, size_t count, size_t element)
{
    if (count > dcn_rice_left(&reader->rice) || reader->tensors == MOST_TENSORS) {
        reader->rice.failed = 1;
        return NULL;
    }
    void *made = dcn_allocate(count, element);
    if (made)
        reader->tensor[reader->tensors++] = made;
    else
        reader->short_of_memory = 1;
    return made;
}

/* The next row, in memory of the reader; NULL if it cannot be read. */
static const int64_t *row_of(reader *reader, size_t count, int64_t low, int64_t high)
{
    if (count > reader->row_size) {
        dcn_release(reader->row);
        reader->row_size = 0;
        reader->row = count > dcn_rice_left(&reader->rice) ? NULL : dcn_allocate(count, sizeof *reader->row);
        if (!reader->row)
            return NULL;
        reader->row_size = count;
    }
    return dcn_rice_row(&reader->rice, count, low, high, reader->row) ? NULL : reader->row;
}

/* A tensor of `rows` rows. Each type has its own range. */
#define DEFINE_TENSOR(name, type, low, high)                                                                          \
    static const type *name(reader *reader, size_t rows, size_t columns)                                              \
    {                                                                                                                  \
        type *made = room(reader, rows * columns, sizeof *made);                                                       \
        for (size_t i = 0; made && i < rows; i++) {                                                                    \
            const int64_t *row = row_of(reader, columns, low, high);                                                   \
            if (!row)                                                                                                  \
                return NULL;                                                                                           \
            for (size_t k = 0; k < columns; k++)                                                                       \
                made[i * columns + k] = (type)row[k];                                                                  \
        }                                                                                                              \
        return made;                                                                                                   \
    }

DEFINE_TENSOR(int8_tensor, int8_t, INT8_MIN, INT8_MAX)
DEFINE_TENSOR(int16_tensor, int16_t, INT16_MIN, INT16_MAX)
DEFINE_TENSOR(int32_tensor, int32_t, INT32_MIN, INT32_MAX)
DEFINE_TENSOR(uint8_tensor, uint8_t, 0, UINT8_MAX)
DEFINE_TENSOR(uint16_tensor, uint16_t, 0, UINT16_MAX)

/* Counts of all alphabets: one row for each scale index, or for each that has runs. */
static const uint32_t *counts_tensor(reader *reader, const dcn_entropy_tensors *tensors, int runs)
{
    size_t count, run_count, at = 0;
    dcn_entropy_counts_of(tensors, &count, &run_count);
    uint32_t *made = room(reader, runs ? run_count : count, sizeof *made);
    for (int scale = 1; made && scale < DCN_SCALES; scale++) {
        size_t limit = tensors->runs[scale], size = 2 * (size_t)tensors->radius[scale] + (limit ? 1 : 2);
        size = !runs ? size : limit ? limit + 1 : 0;
        const int64_t *row = size ? row_of(reader, size, 1, 1 << DCN_TOTAL_BITS) : NULL;
        if (size && !row)
            return NULL;
        for (size_t k = 0; k < size; k++)
            made[at++] = (uint32_t)row[k];
    }
    return made;
}

/* A table of qualities: each row is what differs from the row before. The model keeps it; NULL with nothing kept. */
static uint8_t *quality_table(reader *reader, int columns, int low, int high)
{
    size_t width = (size_t)columns;
    uint8_t *made = dcn_allocate(DCN_QUALITIES * width, 1);
    reader->short_of_memory |= !made;
    for (size_t q = 0; made && q < DCN_QUALITIES; q++) {
        const int64_t *row = row_of(reader, width, -255, 255);
        for (size_t c = 0; c < width; c++) {
            int64_t value = row ? row[c] + (q ? made[(q - 1) * width + c] : 0) : -1;
            if (value < low || value > high) {
                dcn_release(made);
                reader->rice.failed = 1;
                return NULL;
            }
            made[q * width + c] = (uint8_t)value;
        }
    }
    return made;
}

static int read_qualities(reader *reader, dcn_model *model)
{
    const int64_t *levels = row_of(reader, DCN_LEVELS, 0, LARGEST_STEP);
    int64_t bits = 0;
    for (int i = 0; levels && i < DCN_LEVELS; i++) {
        bits += levels[i]; /* the bits of positive floats ascend as they do */
        if (bits < 1 || bits > LARGEST_STEP)
            return -1;
        uint32_t word = (uint32_t)bits;
        memcpy(&model->step_levels[i], &word, sizeof word);
    }
    if (!levels)
        return -1;
    model->step_index = quality_table(reader, reader->sizes.channels, 0, 255);
    if (model->step_index)
        model->class_offset = quality_table(reader, reader->sizes.channels, 0, 255);
    if (model->class_offset)
        model->hyper_multiplier = quality_table(reader, reader->sizes.hyper, 1, 255);
    if (model->hyper_multiplier)
        model->hyper_class = quality_table(reader, reader->sizes.hyper, 1, DCN_SCALES - 1);
    return model->hyper_class ? 0 : -1;
}

/* ---- entropy model ---- */

static int read_context(reader *reader, const dcn_entropy_tensors *tensors, int known, int channels,
                        dcn_context_tensors *context)
{
    size_t width = (size_t)tensors->context_width, mixed = (size_t)tensors->mixed_width;
    if (!(context->hidden_weight = int8_tensor(reader, width, 3 * (size_t)known)) ||
        !(context->hidden_bias = int32_tensor(reader, 1, width)))
        return -1;
    if (mixed &&
        (!(context->mixed_weight = int8_tensor(reader, mixed, width)) ||
         !(context->below_weight = int8_tensor(reader, DCN_PLACES * mixed, (size_t)tensors->class_width)) ||
         !(context->mixed_bias = int32_tensor(reader, 1, mixed))))
        return -1;
    context->out_weight = int8_tensor(reader, (size_t)channels, mixed ? mixed : width);
    return context->out_weight ? 0 : -1;
}

static int read_entropy(reader *reader, dcn_entropy_tensors *tensors)
{
    size_t width = (size_t)tensors->class_width, hyper = (size_t)tensors->hyper;
    if (!(tensors->radius = uint8_tensor(reader, 1, DCN_SCALES)) ||
        !(tensors->runs = uint16_tensor(reader, 1, DCN_SCALES)) ||
        !(tensors->magnitude = uint8_tensor(reader, 1, DCN_MAGNITUDES)) ||
        !(tensors->counts = counts_tensor(reader, tensors, 0)) ||
        !(tensors->run_counts = counts_tensor(reader, tensors, 1)) ||
        !(tensors->scale_hidden_weight = int8_tensor(reader, DCN_PLACES * width, 9 * hyper)) ||
        !(tensors->scale_hidden_bias = int32_tensor(reader, 1, DCN_PLACES * width)) ||
        !(tensors->scale_out_weight = int8_tensor(reader, DCN_PLACES * (size_t)tensors->channels, width)))
        return -1;
    int before = 0;
    for (int i = 0; i < tensors->groups; i++) {
        dcn_group_tensors *group = &tensors->group[i];
        int end = before + group->channels;
        if (i && read_context(reader, tensors, before, group->channels, &group->context))
            return -1;
        if (i < tensors->halves && read_context(reader, tensors, end, group->channels, &group->non_anchors))
            return -1;
        before = end;
    }
    return 0;
}

static dcn_status make_entropy(reader *reader, dcn_model *model, dcn_error *error)
{
    const sizes *sizes = &reader->sizes;
    dcn_entropy_tensors tensors = {.channels = sizes->channels,
                                   .hyper = sizes->hyper,
                                   .class_width = sizes->class_width,
                                   .context_width = sizes->context_width,
                                   .mixed_width = sizes->mixed_width,
                                   .groups = sizes->groups,
                                   .halves = sizes->halves};
    for (int i = 0; i < sizes->groups; i++)
        tensors.group[i].channels = sizes->group[i];
    if (!dcn_entropy_sizes_fit(&tensors))
        return dcn_fail(error, DCN_BAD_MODEL, "%s", dcn_model_fault_text(DCN_MODEL_SIZES));
    if (read_entropy(reader, &tensors))
        return DCN_BAD_MODEL;
    dcn_model_fault fault = dcn_entropy_model_new(&tensors, &model->entropy);
    if (fault == DCN_MODEL_NO_MEMORY)
        reader->short_of_memory = 1;
    return fault ? dcn_fail(error, DCN_BAD_MODEL, "%s", dcn_model_fault_text(fault)) : DCN_OK;
}

/* ---- hyper synthesis and synthesis ---- */

static int read_layer(reader *reader, int inputs, int outputs, int side, dcn_layer *layer)
{
    size_t out = (size_t)outputs, depth = (size_t)(side * side) * (size_t)inputs;
    *layer = (dcn_layer){inputs, outputs, side, NULL, NULL, NULL};
    if (inputs < 1 || outputs < 1)
        return -1;
    return (layer->weights = int16_tensor(reader, out, depth)) && (layer->bias = int32_tensor(reader, 1, out)) &&
                   (layer->shift = uint8_tensor(reader, 1, out))
               ? 0
               : -1;
}

static dcn_status made(reader *reader, dcn_status status, const char *what, dcn_error *error)
{
    if (status == DCN_OUT_OF_MEMORY)
        reader->short_of_memory = 1;
    return status == DCN_OK ? DCN_OK
                            : dcn_fail(error, status, "layers of the %s do not fit, or a sum could leave 32 bits", what);
}

static dcn_status make_mean(reader *reader, const uint8_t *exponent, dcn_model *model, dcn_error *error)
{
    const sizes *sizes = &reader->sizes;
    dcn_layer layers[3], near[DCN_MOST_HALVES][2];
    if (read_layer(reader, sizes->hyper, 4 * sizes->mean_width[0], 3, &layers[0]) ||
        read_layer(reader, sizes->mean_width[0], 4 * sizes->mean_width[1], 3, &layers[1]) ||
        read_layer(reader, sizes->mean_width[1], sizes->channels, 1, &layers[2]))
        return DCN_BAD_MODEL;
    for (int i = 0; i < sizes->halves; i++)
        if (read_layer(reader, 4 * sizes->group[i], sizes->context_width, 1, &near[i][0]) ||
            read_layer(reader, sizes->context_width, sizes->group[i], 1, &near[i][1]))
            return DCN_BAD_MODEL;
    return made(reader, dcn_mean_new(layers, near, sizes->halves, exponent, &model->mean), "hyper synthesis", error);
}

static dcn_status make_synthesis(reader *reader, const uint8_t *exponent, dcn_model *model, dcn_error *error)
{
    const sizes *sizes = &reader->sizes;
    dcn_synthesis_layers layers = {.latents = sizes->channels, .width = sizes->width, .layers = sizes->layers,
                                   .first = sizes->first, .exponent = exponent};
    if (sizes->layers > DCN_MOST_LAYERS ||
        (sizes->predicted && read_layer(reader, sizes->known, sizes->predicted, 3, &layers.prediction)) ||
        read_layer(reader, sizes->channels, 16 * sizes->width, 1, &layers.up))
        return DCN_BAD_MODEL;
    for (int i = 0; i < sizes->layers; i++)
        if (read_layer(reader, sizes->width, sizes->hidden, 3, &layers.residual[i][0]) ||
            read_layer(reader, sizes->hidden, sizes->width, 1, &layers.residual[i][1]))
            return DCN_BAD_MODEL;
    if (read_layer(reader, sizes->width, 48, 3, &layers.last))
        return DCN_BAD_MODEL;
    return made(reader, dcn_synthesis_new(&layers, &model->synthesis), "synthesis", error);
}

/* ---- the file ---- */

/* Reads the header. The sizes of the networks are checked where they are created. */
static dcn_status read_head(const uint8_t *data, size_t size, dcn_model *model, reader *reader, dcn_error *error)
{
    if (size < sizeof MAGIC || memcmp(data, MAGIC, sizeof MAGIC))
        return dcn_fail(error, DCN_BAD_MODEL, "not a .dcnm model file: it begins with other bytes than 8a 44 43 4d");
    if (size < FIXED + CRC)
        return dcn_fail(error, DCN_BAD_MODEL, "model file cut off in the header: %zu bytes", size);
    if (data[4] != VERSION)
        return dcn_fail(error, DCN_BAD_MODEL, "model file version %d at byte 4; this libdcn reads %d", data[4], VERSION);
    size_t name = data[5];
    if (name > size - FIXED - CRC || !dcn_name_is_good(data + FIXED, name))
        return dcn_fail(error, DCN_BAD_MODEL, "the name in the model file at byte %d is not one of a bundle", FIXED);
    if (dcn_crc32(data, size - CRC) != dcn_u32(data + size - CRC))
        return dcn_fail(error, DCN_BAD_MODEL, "checksum of the model file at byte %zu differs: it is damaged", size - CRC);
    memcpy(model->name, data + FIXED, name);
    memcpy(model->id, data + 8, DCN_ID_BYTES);
    sizes *sizes = &reader->sizes;
    int *const fields[] = {&sizes->channels, &sizes->hyper,  &sizes->class_width,   &sizes->tile,
                           &sizes->context_width, &sizes->mixed_width, &sizes->width, &sizes->layers,
                           &sizes->hidden, &sizes->first, &sizes->known, &sizes->predicted,
                           &sizes->mean_width[0], &sizes->mean_width[1]};
    int count = (int)(sizeof fields / sizeof *fields);
    for (int i = 0; i < count; i++) {
        *fields[i] = (int)dcn_u16(data + 16 + 2 * i);
        if (*fields[i] > DCN_MOST_CHANNELS)
            return dcn_fail(error, DCN_BAD_MODEL, "size %d at byte %d of the model file; at most %d expected", *fields[i],
                            16 + 2 * i, DCN_MOST_CHANNELS);
    }
    sizes->groups = data[6], sizes->halves = data[7];
    for (int i = 0; i < DCN_MOST_GROUPS; i++)
        sizes->group[i] = (int)dcn_u16(data + 44 + 2 * i);
    if (dcn_u32(data + 60))
        return dcn_fail(error, DCN_BAD_MODEL, "reserved bytes at byte 60 of the model file are not 0");
    if (sizes->tile < 16 || sizes->tile > 512 || sizes->tile % 4)
        return dcn_fail(error, DCN_BAD_MODEL, "coding tiles of %d latents; a multiple of 4 in 16..512 expected", sizes->tile);
    model->tile = sizes->tile;
    reader->rice = (dcn_rice){.bytes = data + FIXED + name, .size = size - FIXED - name - CRC};
    return DCN_OK;
}

static dcn_status read_model(reader *reader, dcn_model *model, dcn_error *error)
{
    if (read_qualities(reader, model))
        return DCN_BAD_MODEL;
    dcn_status status = make_entropy(reader, model, error);
    if (status != DCN_OK)
        return status;
    const uint8_t *exponent = uint8_tensor(reader, 1, (size_t)reader->sizes.channels);
    if (!exponent)
        return DCN_BAD_MODEL;
    status = make_mean(reader, exponent, model, error);
    if (status == DCN_OK)
        status = make_synthesis(reader, exponent, model, error);
    if (status == DCN_OK && !dcn_rice_at_end(&reader->rice))
        return dcn_fail(error, DCN_BAD_MODEL, "the model file has more bits than its tensors");
    return status;
}

dcn_status dcn_model_open(const void *bytes, size_t size, dcn_model **opened, dcn_error *error)
{
    if (!bytes || !opened)
        return dcn_fail(error, DCN_BAD_ARGUMENT, "NULL given for a model");
    *opened = NULL;
    dcn_model *model = dcn_allocate_zeroed(1, sizeof *model);
    if (model)
        dcn_memory_hold();
    reader *reader = dcn_allocate_zeroed(1, sizeof *reader);
    dcn_status status = DCN_OUT_OF_MEMORY;
    if (model && reader) {
        status = read_head(bytes, size, model, reader, error);
        if (status == DCN_OK) {
            dcn_fail(error, DCN_BAD_MODEL, "the model file is cut off, or holds a value out of its range");
            status = read_model(reader, model, error);
        }
        if (reader->short_of_memory)
            status = DCN_OUT_OF_MEMORY;
    }
    if (status == DCN_OUT_OF_MEMORY)
        dcn_fail(error, status, "no memory for the model");
    while (reader && reader->tensors)
        dcn_release(reader->tensor[--reader->tensors]);
    if (reader)
        dcn_release(reader->row);
    dcn_release(reader);
    if (status == DCN_OK) {
        dcn_fail(error, DCN_OK, "%s", "");
        *opened = model;
    } else {
        dcn_model_close(model);
    }
    return status;
}

void dcn_model_close(dcn_model *model)
{
    if (!model)
        return;
    dcn_memory_drop();
    dcn_entropy_model_free(model->entropy);
    dcn_mean_free(model->mean);
    dcn_synthesis_free(model->synthesis);
    dcn_release(model->step_index), dcn_release(model->class_offset);
    dcn_release(model->hyper_multiplier), dcn_release(model->hyper_class);
    dcn_release(model);
}

const char *dcn_model_name(const dcn_model *model)
{
    return model->name;
}

const uint8_t *dcn_model_id(const dcn_model *model)
{
    return model->id;
}

const char *dcn_kernels_in_use(void)
{
    return dcn_kernels_name(dcn_best_kernels());
}
