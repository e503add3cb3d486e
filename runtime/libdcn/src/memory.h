/* Where the library's memory comes from: dcn_set_allocator (dcn.h) replaces malloc and free. */
#ifndef DCN_MEMORY_H
#define DCN_MEMORY_H

#include <stddef.h>

/* `count` elements of `size` bytes; zeroed by the second. NULL where memory is short or the product wraps. */
void *dcn_allocate(size_t count, size_t size);
void *dcn_allocate_zeroed(size_t count, size_t size);
void dcn_release(void *memory);

#endif
