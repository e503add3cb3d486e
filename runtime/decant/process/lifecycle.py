"""Native objects and threads when the process forks or ends.

A fork copies memory and one thread. Objects of ONNX Runtime and OpenVINO own threads, which do not exist in
the child. Running or destroying such an object there would wait for them forever. A child therefore leaks the
native objects of its parent on purpose, and creates its own when it first needs them (``Native``).

Python 3.11 to 3.13 ends threads that come back from native code after the interpreter has begun to end, which
C++ answers with an abort. Native code therefore runs between ``enter`` and ``leave``: when the interpreter
ends, it first waits for the runs of other threads, and threads that want to begin another one sleep instead.
"""

import atexit
import ctypes
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from threading import get_ident
from typing import Any, Generic, TypeVar

# The longest that the end of the interpreter waits for runs of daemon threads.
LONGEST_WAIT_S = 30.0

_T = TypeVar("_T")

_after_fork: list[Callable[[], object]] = []


def after_fork(work: Callable[[], object]) -> None:
    """Have ``work`` called in every forked child, before anything else of decant runs there."""
    _after_fork.append(work)


def leak(thing: object) -> None:
    """Keep ``thing`` from ever being destroyed, at the end of the interpreter as well."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


class Native(Generic[_T]):
    """A native object that owns threads, made by ``make`` now, and made again in a forked child when it is
    first used there.
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._made: tuple[int, _T] | None = None
        self.get()

    def get(self) -> _T:
        """The object of this process."""
        made = self._made
        if made is None or made[0] != _generation:
            enter()
            try:
                made = _generation, self._make()
            finally:
                leave()
            self._made = made
            _natives.add(self)
        return made[1]

    def leak(self) -> None:
        """Forget the object without destroying it."""
        if self._made is not None:
            leak(self._made[1])
            self._made = None


_natives: "weakref.WeakSet[Native[Any]]" = weakref.WeakSet()
_generation = 0  # how many forks lie between this process and the first one


def enter() -> None:
    """Before native code: a daemon thread waits for ever where the interpreter is ending."""
    me = get_ident()
    _running[me] = _running.get(me, 0) + 1
    if _ended_by is not None and _ended_by != me and threading.current_thread().daemon:
        leave()
        while True:
            time.sleep(3600)


def leave() -> None:
    """After native code."""
    me = get_ident()
    if _running.get(me, 0) > 1:
        _running[me] -= 1
    else:
        _running.pop(me, None)


def ending() -> bool:
    """Whether the interpreter is ending: other threads run no native code any more."""
    return _ended_by is not None


# Runs of native code by thread; ``pending`` by what holds their results.
_running: dict[int, int] = {}
pending: "weakref.WeakSet[Any]" = weakref.WeakSet()
_ended_by: int | None = None


def _end() -> None:
    global _ended_by
    me = _ended_by = get_ident()
    latest = time.monotonic() + LONGEST_WAIT_S
    while (len(pending) or _others(me)) and time.monotonic() < latest:
        time.sleep(0.001)


def _others(me: int) -> bool:
    """Whether another thread, still alive, runs native code."""
    return any(thread != me for thread in list(_running) if thread in sys._current_frames())


def _in_child() -> None:
    global _generation
    _generation += 1
    _running.clear()
    pending.clear()
    for native in list(_natives):
        native.leak()
    for work in _after_fork:
        work()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
