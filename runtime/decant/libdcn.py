"""libdcn (runtime/libdcn), compiled for Python when decant was installed where a C compiler is."""

import sys
from types import ModuleType


def library() -> ModuleType | None:
    """The module ``decant._libdcn``; None where it was not built, or where the processor is big-endian."""
    if sys.byteorder != "little":
        return None
    try:
        from decant import _libdcn
    except ImportError:
        return None
    module: ModuleType = _libdcn
    return module
