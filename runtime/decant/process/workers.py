"""Work in other threads.

A signal handler may raise an exception in the main thread at any moment, also just after a function in Python
has taken a lock: a ``threading.Event`` or a future then stays locked for ever. Results therefore come through
``queue.SimpleQueue``, which is written in C and holds no lock of Python's. Where the interpreter is ending,
or no thread can be had, the work is done in the calling thread.
"""

import _thread
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Any, TypeVar

from decant.process import lifecycle

# How many items a worker may be ahead of the results that were taken. More would keep workers no busier, and
# hold so many pictures that their memory is cold when it is used again.
_AHEAD = 4

_here = threading.local()  # ``busy``: how many items workers of the same call are at, or will be at once

_Item = TypeVar("_Item")
_T = TypeVar("_T")


def begin(work: Callable[[], _T]) -> Callable[[], _T]:
    """Begin ``work`` in a thread of its own; what is returned waits for it, once, and gives what it gave or
    raises what it raised.
    """
    results: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
    if not _started(lambda: results.put(_outcome(work))):
        results.put(_outcome(work))
    return lambda: _value(results)


def in_order(work: Callable[[_Item], _T], items: Iterable[_Item], workers: int) -> Iterator[_T]:
    """What ``work`` gives for each of ``items``, in their order, done by several threads; the first error
    ends it. Items are taken as results are, a few ahead, so that there may be millions.
    """
    jobs: SimpleQueue[tuple[_Item, SimpleQueue[Any]] | None] = SimpleQueue()
    ended: SimpleQueue[None] = SimpleQueue()
    running: list[None] = []  # as long as items are being worked on; lists grow and shrink atomically
    waiting: deque[SimpleQueue[tuple[Any, BaseException | None]]] = deque()

    def serve() -> None:
        _here.busy = lambda: min(started, len(running) + jobs.qsize())
        try:
            while (job := jobs.get()) is not None:
                item, results = job
                running.append(None)
                outcome = _outcome(lambda item=item: work(item))  # type: ignore[misc]
                running.pop()
                results.put(outcome)
                del item, results, job, outcome  # not held while waiting for the next
        finally:
            ended.put(None)

    started = 0
    try:
        while started < workers and _started(serve):
            started += 1
        if not started:
            yield from map(work, items)
            return
        for item in items:
            waiting.append(SimpleQueue())
            jobs.put((item, waiting[-1]))
            if len(waiting) >= _AHEAD * started:
                yield _value(waiting.popleft())
        while waiting:
            yield _value(waiting.popleft())
    finally:
        while not jobs.empty():  # after an error: what was not begun stays undone
            _drop(jobs)
        for _ in range(started):
            jobs.put(None)
        for _ in range(started):
            ended.get()


def share_of(threads: int) -> int:
    """The share of ``threads`` that the current worker of ``in_order`` may use: they are divided among the
    items in progress. Outside of workers, all of them.
    """
    busy: Callable[[], int] = getattr(_here, "busy", int)
    return max(1, threads // max(1, busy()))


def _drop(jobs: "SimpleQueue[Any]") -> None:
    from queue import Empty

    try:
        jobs.get_nowait()
    except Empty:
        return


def _outcome(work: Callable[[], _T]) -> tuple[_T | None, BaseException | None]:
    try:
        return work(), None
    except BaseException as error:
        return None, error


def _value(results: "SimpleQueue[tuple[Any, BaseException | None]]") -> Any:
    result, error = results.get()
    if error is not None:
        raise error
    return result


def _started(body: Callable[[], object]) -> bool:
    """Whether a new thread runs ``body``."""
    if lifecycle.ending():
        return False
    try:
        # Not threading.Thread, whose start() waits for an Event.
        _thread.start_new_thread(body, ())
    except RuntimeError as error:
        trace = error.__traceback__
        if trace is not None and trace.tb_next is not None:  # a signal handler's, raised here
            raise
        return False
    return True
