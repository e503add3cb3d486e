"""Writing files: each is written completely or not at all.

A regular file is written as a temporary file in the same folder and then renamed. The temporary file has a
short name derived from the final one (``.decant-<hash>-<slot>.tmp``) and stays locked while it is written. A
leftover of a killed process is not locked, so the next write of that name removes it.

Links are followed: the link stays and its target is replaced. Devices and FIFOs are written through. An
existing file keeps its mode and, where the system allows it, its owner.
"""

import errno
import hashlib
import io
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from decant.errors import ImageError

if sys.platform != "win32":  # where a file that is open cannot be removed: no lock is needed
    import fcntl

Write = Callable[[IO[bytes]], Any]

_SLOTS = 64  # processes that may write one name at the same time
_LINKS = 40  # as many as Linux follows
_DESCRIPTOR = re.compile(r"/dev/(?:stdout|stderr|fd/(\d+))|/proc/self/fd/(\d+)", re.ASCII)
_FLAGS = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_CANNOT_REPLACE = (errno.EBUSY, errno.EXDEV)  # what renaming onto a mount point gives
# Suffixes of other picture formats, under which no .dcn file is written.
_OTHER_FORMATS = (
    *(".apng", ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jxl"),
    *(".npy", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".svg", ".tga", ".tif", ".tiff", ".webp"),
)


def write_atomically(path: str | os.PathLike[str], write: Write) -> None:
    """Let ``write`` fill a new file, then put it at ``path``; an earlier file stays when ``write`` fails.

    A device or FIFO gets all bytes once ``write`` has ended. A file that cannot be replaced, since it is
    mounted by itself, is overwritten in place. Raises OSError that names ``path``, and whatever ``write``
    raises.
    """
    try:
        descriptor = _open_descriptor(path)
        if descriptor is not None:
            with os.fdopen(os.dup(descriptor), "wb", buffering=0) as stream:
                _write_through(stream, write)
            return
        final = _destination(path)
        if _is_stream(final):
            with final.open("wb", buffering=0) as stream:
                _write_through(stream, write)
        else:
            _replace(final, write)
    except OSError as error:
        if error.errno is None:
            raise  # a library's own error, with a text instead of a number
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None


def check_destination(path: str | os.PathLike[str], *, streams: bool = True) -> None:
    """Raise the OSError that writing ``path`` would end in, as far as it can be told before the work.

    ``streams`` False refuses devices and FIFOs as well.
    """
    final = None if _open_descriptor(path) is not None else _destination(path)
    if final is None or _is_stream(final):
        if not streams:
            raise OSError(errno.EINVAL, "a device or FIFO, not a regular file", os.fspath(path))
        return
    if not final.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "No such folder", str(final.parent))
    if not os.access(final.parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "No permission to write in this folder", str(final.parent))


def check_dcn_name(path: str | os.PathLike[str]) -> None:
    """Refuse to write a ``.dcn`` file under the name of another picture format. Raises ImageError."""
    suffix = Path(path).suffix.lower()
    if suffix in _OTHER_FORMATS:
        raise ImageError(f"{os.fspath(path)}: a .dcn file is written, not {suffix}; end the name in .dcn")


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether ``path`` leads to a device, a FIFO or an open descriptor, which are written through."""
    try:
        return _open_descriptor(path) is not None or _is_stream(Path(path))
    except OSError:
        return False


def is_same_file(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    """Whether two paths lead to one file, through links of either kind."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove temporary files that a killed process left of writing ``path``."""
    with suppress(OSError):
        final = _destination(path)
        for slot in range(_SLOTS):
            temporary = _temporary(final, slot)
            if not os.path.lexists(temporary):
                break
            _remove_stale(temporary)


def _open_descriptor(path: str | os.PathLike[str]) -> int | None:
    """The number of the open descriptor that ``path`` names, through links: 1 for ``/dev/stdout``."""
    link = os.path.abspath(path)
    for _ in range(_LINKS):
        if named := _DESCRIPTOR.fullmatch(link):
            return int(named[1] or named[2] or {"/dev/stdout": 1, "/dev/stderr": 2}[link])
        if not os.path.islink(link):
            return None
        link = os.path.abspath(os.path.join(os.path.dirname(link), os.readlink(link)))
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(path))


def _destination(path: str | os.PathLike[str]) -> Path:
    """Where ``path`` leads through links.

    Raises OSError for a loop of links, a folder, and what can be neither replaced nor written through.
    """
    final = Path(path)
    for _ in range(_LINKS):
        if not final.is_symlink():
            break
        final = final.parent / os.readlink(final)
    try:
        mode = final.stat().st_mode
    except FileNotFoundError:
        return final
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "Is a folder", os.fspath(path))
    if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        kind = "block device" if stat.S_ISBLK(mode) else "socket"
        raise OSError(errno.EINVAL, f"a {kind}, not a file to write", os.fspath(path))
    return final


def _is_stream(final: Path) -> bool:
    try:
        mode = final.stat().st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def _write_through(stream: IO[bytes], write: Write) -> None:
    buffer = io.BytesIO()  # writers seek, and nothing goes out when they fail
    write(buffer)
    rest = buffer.getbuffer()
    while rest:
        rest = rest[stream.write(rest) :]


def _replace(final: Path, write: Write) -> None:
    try:
        before: os.stat_result | None = final.stat()
    except FileNotFoundError:
        before = None
    descriptor, temporary = _open_temporary(final, 0o666 if before is None else before.st_mode & 0o666)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            write(stream)
            stream.flush()
            if before is not None:
                _keep_owner_and_mode(stream.fileno(), before)
            if sys.platform != "win32":  # the lock is held until the file has its final name
                _rename(temporary, final)
        if sys.platform == "win32":  # where an open file cannot be renamed
            _rename(temporary, final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _rename(temporary: Path, final: Path) -> None:
    try:
        os.replace(temporary, final)
    except OSError as error:
        if error.errno not in _CANNOT_REPLACE:
            raise
        with temporary.open("rb") as source, final.open("r+b") as target:
            shutil.copyfileobj(source, target)
            target.truncate()
        temporary.unlink(missing_ok=True)


def _keep_owner_and_mode(descriptor: int, before: os.stat_result) -> None:
    if not hasattr(os, "fchown"):
        return
    ours = os.fstat(descriptor)
    if (ours.st_uid, ours.st_gid) != (before.st_uid, before.st_gid):
        with suppress(OSError):  # only root may give files away
            os.fchown(descriptor, before.st_uid, before.st_gid)
    with suppress(OSError):  # some file systems have no modes
        os.fchmod(descriptor, stat.S_IMODE(before.st_mode) & 0o777)


def _temporary(final: Path, slot: int) -> Path:
    name = hashlib.sha256(os.fsencode(final.name)).hexdigest()[:16]
    return final.with_name(f".decant-{name}-{slot}.tmp")


def _open_temporary(final: Path, mode: int) -> tuple[int, Path]:
    """A new file beside ``final``, open and locked, and its path."""
    slot = 0
    while slot < _SLOTS:
        temporary = _temporary(final, slot)
        try:
            # os.open and not tempfile: the user's umask applies, as to any new file.
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, mode)
        except FileExistsError:
            slot += not _remove_stale(temporary)
            continue
        if _locked(descriptor, temporary):
            return descriptor, temporary
        os.close(descriptor)  # another process took it for a leftover before it was locked
    raise OSError(errno.EAGAIN, f"{_SLOTS} other processes are writing this file", str(final))


def _locked(descriptor: int, path: Path) -> bool:
    """Lock a temporary file just made; whether it is still there then."""
    if sys.platform == "win32":
        return True
    with suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return _is_at(descriptor, path)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        return False


def _remove_stale(temporary: Path) -> bool:
    """Remove a temporary file unless a process still writes it; whether its name is free now."""
    if sys.platform == "win32":
        try:
            temporary.unlink(missing_ok=True)
        except OSError:
            return False
        return True
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_NONBLOCK | _FLAGS)
    except FileNotFoundError:
        return True
    except OSError:
        return False  # a link, or another user's
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(descriptor, temporary):
            temporary.unlink(missing_ok=True)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
