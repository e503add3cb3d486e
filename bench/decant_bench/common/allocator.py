"""What glibc does with freed memory in the processes that are timed.

glibc gives the memory of a picture back to the system when it is freed, or keeps it for the next picture.
By default it decides by the sizes that were freed before and by what else lies on the heap. Memory that went
back costs a page fault for every 4 KiB when it is used again. Pillow's decode of a JPEG of 512x512 pixels has
about 670 page faults then and takes twice as long; decant's decoders have none either way.

``default`` is what a program gets that opens pictures with Pillow and does nothing else. ``kept`` is what a
program gets in which decant is loaded, or other large arrays come and go, or whose allocator keeps memory.
"""

ALLOCATORS = ("kept", "default")

_KEPT = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 28),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
    "MALLOC_TOP_PAD_": str(1 << 26),
}


def variables(allocator: str) -> dict[str, str]:
    """The environment variables by which a new process has ``allocator``, one of ALLOCATORS."""
    return dict(_KEPT) if allocator == "kept" else {}
