/* See threads.h. */
#include "threads.h"

#if !defined(_WIN32) && !defined(__wasm__)
#include <pthread.h>

typedef struct {
    void (*body)(void *context, int index);
    void *context;
    int index;
} task;

static void *run(void *argument)
{
    const task *task = argument;
    task->body(task->context, task->index);
    return NULL;
}

void dcn_parallel(int count, void (*body)(void *context, int index), void *context)
{
    task tasks[DCN_MOST_THREADS];
    pthread_t threads[DCN_MOST_THREADS];
    int running[DCN_MOST_THREADS] = {0};
    for (int i = 1; i < count; i++) {
        tasks[i] = (task){body, context, i};
        running[i] = !pthread_create(&threads[i], NULL, run, &tasks[i]);
    }
    if (count > 0)
        body(context, 0);
    for (int i = 1; i < count; i++)
        if (running[i])
            pthread_join(threads[i], NULL);
        else
            body(context, i);
}
#else
void dcn_parallel(int count, void (*body)(void *context, int index), void *context)
{
    for (int i = 0; i < count; i++)
        body(context, i);
}
#endif
