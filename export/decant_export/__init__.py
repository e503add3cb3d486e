"""Checkpoint -> bundle: the graphs of every precision and runtime, checked, with golden files.

>>> from decant_export import export
>>> bundle = export("runs/small", "bundles/small")  # doctest: +SKIP

``export`` is loaded when first used: it imports torch and onnx.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decant_export.errors import ExportError
    from decant_export.exporting import export

__all__ = ["ExportError", "export"]

_LAZY = {"ExportError": "decant_export.errors", "export": "decant_export.exporting"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
