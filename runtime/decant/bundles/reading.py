"""The files of a bundle's folder, read checked: length, SHA-256, inside the folder, and unpacked where they
lie there as gzip.
"""

import hashlib
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

from decant.errors import BundleError
from decant.formats.manifest import FileEntry

_GZIP = 16 + zlib.MAX_WBITS


def read_limited(path: Path, limit: int) -> bytes:
    """The bytes of a file; its size is looked at before any memory is taken for it. Raises BundleError."""
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > limit:
                raise BundleError(f"{path}: {size} bytes; at most {limit} expected")
            return stream.read(size)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from None


def read_entry(folder: Path, entry: FileEntry) -> bytes:
    """The content of the file ``entry`` of the bundle in ``folder``, or of its lender beside it.

    Raises BundleError where it is missing, leads out of the folder, or differs from its length or hash.
    """
    if entry.of is not None:
        folder = lender(folder, entry.of)
        if not folder.exists():
            raise BundleError(
                f"{folder / entry.path}: missing; it belongs to bundle {entry.of}: put it next to this one"
            )
    path = folder / entry.stored_path
    # A link may lead out of the folder (a bundle is data, often from somebody else); what it names is not
    # part of the bundle then.
    try:
        inside = path.resolve(strict=True).is_relative_to(folder.resolve(strict=True))
    except (OSError, RuntimeError):
        raise BundleError(f"{path}: listed in bundle.json, but missing") from None
    if not inside:
        raise BundleError(f"{path}: leads out of the bundle's folder")
    if not path.is_file():
        raise BundleError(f"{path}: not a file")
    return content_of(read_limited(path, entry.stored_bytes), entry, str(path))


def content_of(stored: bytes, entry: FileEntry, where: str) -> bytes:
    """The content of ``entry``, from the bytes that lie in its bundle's folder or on a server: unpacked and
    checked. Raises BundleError.
    """
    if len(stored) != entry.stored_bytes:
        raise BundleError(f"{where}: {len(stored)} bytes; bundle.json says {entry.stored_bytes}")
    data = stored if entry.gzip_bytes is None else _unpacked(stored, entry.bytes, where)
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise BundleError(f"{where}: its SHA-256 differs from bundle.json: the file is damaged")
    return data


def walk(folder: Path) -> Iterable[str]:
    """Relative paths, with /, of all files under ``folder``; links are given, never followed."""
    for root, directories, names in os.walk(folder):
        links = [name for name in directories if (Path(root) / name).is_symlink()]
        for name in [*names, *links]:
            yield (Path(root) / name).relative_to(folder).as_posix()


def lender(folder: Path, name: str) -> Path:
    """The folder of the bundle ``name`` that lies beside the bundle in ``folder``."""
    return folder.absolute().parent / name


def _unpacked(stored: bytes, size: int, where: str) -> bytes:
    """The one gzip member in ``stored``, which unpacks to ``size`` bytes and no more."""
    unpacker = zlib.decompressobj(_GZIP)
    try:
        data = unpacker.decompress(stored, size + 1)
    except zlib.error as error:
        raise BundleError(f"{where}: cannot be unpacked: {error}: the file is damaged") from None
    if len(data) != size or not unpacker.eof or unpacker.unused_data:
        raise BundleError(f"{where}: does not unpack to the {size} bytes that bundle.json says")
    return data
