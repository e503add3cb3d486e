/* Whole files, decoded with a codec's model file. */
#include "module.h"

#include <string.h>

static const char MODEL[] = "decant._libdcn.Model";

static void destroy(PyObject *capsule)
{
    dcn_model_close(PyCapsule_GetPointer(capsule, MODEL));
}

/* (status, message) */
static PyObject *failure(const dcn_error *error)
{
    if (error->status == DCN_OUT_OF_MEMORY)
        return PyErr_NoMemory();
    return Py_BuildValue("is", (int)error->status, error->message);
}

static PyObject *py_model(PyObject *module, PyObject *given)
{
    (void)module;
    Py_buffer view;
    if (module_view(given, -1, 0, &view))
        return NULL;
    dcn_model *model;
    dcn_error error;
    dcn_status status;
    Py_BEGIN_ALLOW_THREADS
    status = dcn_model_open(view.buf, (size_t)view.len, &model, &error);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&view);
    if (status != DCN_OK)
        return failure(&error);
    PyObject *capsule = PyCapsule_New(model, MODEL, destroy);
    if (!capsule)
        dcn_model_close(model);
    return capsule;
}

static PyObject *py_identity(PyObject *module, PyObject *capsule)
{
    (void)module;
    const dcn_model *model = PyCapsule_GetPointer(capsule, MODEL);
    if (!model)
        return NULL;
    return Py_BuildValue("sy#", dcn_model_name(model), dcn_model_id(model), (Py_ssize_t)DCN_ID_BYTES);
}

/* What a picture's header says, for dcn_decode_info. Returns -1 with an exception. */
static int info_of(const dcn_model *model, unsigned long width, unsigned long height, int quality, int grey,
                   const Py_buffer *latents, const Py_buffer *alpha, dcn_info *info)
{
    *info = (dcn_info){.quality = quality, .grey = grey};
    if (width < 1 || height < 1 || width > 65535 || height > 65535)
        return PyErr_SetString(PyExc_ValueError, "sides of 1 to 65535 pixels expected"), -1;
    info->width = (uint32_t)width, info->height = (uint32_t)height;
    memcpy(info->model_id, dcn_model_id(model), DCN_ID_BYTES);
    info->latents = (dcn_bytes){latents->buf, (size_t)latents->len};
    if (alpha->buf) {
        info->alpha = 1;
        info->alpha_plane = (dcn_bytes){alpha->buf, (size_t)alpha->len};
    }
    return 0;
}

static PyObject *py_decode(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *capsule, *result = NULL;
    Py_buffer latents, alpha, out;
    unsigned long width, height, x, y, region_width, region_height;
    int quality, grey, threads;
    if (!PyArg_ParseTuple(arguments, "Oy*z*kkip(kkkk)iw*", &capsule, &latents, &alpha, &width, &height, &quality, &grey, &x,
                          &y, &region_width, &region_height, &threads, &out))
        return NULL;
    const dcn_model *model = PyCapsule_GetPointer(capsule, MODEL);
    dcn_info info;
    dcn_pixels format = alpha.buf ? DCN_RGBA : DCN_RGB;
    if (!model || info_of(model, width, height, quality, grey, &latents, &alpha, &info))
        goto done;
    if (x > width || y > height || region_width < 1 || region_height < 1 || region_width > width - x ||
        region_height > height - y || (uint64_t)out.len != (uint64_t)region_width * region_height * (uint64_t)format) {
        PyErr_SetString(PyExc_ValueError, "a region outside the picture, or a buffer of another size");
        goto done;
    }
    dcn_options options = {.x = (uint32_t)x, .y = (uint32_t)y, .width = (uint32_t)region_width,
                           .height = (uint32_t)region_height, .threads = threads, .most_pixels = UINT64_MAX};
    dcn_error error;
    dcn_status status;
    Py_BEGIN_ALLOW_THREADS
    status = dcn_decode_info(model, &info, &options, format, out.buf, 0, &error);
    Py_END_ALLOW_THREADS
    result = status == DCN_OK ? Py_NewRef(Py_None) : failure(&error);
done:
    PyBuffer_Release(&latents), PyBuffer_Release(&out);
    if (alpha.buf)
        PyBuffer_Release(&alpha);
    return result;
}

const dcn_model *module_model_in(PyObject *capsule)
{
    return PyCapsule_IsValid(capsule, MODEL) ? PyCapsule_GetPointer(capsule, MODEL) : NULL;
}

PyMethodDef module_model[] = {
    {"model", py_model, METH_O, "The model in the bytes of a .dcnm file, or (status, message)."},
    {"identity", py_identity, METH_O, "Name and id of a model."},
    {"decode", py_decode, METH_VARARGS, "Decode a picture's sections into a buffer; None or (status, message)."},
    {NULL, NULL, 0, NULL},
};
