/* The networks of the integer synthesis: those of a model file, or made of layers, as bundles of earlier releases have
 * them. Arrays of floats go in and out. */
#include "module.h"

#include "model.h"

static const char SYNTHESIS[] = "decant._libdcn.Synthesis", MEAN[] = "decant._libdcn.Mean";

/* (inputs, outputs, side, weights, bias, shift) -> a layer. */
static int layer_of(module_views *views, PyObject *tuple, dcn_layer *layer)
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
    return (layer->weights = module_hold(views, weights, 2 * size, 0)) && (layer->bias = module_hold(views, bias, 4 * layer->outputs, 0)) &&
                   (layer->shift = module_hold(views, shift, layer->outputs, 0))
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
    module_views views = {.count = 0};
    PyObject *made = NULL;
    if (layers.latents < 1 || layers.latents > DCN_MOST_CHANNELS || !PyTuple_Check(residual) ||
        PyTuple_Size(residual) > 2 * DCN_MOST_LAYERS || PyTuple_Size(residual) % 2) {
        PyErr_SetString(PyExc_ValueError, "sizes of the synthesis are out of range");
        return NULL;
    }
    layers.layers = (int)PyTuple_Size(residual) / 2;
    if (!(layers.exponent = module_hold(&views, exponent, layers.latents, 0)) || layer_of(&views, up, &layers.up) ||
        layer_of(&views, last, &layers.last) ||
        (prediction != Py_None && layer_of(&views, prediction, &layers.prediction)))
        goto out;
    for (int i = 0; i < 2 * layers.layers; i++)
        if (layer_of(&views, PyTuple_GetItem(residual, i), &layers.residual[i / 2][i % 2]))
            goto out;
    dcn_synthesis *net;
    dcn_status status = dcn_synthesis_new(&layers, &net);
    made = status == DCN_OK ? PyCapsule_New(net, SYNTHESIS, destroy_synthesis) : failed(status);
    if (status == DCN_OK && !made)
        dcn_synthesis_free(net);
out:
    module_release(&views);
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
    module_views views = {.count = 0};
    PyObject *made = NULL;
    for (int i = 0; i < 3; i++)
        if (layer_of(&views, given[i], &layers[i]))
            goto out;
    for (int i = 0; i < 2 * halves; i++)
        if (layer_of(&views, PyTuple_GetItem(contexts, i), &near[i / 2][i % 2]))
            goto out;
    const uint8_t *exponents = module_hold(&views, exponent, layers[2].outputs, 0);
    if (!exponents)
        goto out;
    dcn_mean *net;
    dcn_status status = dcn_mean_new(layers, near, halves, exponents, &net);
    made = status == DCN_OK ? PyCapsule_New(net, MEAN, destroy_mean) : failed(status);
    if (status == DCN_OK && !made)
        dcn_mean_free(net);
out:
    module_release(&views);
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

/* The synthesis in a capsule of a model file or of layers; NULL with an exception. */
static const dcn_synthesis *synthesis_in(PyObject *capsule)
{
    const dcn_model *model = module_model_in(capsule);
    return model ? model->synthesis : PyCapsule_GetPointer(capsule, SYNTHESIS);
}

static const dcn_mean *mean_in(PyObject *capsule)
{
    const dcn_model *model = module_model_in(capsule);
    return model ? model->mean : PyCapsule_GetPointer(capsule, MEAN);
}

/* None, or an exception; the views are released. */
static PyObject *ended(module_views *views, dcn_status status)
{
    module_release(views);
    return status == DCN_OK ? Py_NewRef(Py_None) : failed(status);
}

/* `given` arrays of `sizes` bytes, the last of which is written to. */
static int hold_all(module_views *views, PyObject *const *given, const Py_ssize_t *sizes, int count)
{
    for (int i = 0; i < count; i++)
        if (!module_hold(views, given[i], sizes[i], i + 1 < count ? 0 : PyBUF_WRITABLE)) {
            module_release(views);
            return -1;
        }
    return 0;
}

static PyObject *py_run_synthesis(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *capsule, *given[4];
    int latents, h, w, threads;
    if (!PyArg_ParseTuple(arguments, "OOOOiiiiO", &capsule, &given[0], &given[1], &given[2], &latents, &h, &w,
                          &threads, &given[3]))
        return NULL;
    const dcn_synthesis *net = synthesis_in(capsule);
    if (!net || !sides_fit(h, w))
        return NULL;
    if (latents != dcn_synthesis_latents(net)) {
        PyErr_SetString(PyExc_ValueError, "another number of latent channels than the synthesis has");
        return NULL;
    }
    Py_ssize_t area = (Py_ssize_t)h * w, floats = (Py_ssize_t)sizeof(float);
    const Py_ssize_t sizes[4] = {latents * area * floats, latents * area * floats, latents * floats, area * 768};
    module_views views = {.count = 0};
    if (hold_all(&views, given, sizes, 4))
        return NULL;
    const Py_buffer *view = views.view;
    dcn_status status;
    Py_BEGIN_ALLOW_THREADS
    status = dcn_synthesis_run(net, view[0].buf, view[1].buf, view[2].buf, h, w, threads, view[3].buf);
    Py_END_ALLOW_THREADS
    return ended(&views, status);
}

static PyObject *py_run_mean(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *capsule, *given[2];
    int h, w;
    if (!PyArg_ParseTuple(arguments, "OOiiO", &capsule, &given[0], &h, &w, &given[1]))
        return NULL;
    const dcn_mean *net = mean_in(capsule);
    if (!net || !sides_fit(h, w))
        return NULL;
    int hyper, latents, halved;
    dcn_mean_sizes(net, &hyper, &latents, &halved);
    Py_ssize_t area = (Py_ssize_t)h * w * (Py_ssize_t)sizeof(float);
    const Py_ssize_t sizes[2] = {hyper * area, 16 * latents * area};
    module_views views = {.count = 0};
    if (hold_all(&views, given, sizes, 2))
        return NULL;
    dcn_status status;
    Py_BEGIN_ALLOW_THREADS
    status = dcn_mean_run(net, views.view[0].buf, h, w, views.view[1].buf);
    Py_END_ALLOW_THREADS
    return ended(&views, status);
}

static PyObject *py_add_context(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *capsule, *given[3];
    int h, w;
    if (!PyArg_ParseTuple(arguments, "OOOiiO", &capsule, &given[0], &given[1], &h, &w, &given[2]))
        return NULL;
    const dcn_mean *net = mean_in(capsule);
    if (!net || !sides_fit(h, w))
        return NULL;
    int hyper, latents, halved;
    dcn_mean_sizes(net, &hyper, &latents, &halved);
    Py_ssize_t channel = (Py_ssize_t)sizeof(float), plane = channel * h * w;
    const Py_ssize_t sizes[3] = {halved * plane, halved * channel, halved * plane};
    module_views views = {.count = 0};
    if (hold_all(&views, given, sizes, 3))
        return NULL;
    const Py_buffer *view = views.view;
    dcn_status status;
    Py_BEGIN_ALLOW_THREADS
    status = dcn_mean_add_context(net, view[0].buf, view[1].buf, h, w, view[2].buf);
    Py_END_ALLOW_THREADS
    return ended(&views, status);
}

static PyObject *py_sizes(PyObject *module, PyObject *capsule)
{
    (void)module;
    const dcn_mean *net = mean_in(capsule);
    if (!net)
        return NULL;
    int hyper, latents, halved;
    dcn_mean_sizes(net, &hyper, &latents, &halved);
    return Py_BuildValue("iii", latents, hyper, halved);
}

PyMethodDef module_synthesis[] = {
    {"synthesis", py_synthesis, METH_VARARGS, "The synthesis of these layers."},
    {"mean", py_mean, METH_VARARGS, "The hyper synthesis of these layers."},
    {"sizes", py_sizes, METH_O, "Channels of latents and hyperlatents, and of latents with a checkerboard mean context."},
    {"run_synthesis", py_run_synthesis, METH_VARARGS, "Symbols, mean and step become pixels."},
    {"run_mean", py_run_mean, METH_VARARGS, "Hyperlatents become means."},
    {"add_context", py_add_context, METH_VARARGS, "Checkerboard mean contexts added to the means of a tile."},
    {NULL, NULL, 0, NULL},
};
