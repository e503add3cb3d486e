"""What the C library does with memory that is freed."""

import ctypes
from functools import cache
from typing import Any

_KEPT_BYTES = 1 << 24  # about twice what the arrays of one picture of 768 x 512 pixels take together


@cache
def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next picture, up to twice ``_KEPT_BYTES``, from now on.

    By default glibc gives the memory of a picture back to the system when it is freed. The next picture then
    costs a page fault for every 4 KiB. A block of this size, freed, tells glibc that such blocks come and go
    (M_MMAP_THRESHOLD in mallopt(3)). The block is never touched, so it takes no memory. Other C libraries do
    nothing here.
    """
    bytes(_KEPT_BYTES)


def give_back() -> None:
    """Have glibc return what is free in its heap; elsewhere nothing happens. An encoder calls it once a
    megapixel: arrays of several megabytes come and go, and the gaps between them added up to 0.25 GB.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):  # no glibc, or no libc that can be named so
        return None
