/* See memory.h. Large blocks of malloc's are kept for the next decode while a model is open: else the system takes them
 * back after each decode and gives them anew page by page, a fifth of the time of a small picture. */
#include "memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dcn.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#if !defined(__STDC_NO_ATOMICS__) && !defined(__SANITIZE_ADDRESS__) && !defined(SANITIZED)
#include <stdatomic.h>
#define KEEPS 1
#endif

static dcn_allocator own; /* set before the first call of another function; only read after that */

void dcn_set_allocator(const dcn_allocator *allocator)
{
    own = allocator ? *allocator : (dcn_allocator){0};
}

#ifdef KEEPS
enum { SLOTS = 32, LEAST_KEPT = 1 << 14, MOST_KEPT = 1 << 24 };

/* In front of every block of malloc's; as long as the strictest alignment needs. */
typedef union {
    size_t bytes;
    max_align_t aligned;
} block;

/* Whoever finds the lock taken does without what is kept: so nobody waits, nor does the child of a fork. */
static atomic_flag locked = ATOMIC_FLAG_INIT;
static block *kept[SLOTS];
static size_t kept_bytes;
static atomic_long models;

static int lock(void)
{
    return !atomic_flag_test_and_set_explicit(&locked, memory_order_acquire);
}

static void unlock(void)
{
    atomic_flag_clear_explicit(&locked, memory_order_release);
}

/* A kept block of at least `bytes` and not much more, or NULL. */
static block *take_kept(size_t bytes)
{
    block *taken = NULL;
    if (bytes < LEAST_KEPT || !lock())
        return NULL;
    int best = -1;
    for (int i = 0; i < SLOTS; i++)
        if (kept[i] && kept[i]->bytes >= bytes && kept[i]->bytes / 2 <= bytes &&
            (best < 0 || kept[i]->bytes < kept[best]->bytes))
            best = i;
    if (best >= 0) {
        taken = kept[best];
        kept[best] = NULL;
        kept_bytes -= taken->bytes;
    }
    unlock();
    return taken;
}

/* Keeps a block; returns 0 where it is to be freed. */
static int keep(block *given)
{
    int done = 0;
    if (given->bytes < LEAST_KEPT || given->bytes > MOST_KEPT || !lock())
        return 0;
    for (int i = 0; atomic_load(&models) > 0 && !done && i < SLOTS; i++)
        if (!kept[i] && kept_bytes + given->bytes <= MOST_KEPT) {
            kept[i] = given;
            kept_bytes += given->bytes;
            done = 1;
        }
    unlock();
    return done;
}

void dcn_memory_hold(void)
{
    atomic_fetch_add(&models, 1);
}

void dcn_memory_drop(void)
{
    block *left[SLOTS] = {NULL};
    if (atomic_fetch_sub(&models, 1) > 1 || !lock())
        return;
    memcpy(left, kept, sizeof left);
    memset(kept, 0, sizeof kept);
    kept_bytes = 0;
    unlock();
    for (int i = 0; i < SLOTS; i++)
        free(left[i]);
}

static void *allocate_block(size_t bytes, int zeroed)
{
    block *made = take_kept(bytes);
    if (made && zeroed)
        memset(made + 1, 0, bytes);
    if (!made) {
        made = zeroed ? calloc(1, bytes + sizeof *made) : malloc(bytes + sizeof *made);
        if (!made)
            return NULL;
        made->bytes = bytes;
    }
    return made + 1;
}

static void release_block(void *memory)
{
    block *given = (block *)memory - 1;
    if (!keep(given))
        free(given);
}
#else
void dcn_memory_hold(void) {}
void dcn_memory_drop(void) {}

static void *allocate_block(size_t bytes, int zeroed)
{
    return zeroed ? calloc(1, bytes) : malloc(bytes);
}

static void release_block(void *memory)
{
    free(memory);
}
#endif

static void *allocate(size_t count, size_t size, int zeroed)
{
    if (size && count > SIZE_MAX / 2 / size)
        return NULL;
    size_t bytes = count && size ? count * size : 1;
    if (!own.allocate)
        return allocate_block(bytes, zeroed);
    void *memory = own.allocate(own.context, bytes);
    if (memory && zeroed)
        memset(memory, 0, bytes);
    return memory;
}

void *dcn_allocate(size_t count, size_t size)
{
    return allocate(count, size, 0);
}

void *dcn_allocate_zeroed(size_t count, size_t size)
{
    return allocate(count, size, 1);
}

void dcn_release(void *memory)
{
    if (own.allocate)
        own.release(own.context, memory);
    else if (memory)
        release_block(memory);
}
