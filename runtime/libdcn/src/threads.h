/* Work on several threads, where there are threads. */
#ifndef DCN_THREADS_H
#define DCN_THREADS_H

enum { DCN_MOST_THREADS = 64 };

/* Calls body(context, i) for i = 0 .. count - 1, at most DCN_MOST_THREADS, each on a thread of its own, the first on
 * the caller's; one after the other where threads cannot be had. Returns when all are done. */
void dcn_parallel(int count, void (*body)(void *context, int index), void *context);

#endif
