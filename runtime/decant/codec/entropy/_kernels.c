/* decant.codec.entropy._kernels: the entropy decoder of runtime/libdcn for Python. Sizes of all buffers are checked
 * here; the interpreter's lock is released while a stream is decoded. decant.codec.layout says the same with numpy and
 * constriction; tests hold that both give the same symbols and refuse the same streams.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "checkerboard.h"
#include "tile.h"

static const char CAPSULE[] = "decant.codec.entropy._kernels.Tables";

enum { MOST_COPIES = 16 + 16 * DCN_MOST_GROUPS };

/* An entropy model, and the float mean contexts of its groups in halves with the copies of their weights. */
typedef struct {
    dcn_entropy_model *model;
    dcn_checkerboard near[DCN_MOST_GROUPS];
    void *weights[4 * DCN_MOST_GROUPS];
    int count;
} tables;

static void free_tables(tables *tables)
{
    dcn_entropy_model_free(tables->model);
    while (tables->count)
        free(tables->weights[--tables->count]);
    free(tables);
}

static void destroy(PyObject *capsule)
{
    free_tables(PyCapsule_GetPointer(capsule, CAPSULE));
}

/* ---- buffers ---- */

/* The bytes of `object`, of which there must be `size`; any number where it is negative. */
static int view_of(PyObject *object, Py_ssize_t size, int flags, Py_buffer *view)
{
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | flags) < 0)
        return -1;
    if (size < 0 || view->len == size)
        return 0;
    PyErr_Format(PyExc_ValueError, "a buffer of %zd bytes; %zd expected", view->len, size);
    PyBuffer_Release(view);
    return -1;
}

/* A copy of `count` elements of `element` bytes: what is checked is what is used, whatever other threads write. NULL
 * with an exception. */
static void *copy_of(PyObject *object, uint64_t count, size_t element)
{
    Py_buffer view;
    if (count > (uint64_t)PY_SSIZE_T_MAX / 8 || view_of(object, (Py_ssize_t)(count * element), 0, &view)) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ValueError, "more numbers than memory holds");
        return NULL;
    }
    void *copy = malloc(view.len ? (size_t)view.len : 1);
    if (copy)
        memcpy(copy, view.buf, (size_t)view.len);
    else
        PyErr_NoMemory();
    PyBuffer_Release(&view);
    return copy;
}

/* Floats that are written to, where the processor writes such numbers. */
static int floats_of(PyObject *object, uint64_t count, Py_buffer *view)
{
    if (count > (uint64_t)PY_SSIZE_T_MAX / 4)
        return PyErr_SetString(PyExc_ValueError, "more numbers than memory holds"), -1;
    if (view_of(object, (Py_ssize_t)(4 * count), PyBUF_WRITABLE, view))
        return -1;
    if ((uintptr_t)view->buf % sizeof(float) == 0)
        return 0;
    PyErr_SetString(PyExc_ValueError, "a buffer that is not aligned");
    PyBuffer_Release(view);
    return -1;
}

/* The view of a stream, which is of whole words. */
static int stream_of(PyObject *object, Py_buffer *view)
{
    if (view_of(object, -1, 0, view))
        return -1;
    if (view->len % 4 == 0)
        return 0;
    PyErr_SetString(PyExc_ValueError, "a stream that is not of whole words");
    PyBuffer_Release(view);
    return -1;
}

/* ---- tables ---- */

/* Copies that are freed together. */
typedef struct {
    void *copy[MOST_COPIES];
    int count;
} copies;

static const void *keep(copies *copies, PyObject *object, size_t count, size_t element)
{
    return copies->copy[copies->count++] = copy_of(object, count, element);
}

/* hidden_weight, hidden_bias, out_weight, and where there is a second layer mixed_weight, below_weight, mixed_bias. */
static int context_of(copies *copies, const dcn_entropy_tensors *tensors, int known, int channels, PyObject *weights,
                      dcn_context_tensors *context)
{
    PyObject *hidden, *bias, *out, *mixed = NULL, *below = NULL, *mixed_bias = NULL;
    size_t width = (size_t)tensors->context_width, second = (size_t)tensors->mixed_width;
    size_t seen = second ? second : width;
    if (!PyTuple_Check(weights) || tensors->context_width < 1)
        return PyErr_SetString(PyExc_ValueError, "a context without weights, or without a width"), -1;
    if (!PyArg_ParseTuple(weights, second ? "OOOOOO" : "OOO", &hidden, &bias, &out, &mixed, &below, &mixed_bias))
        return -1;
    if (!(context->hidden_weight = keep(copies, hidden, width * 3 * (size_t)known, 1)) ||
        !(context->hidden_bias = keep(copies, bias, width, 4)) ||
        !(context->out_weight = keep(copies, out, seen * (size_t)channels, 1)))
        return -1;
    if (second && (!(context->mixed_weight = keep(copies, mixed, second * width, 1)) ||
                   !(context->below_weight =
                         keep(copies, below, DCN_PLACES * second * (size_t)tensors->class_width, 1)) ||
                   !(context->mixed_bias = keep(copies, mixed_bias, second, 4))))
        return -1;
    return 0;
}

static int near_of(tables *tables, const dcn_entropy_tensors *tensors, int channels, PyObject *weights,
                   dcn_checkerboard *near)
{
    PyObject *given[4];
    if (!PyTuple_Check(weights))
        return PyErr_SetString(PyExc_ValueError, "groups in halves without mean contexts"), -1;
    if (!PyArg_ParseTuple(weights, "OOOO", &given[0], &given[1], &given[2], &given[3]))
        return -1;
    size_t width = (size_t)tensors->context_width, count = (size_t)channels;
    const size_t sizes[4] = {width * 4 * count, width, count * width, count};
    const float *found[4];
    for (int i = 0; i < 4; i++)
        if (!(found[i] = tables->weights[tables->count] = copy_of(given[i], sizes[i], sizeof(float))))
            return -1;
        else
            tables->count++;
    *near = (dcn_checkerboard){channels, tensors->context_width, found[0], found[1], found[2], found[3]};
    return 0;
}

/* Channel groups as (channels, context, non-anchor context, float mean context), None where there is none: the first
 * has no context, and only the first ones have the others. */
static int groups_of(tables *tables, copies *copies, PyObject *given, dcn_entropy_tensors *tensors)
{
    int before = 0;
    tensors->groups = (int)PyTuple_Size(given);
    if (tensors->groups < 1 || tensors->groups > DCN_MOST_GROUPS)
        return PyErr_SetString(PyExc_ValueError, "1 to 8 channel groups expected"), -1;
    for (int i = 0; i < tensors->groups; i++) {
        dcn_group_tensors *group = &tensors->group[i];
        PyObject *context, *half, *near, *item = PyTuple_GetItem(given, i);
        if (!PyTuple_Check(item))
            return PyErr_SetString(PyExc_ValueError, "a channel group that is no tuple"), -1;
        if (!PyArg_ParseTuple(item, "iOOO", &group->channels, &context, &half, &near))
            return -1;
        if (group->channels < 1 || group->channels > tensors->channels - before)
            return PyErr_SetString(PyExc_ValueError, "a group without channels, or of more than there are"), -1;
        int end = before + group->channels;
        if (i && context_of(copies, tensors, before, group->channels, context, &group->context))
            return -1;
        if (half != Py_None) {
            if (tensors->halves++ != i)
                return PyErr_SetString(PyExc_ValueError, "a group in halves after one without"), -1;
            if (context_of(copies, tensors, end, group->channels, half, &group->non_anchors) ||
                near_of(tables, tensors, group->channels, near, &tables->near[i]))
                return -1;
        }
        before = end;
    }
    return 0;
}

static int widths_are_possible(const dcn_entropy_tensors *tensors)
{
    const int widths[] = {tensors->channels, tensors->hyper, tensors->class_width};
    int possible = tensors->context_width >= 0 && tensors->context_width <= DCN_MOST_WIDTH &&
                   tensors->mixed_width >= 0 && tensors->mixed_width <= DCN_MOST_WIDTH;
    for (int i = 0; i < 3; i++)
        possible &= widths[i] >= 1 && widths[i] <= DCN_MOST_WIDTH;
    if (!possible)
        PyErr_SetString(PyExc_ValueError, "a width is out of range");
    return possible;
}

/* Copies what `arguments` hold into `tensors`. */
static int tensors_of(tables *tables, copies *copies, PyObject *arguments, dcn_entropy_tensors *tensors)
{
    PyObject *radius, *runs, *counts, *run_counts, *hidden, *bias, *weight, *magnitude, *groups;
    if (!PyArg_ParseTuple(arguments, "OOOOiiiiiOOOOO!", &radius, &runs, &counts, &run_counts, &tensors->channels,
                          &tensors->hyper, &tensors->class_width, &tensors->context_width, &tensors->mixed_width,
                          &hidden, &bias, &weight, &magnitude, &PyTuple_Type, &groups) ||
        !widths_are_possible(tensors) || !(tensors->radius = keep(copies, radius, DCN_SCALES, 1)) ||
        !(tensors->runs = keep(copies, runs, DCN_SCALES, 2)))
        return -1;
    size_t width = (size_t)tensors->class_width, count, run_count;
    dcn_entropy_counts_of(tensors, &count, &run_count);
    if (!(tensors->counts = keep(copies, counts, count, 4)) ||
        !(tensors->run_counts = keep(copies, run_counts, run_count, 4)) ||
        !(tensors->scale_hidden_weight = keep(copies, hidden, DCN_PLACES * width * 9 * (size_t)tensors->hyper, 1)) ||
        !(tensors->scale_hidden_bias = keep(copies, bias, DCN_PLACES * width, 4)) ||
        !(tensors->scale_out_weight = keep(copies, weight, DCN_PLACES * width * (size_t)tensors->channels, 1)) ||
        !(tensors->magnitude = keep(copies, magnitude, DCN_MAGNITUDES, 1)))
        return -1;
    return groups_of(tables, copies, groups, tensors);
}

static PyObject *py_tables(PyObject *module, PyObject *arguments)
{
    (void)module;
    dcn_entropy_tensors tensors = {0};
    copies copies = {.count = 0};
    PyObject *capsule = NULL;
    tables *tables = calloc(1, sizeof *tables);
    if (!tables)
        return PyErr_NoMemory();
    if (!tensors_of(tables, &copies, arguments, &tensors)) {
        dcn_model_fault fault = dcn_entropy_model_new(&tensors, &tables->model);
        if (fault == DCN_MODEL_NO_MEMORY)
            PyErr_NoMemory();
        else if (fault)
            PyErr_SetString(PyExc_ValueError, dcn_model_fault_text(fault));
        else
            capsule = PyCapsule_New(tables, CAPSULE, destroy);
    }
    while (copies.count)
        free(copies.copy[--copies.count]);
    if (!capsule)
        free_tables(tables);
    return capsule;
}

/* ---- streams ---- */

/* None, or (fault, numbers) */
static PyObject *result_of(const dcn_stream_result *result)
{
    if (result->fault == DCN_STREAM_NO_MEMORY)
        return PyErr_NoMemory();
    if (result->fault == DCN_STREAM_GOOD)
        Py_RETURN_NONE;
    return Py_BuildValue("i(LLL)", (int)result->fault, (long long)result->numbers[0], (long long)result->numbers[1],
                         (long long)result->numbers[2]);
}

static void as_floats(const int16_t *symbols, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (float)symbols[i];
}

/* Decodes a tile and what its anchors add to means. */
static void decode_tile(const tables *tables, const dcn_tile *tile, const float *step, float *out, float *added,
                        dcn_stream_result *result)
{
    const dcn_entropy_model *model = tables->model;
    size_t area = (size_t)tile->rows * (size_t)tile->columns, size = area * (size_t)model->channels, first = 0;
    int16_t *symbols = calloc(size, sizeof *symbols);
    if (!symbols) {
        dcn_stream_refuse(result, DCN_STREAM_NO_MEMORY, 0, 0, 0);
        return;
    }
    if (!dcn_decode_tile(model, tile, symbols, result)) {
        as_floats(symbols, size, out);
        for (int i = 0; i < model->halves; first += (size_t)tables->near[i++].channels)
            if (dcn_checkerboard_add(&tables->near[i], symbols + first * area, step + first, tile->rows, tile->columns,
                                     added + first * area))
                dcn_stream_refuse(result, DCN_STREAM_NO_MEMORY, 0, 0, 0);
    }
    free(symbols);
}

/* Copies of the hyperlatents and the offsets of a tile, whose bounds are checked here. */
static int inputs_of(const dcn_entropy_model *model, PyObject *hyper, PyObject *offset, dcn_tile *tile, copies *copies)
{
    size_t count = (size_t)model->hyper * (size_t)tile->hyper_rows * (size_t)tile->hyper_columns;
    if (!(tile->v = keep(copies, hyper, count, 4)) ||
        !(tile->offset = keep(copies, offset, (size_t)model->channels, 4)))
        return -1;
    for (int c = 0; c < model->channels; c++)
        if (tile->offset[c] > DCN_LARGEST_OFFSET || tile->offset[c] < -DCN_LARGEST_OFFSET)
            return PyErr_SetString(PyExc_ValueError, "an offset beyond 2^17"), -1;
    return 0;
}

static PyObject *py_decode_group(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *capsule, *stream, *hyper, *offset, *step, *out, *added, *result = NULL;
    dcn_tile tile = {0};
    if (!PyArg_ParseTuple(arguments, "OOO(iiii)OO(ii)OO", &capsule, &stream, &hyper, &tile.hyper_rows,
                          &tile.hyper_columns, &tile.top, &tile.left, &offset, &step, &tile.rows, &tile.columns, &out,
                          &added))
        return NULL;
    const tables *tables = PyCapsule_GetPointer(capsule, CAPSULE);
    if (!tables)
        return NULL;
    const dcn_entropy_model *model = tables->model;
    tile.groups = model->groups;
    if (!dcn_tile_fits(model, &tile))
        return PyErr_SetString(PyExc_ValueError, "a tile that the hyperlatents do not cover, or too large"), NULL;
    uint64_t area = (uint64_t)tile.rows * (uint64_t)tile.columns, halved = (uint64_t)model->halved;
    copies copies = {.count = 0};
    Py_buffer view, symbols, means;
    if (stream_of(stream, &view))
        return NULL;
    const float *steps = keep(&copies, step, halved, sizeof(float));
    if (!steps || inputs_of(model, hyper, offset, &tile, &copies) ||
        floats_of(out, area * (uint64_t)model->channels, &symbols))
        goto no_symbols;
    if (floats_of(added, area * halved, &means))
        goto no_means;
    tile.stream = view.buf, tile.size = (size_t)view.len;
    dcn_stream_result outcome = {DCN_STREAM_GOOD, {0}};
    Py_BEGIN_ALLOW_THREADS
    decode_tile(tables, &tile, steps, symbols.buf, means.buf, &outcome);
    Py_END_ALLOW_THREADS
    result = result_of(&outcome);
    PyBuffer_Release(&means);
no_means:
    PyBuffer_Release(&symbols);
no_symbols:
    PyBuffer_Release(&view);
    while (copies.count)
        free(copies.copy[--copies.count]);
    return result;
}

/* A copy of the scale indices of `object`, each below DCN_SCALES. NULL with an exception. */
static uint8_t *scales_of(PyObject *object, size_t *count)
{
    Py_buffer view;
    if (view_of(object, -1, 0, &view))
        return NULL;
    *count = (size_t)view.len;
    PyBuffer_Release(&view);
    if (*count > INT32_MAX)
        return PyErr_SetString(PyExc_ValueError, "more than 2^31 scale indices"), NULL;
    uint8_t *scales = copy_of(object, *count, 1), all = 0;
    for (size_t i = 0; scales && i < *count; i++)
        all |= scales[i];
    if (all < DCN_SCALES)
        return scales;
    free(scales);
    return PyErr_SetString(PyExc_ValueError, "class beyond 31"), NULL;
}

static void decode_part(const tables *tables, const Py_buffer *stream, const uint8_t *scales, size_t count, float *out,
                        dcn_stream_result *result)
{
    int16_t *symbols = calloc(count ? count : 1, sizeof *symbols);
    if (!symbols) {
        dcn_stream_refuse(result, DCN_STREAM_NO_MEMORY, 0, 0, 0);
        return;
    }
    dcn_coder coder = dcn_coder_of(stream->buf, (size_t)stream->len);
    if (!dcn_decode_part(&tables->model->symbols, &coder, scales, count, symbols, result)) {
        if (!dcn_coder_ended(&coder))
            dcn_stream_refuse(result, DCN_STREAM_NOT_ENDED, 0, 0, 0);
        as_floats(symbols, count, out);
    }
    free(symbols);
}

static PyObject *py_decode_part(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *capsule, *bytes, *given, *symbols, *result = NULL;
    if (!PyArg_ParseTuple(arguments, "OOOO", &capsule, &bytes, &given, &symbols))
        return NULL;
    const tables *tables = PyCapsule_GetPointer(capsule, CAPSULE);
    if (!tables)
        return NULL;
    Py_buffer stream, out;
    if (stream_of(bytes, &stream))
        return NULL;
    size_t count;
    uint8_t *scales = scales_of(given, &count);
    if (scales && !floats_of(symbols, count, &out)) {
        dcn_stream_result outcome = {DCN_STREAM_GOOD, {0}};
        Py_BEGIN_ALLOW_THREADS
        decode_part(tables, &stream, scales, count, out.buf, &outcome);
        Py_END_ALLOW_THREADS
        result = result_of(&outcome);
        PyBuffer_Release(&out);
    }
    free(scales);
    PyBuffer_Release(&stream);
    return result;
}

static PyMethodDef METHODS[] = {
    {"tables", py_tables, METH_VARARGS, "The tables of a bundle, as the decoder holds them."},
    {"decode_group", py_decode_group, METH_VARARGS, "Decode the stream of a tile into zeros; None or what is wrong."},
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
