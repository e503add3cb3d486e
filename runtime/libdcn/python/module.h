/* The parts of decant._libdcn, which is libdcn for Python: sizes of all buffers are checked here, and the interpreter's
 * lock is released while libdcn computes. */
#ifndef DCN_MODULE_H
#define DCN_MODULE_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>

#include "dcn.h"

/* The bytes of `object`, of which there must be `size`; any number where it is negative. -1 with an exception. */
int module_view(PyObject *object, Py_ssize_t size, int flags, Py_buffer *view);

/* Views that are released together: as many as all layers of a network have tensors. */
enum { MODULE_MOST_VIEWS = 128 };

typedef struct {
    Py_buffer view[MODULE_MOST_VIEWS];
    int count;
} module_views;

/* The bytes of `object` in the next view; NULL with an exception. */
const void *module_hold(module_views *views, PyObject *object, Py_ssize_t size, int flags);
void module_release(module_views *views);

/* Functions of each part: whole files with a model file, networks of the synthesis, tables and streams of the entropy
 * model. */
extern PyMethodDef module_model[], module_synthesis[], module_tables[], module_streams[];

/* The model file in a capsule of `module_model`; NULL without an exception where it holds something else. */
const dcn_model *module_model_in(PyObject *capsule);

#endif
