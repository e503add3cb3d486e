/* The tables of an entropy model, as a bundle has them. */
#include "tables.h"

#include <stdlib.h>
#include <string.h>

static const char TABLES[] = "decant._libdcn.Tables";

static void free_tables(tables *tables)
{
    dcn_entropy_model_free(tables->model);
    while (tables->count)
        free(tables->weights[--tables->count]);
    free(tables);
}

static void destroy(PyObject *capsule)
{
    free_tables(PyCapsule_GetPointer(capsule, TABLES));
}

void *tables_copy(PyObject *object, uint64_t count, size_t element)
{
    Py_buffer view;
    if (count > (uint64_t)PY_SSIZE_T_MAX / 8 || module_view(object, (Py_ssize_t)(count * element), 0, &view)) {
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

const tables *tables_in(PyObject *capsule)
{
    return PyCapsule_GetPointer(capsule, TABLES);
}

const void *tables_keep(copies *copies, PyObject *object, size_t count, size_t element)
{
    return copies->copy[copies->count++] = tables_copy(object, count, element);
}

void tables_free_copies(copies *copies)
{
    while (copies->count)
        free(copies->copy[--copies->count]);
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
    if (!(context->hidden_weight = tables_keep(copies, hidden, width * 3 * (size_t)known, 1)) ||
        !(context->hidden_bias = tables_keep(copies, bias, width, 4)) ||
        !(context->out_weight = tables_keep(copies, out, seen * (size_t)channels, 1)))
        return -1;
    if (second && (!(context->mixed_weight = tables_keep(copies, mixed, second * width, 1)) ||
                   !(context->below_weight =
                         tables_keep(copies, below, DCN_PLACES * second * (size_t)tensors->class_width, 1)) ||
                   !(context->mixed_bias = tables_keep(copies, mixed_bias, second, 4))))
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
        if (!(found[i] = tables->weights[tables->count] = tables_copy(given[i], sizes[i], sizeof(float))))
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
        !widths_are_possible(tensors) || !(tensors->radius = tables_keep(copies, radius, DCN_SCALES, 1)) ||
        !(tensors->runs = tables_keep(copies, runs, DCN_SCALES, 2)))
        return -1;
    size_t width = (size_t)tensors->class_width, count, run_count;
    dcn_entropy_counts_of(tensors, &count, &run_count);
    if (!(tensors->counts = tables_keep(copies, counts, count, 4)) ||
        !(tensors->run_counts = tables_keep(copies, run_counts, run_count, 4)) ||
        !(tensors->scale_hidden_weight = tables_keep(copies, hidden, DCN_PLACES * width * 9 * (size_t)tensors->hyper, 1)) ||
        !(tensors->scale_hidden_bias = tables_keep(copies, bias, DCN_PLACES * width, 4)) ||
        !(tensors->scale_out_weight = tables_keep(copies, weight, DCN_PLACES * width * (size_t)tensors->channels, 1)) ||
        !(tensors->magnitude = tables_keep(copies, magnitude, DCN_MAGNITUDES, 1)))
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
            capsule = PyCapsule_New(tables, TABLES, destroy);
    }
    tables_free_copies(&copies);
    if (!capsule)
        free_tables(tables);
    return capsule;
}

PyMethodDef module_tables[] = {
    {"tables", py_tables, METH_VARARGS, "The tables of a bundle, as the decoder holds them."},
    {NULL, NULL, 0, NULL},
};
