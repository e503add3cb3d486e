"""The system's cache of file contents: make it forget a file, and see whether it did."""

import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path


def drop(paths: Iterable[Path]) -> float | None:
    """Ask the system to forget the contents of ``paths``; the fraction of their pages that it still holds.

    None where the system cannot be asked, or cannot be asked whether it did: reads after that are not known
    to be cold. 0.0 means that they come from the disk (or from a cache below this system: a virtual machine's
    host, the disk's own).
    """
    if not hasattr(os, "posix_fadvise"):
        return None
    pages = resident = 0
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)  # pages not yet written cannot be dropped
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            counted = _resident(handle, os.fstat(handle).st_size)
        except OSError:
            return None
        finally:
            os.close(handle)
        if counted is None:
            return None
        pages, resident = pages + counted[0], resident + counted[1]
    return resident / pages if pages else None


def _resident(handle: int, size: int) -> tuple[int, int] | None:
    """(pages of a file, those in memory), by mincore; None where there is no mincore."""
    if size == 0:
        return 0, 0
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        mincore = libc.mincore
    except (OSError, AttributeError, TypeError):
        return None
    count = -(-size // mmap.PAGESIZE)
    states = (ctypes.c_ubyte * count)()
    # A private, writable mapping only because ctypes takes the address of writable buffers alone.
    with mmap.mmap(handle, size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as mapped:
        view = ctypes.c_char.from_buffer(mapped)
        failed = mincore(ctypes.c_void_p(ctypes.addressof(view)), ctypes.c_size_t(size), states)
        del view
    if failed:
        return None
    return count, sum(state & 1 for state in states)
