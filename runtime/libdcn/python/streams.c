/* Streams of the layout grid. decant.codec.layout says the same with numpy and constriction; tests hold that both give the
 * same symbols and refuse the same streams. */
#include "tables.h"

#include <stdlib.h>

/* Floats that are written to, where the processor writes such numbers. */
static int floats_of(PyObject *object, uint64_t count, Py_buffer *view)
{
    if (count > (uint64_t)PY_SSIZE_T_MAX / 4)
        return PyErr_SetString(PyExc_ValueError, "more numbers than memory holds"), -1;
    if (module_view(object, (Py_ssize_t)(4 * count), PyBUF_WRITABLE, view))
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
    if (module_view(object, -1, 0, view))
        return -1;
    if (view->len % 4 == 0)
        return 0;
    PyErr_SetString(PyExc_ValueError, "a stream that is not of whole words");
    PyBuffer_Release(view);
    return -1;
}

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
static void decode_with_means(const tables *tables, const dcn_tile *tile, const float *step, float *out, float *added,
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
    if (!(tile->v = tables_keep(copies, hyper, count, 4)) ||
        !(tile->offset = tables_keep(copies, offset, (size_t)model->channels, 4)))
        return -1;
    for (int c = 0; c < model->channels; c++)
        if (tile->offset[c] > DCN_LARGEST_OFFSET || tile->offset[c] < -DCN_LARGEST_OFFSET)
            return PyErr_SetString(PyExc_ValueError, "an offset beyond 2^17"), -1;
    return 0;
}

static PyObject *py_decode_tile(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *capsule, *stream, *hyper, *offset, *step, *out, *added, *result = NULL;
    dcn_tile tile = {0};
    if (!PyArg_ParseTuple(arguments, "OOO(iiii)OO(ii)OO", &capsule, &stream, &hyper, &tile.hyper_rows,
                          &tile.hyper_columns, &tile.top, &tile.left, &offset, &step, &tile.rows, &tile.columns, &out,
                          &added))
        return NULL;
    const tables *tables = tables_in(capsule);
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
    const float *steps = tables_keep(&copies, step, halved, sizeof(float));
    if (!steps || inputs_of(model, hyper, offset, &tile, &copies) ||
        floats_of(out, area * (uint64_t)model->channels, &symbols))
        goto no_symbols;
    if (floats_of(added, area * halved, &means))
        goto no_means;
    tile.stream = view.buf, tile.size = (size_t)view.len;
    dcn_stream_result outcome = {DCN_STREAM_GOOD, {0}};
    Py_BEGIN_ALLOW_THREADS
    decode_with_means(tables, &tile, steps, symbols.buf, means.buf, &outcome);
    Py_END_ALLOW_THREADS
    result = result_of(&outcome);
    PyBuffer_Release(&means);
no_means:
    PyBuffer_Release(&symbols);
no_symbols:
    PyBuffer_Release(&view);
    tables_free_copies(&copies);
    return result;
}

/* A copy of the scale indices of `object`, each below DCN_SCALES. NULL with an exception. */
static uint8_t *scales_of(PyObject *object, size_t *count)
{
    Py_buffer view;
    if (module_view(object, -1, 0, &view))
        return NULL;
    *count = (size_t)view.len;
    PyBuffer_Release(&view);
    if (*count > INT32_MAX)
        return PyErr_SetString(PyExc_ValueError, "more than 2^31 scale indices"), NULL;
    uint8_t *scales = tables_copy(object, *count, 1), all = 0;
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
    const tables *tables = tables_in(capsule);
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

PyMethodDef module_streams[] = {
    {"decode_tile", py_decode_tile, METH_VARARGS, "Decode the stream of a tile into zeros; None or what is wrong."},
    {"decode_part", py_decode_part, METH_VARARGS, "Decode a stream of one part into zeros; None or what is wrong."},
    {NULL, NULL, 0, NULL},
};
