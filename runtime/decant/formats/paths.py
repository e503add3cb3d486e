"""Functions that take paths as strings too."""

import inspect
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


def takes_paths(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """``function``, which takes strings and other path-like objects where parameters are annotated with Path;
    lists of them, or a single one, where a sequence of Path is expected.
    """
    signature = inspect.signature(function)
    annotations = {name: str(parameter.annotation) for name, parameter in signature.parameters.items()}
    expected = {name: annotation for name, annotation in annotations.items() if "Path" in annotation}

    @wraps(function)
    def converting(*given: _P.args, **named: _P.kwargs) -> _R:
        bound = signature.bind(*given, **named)
        for name, annotation in expected.items():
            if name in bound.arguments:
                bound.arguments[name] = _converted(bound.arguments[name], "Sequence[" in annotation)
        return function(*bound.args, **bound.kwargs)

    return converting


def _converted(value: Any, sequence: bool) -> Any:
    if isinstance(value, str | os.PathLike):
        path = value if isinstance(value, Path) else Path(value)
        return [path] if sequence else path
    if isinstance(value, list | tuple):
        return [_converted(one, False) for one in value]
    return value
