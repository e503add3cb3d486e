/* Where the library's memory comes from: dcn_set_allocator (dcn.h) replaces malloc and free. */
#ifndef DCN_MEMORY_H
#define DCN_MEMORY_H

#include <stddef.h>

/* `count` elements of `size` bytes; zeroed by the second. NULL where memory is short or the product wraps. */
void *dcn_allocate(size_t count, size_t size);
void *dcn_allocate_zeroed(size_t count, size_t size);
void dcn_release(void *memory);

/* Between these, up to 16 MB of what was released are kept for the next decode; calls are counted. Memory of an
 * allocator of the caller's is never kept. */
void dcn_memory_hold(void);
void dcn_memory_drop(void);

#endif
