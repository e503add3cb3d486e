/* See memory.h. */
#include "memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dcn.h"

static dcn_allocator own; /* set before the first call of another function; only read after that */

void dcn_set_allocator(const dcn_allocator *allocator)
{
    own = allocator ? *allocator : (dcn_allocator){0};
}

void *dcn_allocate(size_t count, size_t size)
{
    if (size && count > SIZE_MAX / 2 / size)
        return NULL;
    size_t bytes = count && size ? count * size : 1;
    return own.allocate ? own.allocate(own.context, bytes) : malloc(bytes);
}

void *dcn_allocate_zeroed(size_t count, size_t size)
{
    if (!own.allocate)
        return calloc(count ? count : 1, size ? size : 1);
    void *memory = dcn_allocate(count, size);
    if (memory)
        memset(memory, 0, count * size);
    return memory;
}

void dcn_release(void *memory)
{
    if (own.allocate)
        own.release(own.context, memory);
    else
        free(memory);
}
