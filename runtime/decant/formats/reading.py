"""Reading input files: regular files only, and a ``.dcn`` file's header before the rest of it.

A FIFO, a socket or a link to ``/dev/zero`` among the inputs is refused without blocking and without taking
memory for it. ``-`` on the command line is the way to read a pipe.
"""

import errno
import os
import stat
from typing import IO

from decant.formats import container

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a regular file for reading, without ever blocking. Raises OSError that names ``path``."""
    flags = (
        os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    )
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        mode = _mode(path)
        if mode is None or stat.S_ISREG(mode):
            raise
        raise _not_regular(path, mode, error.errno or errno.EINVAL) from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise _not_regular(path, mode, errno.EINVAL)
    return os.fdopen(descriptor, "rb")


def is_regular(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` leads to a regular file. Raises OSError where it leads nowhere."""
    return stat.S_ISREG(os.stat(path).st_mode)


def read_dcn(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a ``.dcn`` file, which is read only when its header is valid and its sections fill it.

    Raises FormatError, and OSError when the file cannot be read or is no regular file.
    """
    source = os.fspath(path)
    with open_regular(path) as stream:
        return read_dcn_stream(stream, source)


def read_dcn_stream(stream: IO[bytes], source: str) -> bytes:
    """The bytes of a ``.dcn`` file from an open stream; ``source`` names it in messages.

    Raises FormatError where the header is not valid or the sections do not fill the file, before more than
    those are read; OSError.
    """
    start = stream.read(container.MAX_HEADER_BYTES)
    header = container.parse_header(start, source)
    if stream.seekable():
        container.check_lengths(stream, header, source)
        stream.seek(len(start))
    return start + stream.read()


def _mode(path: str | os.PathLike[str]) -> int | None:
    try:
        return os.stat(path).st_mode
    except OSError:
        return None


def _not_regular(path: str | os.PathLike[str], mode: int, number: int) -> OSError:
    kind = next((name for test, name in _KINDS if test(mode)), "not a regular file")
    return OSError(number, f"is {kind}; a regular file expected (commands read pipes as -)", os.fspath(path))
