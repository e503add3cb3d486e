/* What the tables and the streams of the entropy model share; internal to decant._libdcn. */
#ifndef DCN_TABLES_H
#define DCN_TABLES_H

#include "module.h"

#include "checkerboard.h"
#include "tile.h"

enum { MOST_COPIES = 16 + 16 * DCN_MOST_GROUPS };

/* An entropy model, and the float mean contexts of its groups in halves with the copies of their weights. */
typedef struct {
    dcn_entropy_model *model;
    dcn_checkerboard near[DCN_MOST_GROUPS];
    void *weights[4 * DCN_MOST_GROUPS];
    int count;
} tables;

/* Copies that are freed together. */
typedef struct {
    void *copy[MOST_COPIES];
    int count;
} copies;

/* The tables in a capsule; NULL with an exception. */
const tables *tables_in(PyObject *capsule);

/* A copy of `count` elements of `element` bytes: what is checked is what is used, whatever other threads write. NULL
 * with an exception. */
void *tables_copy(PyObject *object, uint64_t count, size_t element);

/* The same, kept with the others. */
const void *tables_keep(copies *copies, PyObject *object, size_t count, size_t element);
void tables_free_copies(copies *copies);

#endif
