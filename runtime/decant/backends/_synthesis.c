/* decant.backends._synthesis: the integer synthesis of runtime/libdcn for Python. Sizes of all buffers are checked here; the
 * interpreter's lock is released while a picture is computed. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include "synthesis.h"

static const char SYNTHESIS[] = "decant.backends._synthesis.Synthesis", MEAN[] = "decant.backends._synthesis.Mean";

static int view_of(PyObject *object, Py_ssize_t size, int flags, Py_buffer *view)
{
    if (PyObject_GetBuffer(object, view, flags | PyBUF_C_CONTIGUOUS))
        return -1;
    if (view->len == size)
        return 0;
    PyErr_Format(PyExc_ValueError, "%zd bytes given; %zd expected", view->len, size);
    PyBuffer_Release(view);
    return -1;
}

/* The buffers of up to this many layers and of their exponents are held while a network is built. */
enum { MOST_VIEWS = 3 * (3 + 2 * (DCN_MOST_LAYERS + DCN_MOST_HALVES)) + 1 };

typedef struct {
    Py_buffer view[MOST_VIEWS];
    int count;
} held;

static const void *hold(held *held, PyObject *object, Py_ssize_t size)
{
    if (held->count == MOST_VIEWS || view_of(object, size, PyBUF_SIMPLE, &held->view[held->count]))
        return NULL;
    return held->view[held->count++].buf;
}

static void release(held *held)
{
    while (held->count)
        PyBuffer_Release(&held->view[--held->count]);
}

/* (inputs, outputs, side, weights, bias, shift) -> a layer. */
static int layer_of(held *held, PyObject *tuple, dcn_layer *layer)
{
    PyObject *weights, *bias, *shift;
    if (!PyTuple_Check(tuple)) {
        PyErr_SetString(PyExc_TypeError, "a layer is a tuple (inputs, outputs, side, weights, bias, shift)");
        return -1;
    }
    if (!PyArg_ParseTuple(tuple, "iiiOOO", &layer->inputs, &layer->outputs, &layer->side, &weights, &bias, &shift))
        return -1;
    if (layer->inputs < 1 || layer->inputs > DCN_MOST_CHANNELS || layer->outputs < 1 ||
        layer->outputs > DCN_MOST_CHANNELS || layer->side < 1 || layer->side > 3) {
        PyErr_SetString(PyExc_ValueError, "a layer's sizes are out of range");
        return -1;
    }
    Py_ssize_t size = (Py_ssize_t)layer->inputs * layer->outputs * layer->side * layer->side;
    return (layer->weights = hold(held, weights, 2 * size)) && (layer->bias = hold(held, bias, 4 * layer->outputs)) &&
                   (layer->shift = hold(held, shift, layer->outputs))
               ? 0
               : -1;
}

static PyObject *failed(dcn_status status)
{
    if (status == DCN_OUT_OF_MEMORY)
        return PyErr_NoMemory();
    PyErr_SetString(PyExc_ValueError, "the layers do not fit together, or a sum could leave 32 bits");
    return NULL;
}

static void destroy_synthesis(PyObject *capsule)
{
    dcn_synthesis_free(PyCapsule_GetPointer(capsule, SYNTHESIS));
}

static void destroy_mean(PyObject *capsule)
{
    dcn_mean_free(PyCapsule_GetPointer(capsule, MEAN));
}

static PyObject *py_synthesis(PyObject *module, PyObject *arguments)
{
    (void)module;
    dcn_synthesis_layers layers = {0};
    PyObject *exponent, *prediction, *up, *last, *residual;
    if (!PyArg_ParseTuple(arguments, "iiiOOOOO", &layers.latents, &layers.width, &layers.first, &exponent,
                          &prediction, &up, &last, &residual))
        return NULL;
    held held = {.count = 0};
    PyObject *made = NULL;
    if (layers.latents < 1 || layers.latents > DCN_MOST_CHANNELS || !PyTuple_Check(residual) ||
        PyTuple_Size(residual) > 2 * DCN_MOST_LAYERS || PyTuple_Size(residual) % 2) {
        PyErr_SetString(PyExc_ValueError, "sizes of the synthesis are out of range");
        return NULL;
    }
    layers.layers = (int)PyTuple_Size(residual) / 2;
    if (!(layers.exponent = hold(&held, exponent, layers.latents)) || layer_of(&held, up, &layers.up) ||
        layer_of(&held, last, &layers.last) ||
        (prediction != Py_None && layer_of(&held, prediction, &layers.prediction)))
        goto out;
    for (int i = 0; i < 2 * layers.layers; i++)
        if (layer_of(&held, PyTuple_GetItem(residual, i), &layers.residual[i / 2][i % 2]))
            goto out;
    dcn_synthesis *net;
    dcn_status status = dcn_synthesis_new(&layers, &net);
    made = status == DCN_OK ? PyCapsule_New(net, SYNTHESIS, destroy_synthesis) : failed(status);
    if (status == DCN_OK && !made)
        dcn_synthesis_free(net);
out:
    release(&held);
    return made;
}

static PyObject *py_mean(PyObject *module, PyObject *arguments)
{
    (void)module;
    dcn_layer layers[3], near[DCN_MOST_HALVES][2];
    PyObject *exponent, *given[3], *contexts;
    if (!PyArg_ParseTuple(arguments, "OOOOO", &exponent, &given[0], &given[1], &given[2], &contexts))
        return NULL;
    if (!PyTuple_Check(contexts) || PyTuple_Size(contexts) > 2 * DCN_MOST_HALVES || PyTuple_Size(contexts) % 2) {
        PyErr_SetString(PyExc_ValueError, "the checkerboard mean contexts are out of range");
        return NULL;
    }
    int halves = (int)PyTuple_Size(contexts) / 2;
    held held = {.count = 0};
    PyObject *made = NULL;
    for (int i = 0; i < 3; i++)
        if (layer_of(&held, given[i], &layers[i]))
            goto out;
    for (int i = 0; i < 2 * halves; i++)
        if (layer_of(&held, PyTuple_GetItem(contexts, i), &near[i / 2][i % 2]))
            goto out;
    const uint8_t *exponents = hold(&held, exponent, layers[2].outputs);
    if (!exponents)
        goto out;
    dcn_mean *net;
    dcn_status status = dcn_mean_new(layers, near, halves, exponents, &net);
    made = status == DCN_OK ? PyCapsule_New(net, MEAN, destroy_mean) : failed(status);
    if (status == DCN_OK && !made)
        dcn_mean_free(net);
out:
    release(&held);
    return made;
}

/* Sides of a grid, so that no size below leaves 63 bits. */
static int sides_fit(int h, int w)
{
    if (h >= 1 && w >= 1 && h <= 1 << 14 && w <= 1 << 14)
        return 1;
    PyErr_Format(PyExc_ValueError, "a grid of %d x %d; 1 to 16384 a side expected", h, w);
    return 0;
}

static PyObject *py_run(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *capsule, *given[3], *output;
    int latents, h, w, threads;
    if (!PyArg_ParseTuple(arguments, "OOOOiiiiO", &capsule, &given[0], &given[1], &given[2], &latents, &h, &w,
                          &threads, &output))
        return NULL;
    const dcn_synthesis *net = PyCapsule_GetPointer(capsule, SYNTHESIS);
    if (!net || !sides_fit(h, w))
        return NULL;
    if (latents != dcn_synthesis_latents(net)) {
        PyErr_SetString(PyExc_ValueError, "another number of latent channels than the synthesis has");
        return NULL;
    }
    Py_buffer view[4];
    Py_ssize_t area = (Py_ssize_t)h * w, floats = (Py_ssize_t)sizeof(float);
    Py_ssize_t sizes[4] = {latents * area * floats, latents * area * floats, latents * floats, area * 768};
    int count = 0;
    PyObject *result = NULL;
    for (; count < 4; count++)
        if (view_of(count < 3 ? given[count] : output, sizes[count], count < 3 ? PyBUF_SIMPLE : PyBUF_WRITABLE,
                    &view[count]))
            goto out;
    dcn_status status;
    Py_BEGIN_ALLOW_THREADS
    status = dcn_synthesis_run(net, view[0].buf, view[1].buf, view[2].buf, h, w, threads, view[3].buf);
    Py_END_ALLOW_THREADS
    result = status == DCN_OK ? Py_NewRef(Py_None) : failed(status);
out:
    while (count)
        PyBuffer_Release(&view[--count]);
    return result;
}

static PyObject *py_run_mean(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *capsule, *given, *output;
    int h, w;
    if (!PyArg_ParseTuple(arguments, "OOiiO", &capsule, &given, &h, &w, &output))
        return NULL;
    const dcn_mean *net = PyCapsule_GetPointer(capsule, MEAN);
    if (!net || !sides_fit(h, w))
        return NULL;
    int hyper, latents, halved;
    dcn_mean_sizes(net, &hyper, &latents, &halved);
    Py_ssize_t area = (Py_ssize_t)h * w * (Py_ssize_t)sizeof(float);
    Py_buffer from, to;
    if (view_of(given, hyper * area, PyBUF_SIMPLE, &from))
        return NULL;
    if (view_of(output, 16 * latents * area, PyBUF_WRITABLE, &to)) {
        PyBuffer_Release(&from);
        return NULL;
    }
    dcn_status status;
    Py_BEGIN_ALLOW_THREADS
    status = dcn_mean_run(net, from.buf, h, w, to.buf);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&from);
    PyBuffer_Release(&to);
    return status == DCN_OK ? Py_NewRef(Py_None) : failed(status);
}

static PyObject *py_add_context(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *capsule, *given[3];
    int h, w;
    if (!PyArg_ParseTuple(arguments, "OOOiiO", &capsule, &given[0], &given[1], &h, &w, &given[2]))
        return NULL;
    const dcn_mean *net = PyCapsule_GetPointer(capsule, MEAN);
    if (!net || !sides_fit(h, w))
        return NULL;
    int hyper, latents, halved;
    dcn_mean_sizes(net, &hyper, &latents, &halved);
    Py_ssize_t channel = (Py_ssize_t)sizeof(float), plane = channel * h * w;
    Py_ssize_t sizes[3] = {halved * plane, halved * channel, halved * plane};
    Py_buffer view[3];
    int count = 0;
    PyObject *result = NULL;
    for (; count < 3; count++)
        if (view_of(given[count], sizes[count], count < 2 ? PyBUF_SIMPLE : PyBUF_WRITABLE, &view[count]))
            goto out;
    dcn_status status;
    Py_BEGIN_ALLOW_THREADS
    status = dcn_mean_add_context(net, view[0].buf, view[1].buf, h, w, view[2].buf);
    Py_END_ALLOW_THREADS
    result = status == DCN_OK ? Py_NewRef(Py_None) : failed(status);
out:
    while (count)
        PyBuffer_Release(&view[--count]);
    return result;
}

static PyObject *py_kernels(PyObject *module, PyObject *arguments)
{
    (void)module, (void)arguments;
    return PyUnicode_FromString(dcn_kernels_name(dcn_best_kernels()));
}

static PyMethodDef METHODS[] = {
    {"synthesis", py_synthesis, METH_VARARGS, "The synthesis of these layers."},
    {"mean", py_mean, METH_VARARGS, "The hyper synthesis of these layers."},
    {"run", py_run, METH_VARARGS, "Symbols, mean and step become pixels."},
    {"run_mean", py_run_mean, METH_VARARGS, "Hyperlatents become means."},
    {"add_context", py_add_context, METH_VARARGS, "Checkerboard mean contexts added to the means of a tile."},
    {"kernels", py_kernels, METH_NOARGS, "The kernels chosen for this processor."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, .m_name = "decant.backends._synthesis", .m_size = 0,
                                    .m_methods = METHODS};

PyMODINIT_FUNC PyInit__synthesis(void)
{
    return PyModule_Create(&MODULE);
}
