"""The origin of an exception. Errors of a library become decant's errors; those of the user pass unchanged.

A signal handler (for example a timeout) raises its exception wherever the main thread is at that moment. That
can be inside a runtime or an image reader, and then it is no fault of the picture.
"""

import signal
from types import CodeType, TracebackType
from typing import Any

# What bindings of C++ raise for errors that have no Python type of their own.
_OF_BINDINGS = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError)
_OURS = ("decant", "numpy")


def is_from(error: BaseException, package: str) -> bool:
    """Whether ``package``, called by decant, raised ``error``, and not a signal handler in between."""
    kind = type(error)
    own = kind.__module__.partition(".")[0] == package
    if not own and kind not in _OF_BINDINGS and kind is not NotImplementedError:
        return False
    within = (package, *_OURS)
    return all(name.partition(".")[0] in within for name in _modules(error.__traceback__))


def is_from_signal_handler(error: BaseException) -> bool:
    """Whether one of the process's signal handlers raised ``error``."""
    handlers = {_code(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in handlers:
            return True
        trace = trace.tb_next
    return False


def _modules(trace: TracebackType | None) -> list[str]:
    """The modules of the frames that were called from the one that caught the error."""
    names = []
    while trace is not None and (trace := trace.tb_next) is not None:
        names.append(str(trace.tb_frame.f_globals.get("__name__", "")))
    return names


def _code(handler: Any) -> CodeType | None:
    """The code of a signal handler: a function, a method, a partial function, an object that is called."""
    while hasattr(handler, "func"):
        handler = handler.func
    handler = getattr(handler, "__func__", handler)
    if not hasattr(handler, "__code__"):
        handler = vars(type(handler)).get("__call__")
    code = getattr(handler, "__code__", None)
    return code if isinstance(code, CodeType) else None
