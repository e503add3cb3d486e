/* decant._libdcn: all of runtime/libdcn, compiled once, for Python. */
#include "module.h"

int module_view(PyObject *object, Py_ssize_t size, int flags, Py_buffer *view)
{
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | flags))
        return -1;
    if (size < 0 || view->len == size)
        return 0;
    PyErr_Format(PyExc_ValueError, "a buffer of %zd bytes; %zd expected", view->len, size);
    PyBuffer_Release(view);
    return -1;
}

const void *module_hold(module_views *views, PyObject *object, Py_ssize_t size, int flags)
{
    if (views->count == MODULE_MOST_VIEWS) {
        PyErr_SetString(PyExc_ValueError, "more buffers than a network has");
        return NULL;
    }
    if (module_view(object, size, flags, &views->view[views->count]))
        return NULL;
    return views->view[views->count++].buf;
}

void module_release(module_views *views)
{
    while (views->count)
        PyBuffer_Release(&views->view[--views->count]);
}

static PyObject *py_kernels(PyObject *module, PyObject *arguments)
{
    (void)module, (void)arguments;
    return PyUnicode_FromString(dcn_kernels_in_use());
}

static PyMethodDef METHODS[] = {
    {"kernels", py_kernels, METH_NOARGS, "The kernels chosen for this processor."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, .m_name = "decant._libdcn", .m_size = 0, .m_methods = METHODS};

PyMODINIT_FUNC PyInit__libdcn(void)
{
    PyMethodDef *const parts[] = {module_model, module_synthesis, module_tables, module_streams};
    PyObject *module = PyModule_Create(&MODULE);
    for (size_t i = 0; module && i < sizeof parts / sizeof *parts; i++)
        if (PyModule_AddFunctions(module, parts[i])) {
            Py_DECREF(module);
            return NULL;
        }
    return module;
}
