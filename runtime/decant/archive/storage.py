"""Where an archive lies: a local folder, or a folder of any file system that fsspec knows (``s3://...``).

Every file appears whole or not at all. A local file is written under a temporary name, flushed to the disk
and renamed; an object store shows an object once it is uploaded.
"""

import errno
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol

from decant.formats.writing import write_atomically


class Store(Protocol):
    """A folder of files; names have forward slashes. Every method raises OSError."""

    where: str

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""

    def names(self, folder: str = "") -> list[str]:
        """The names of files and folders in a folder; empty where it is not there."""

    def size(self, name: str) -> int:
        """Bytes of a file."""

    def read(self, name: str) -> bytes:
        """All of a file."""

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start`` on, fewer at the end of the file."""

    def open(self, name: str) -> IO[bytes]:
        """A file open for reading and seeking."""

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """A new file, whole or not at all; ``durable``: after a power cut, too."""

    def create(self, name: str, write: Callable[[IO[bytes]], Any]) -> int:
        """A new file that ``write`` fills, whole or not at all, though not after a power cut; its bytes."""

    def new_file(self, name: str, *, durable: bool = True) -> Any:
        """A context with a local path; what is there at its end becomes the file ``name``."""

    def remove(self, name: str) -> None:
        """Remove a file or a whole folder, where it is there."""

    def local(self, name: str) -> Path | None:
        """The path of a file of a local folder."""


def store_at(place: str | os.PathLike[str]) -> Store:
    """The store of a folder's path, or of an address with a scheme. Raises MissingExtraError where the file
    system's package is not installed, OSError.
    """
    text = os.fspath(place)
    if "://" not in text:
        return LocalStore(Path(text))
    return RemoteStore(text)


class LocalStore:
    """A local folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.where = str(folder)
        self._folders: set[Path] = set()  # those that were made or found

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return (self.folder / name).is_file()

    def names(self, folder: str = "") -> list[str]:
        """The names of files and folders in a folder; empty where it is not there."""
        with suppress(FileNotFoundError):
            return sorted(os.listdir(self.folder / folder))
        return []

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return (self.folder / name).stat().st_size

    def read(self, name: str) -> bytes:
        """All of a file."""
        return (self.folder / name).read_bytes()

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start`` on, fewer at the end of the file."""
        with (self.folder / name).open("rb", buffering=0) as stream:
            stream.seek(start)
            return stream.read(length)

    def open(self, name: str) -> IO[bytes]:
        """A file open for reading and seeking."""
        return (self.folder / name).open("rb")

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """A new file, whole or not at all; ``durable``: after a power cut, too."""
        path = self._ready(name)

        def write(stream: IO[bytes]) -> None:
            stream.write(data)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())

        write_atomically(path, write)

    def create(self, name: str, write: Callable[[IO[bytes]], Any]) -> int:
        """A new file that ``write`` fills, whole or not at all, though not after a power cut; its bytes."""
        sizes = []

        def fill(stream: IO[bytes]) -> None:
            write(stream)
            sizes.append(stream.tell())

        write_atomically(self._ready(name), fill)
        return sizes[-1]

    @contextmanager
    def new_file(self, name: str, *, durable: bool = True) -> Iterator[Path]:
        """A context with a local path; what is there at its end becomes the file ``name``."""
        path = self._ready(name)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            yield temporary
            if durable:
                with temporary.open("rb+") as stream:
                    os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def remove(self, name: str) -> None:
        """Remove a file or a whole folder, where it is there."""
        path = self.folder / name
        self._folders.clear()
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def local(self, name: str) -> Path | None:
        """The path of a file of the folder."""
        return self.folder / name

    def _ready(self, name: str) -> Path:
        path = self.folder / name
        if path.parent not in self._folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(path.parent)
        return path


class RemoteStore:
    """A folder of a file system that fsspec knows."""

    def __init__(self, address: str) -> None:
        self.where = address
        self._system, self._root = file_system(address)
        self._root = self._root.rstrip("/")

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteStore, (self.where,)

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return bool(self._system.isfile(self._path(name)))

    def names(self, folder: str = "") -> list[str]:
        """The names of files and folders in a folder; empty where it is not there."""
        self._system.invalidate_cache()
        path = self._path(folder) if folder else self._root
        with suppress(FileNotFoundError):
            found = self._system.ls(path, detail=False)
            return sorted({entry.rstrip("/").rsplit("/", 1)[-1] for entry in found} - {""})
        return []

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return int(self._system.size(self._path(name)))

    def read(self, name: str) -> bytes:
        """All of a file."""
        return bytes(self._system.cat_file(self._path(name)))

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start`` on, fewer at the end of the file."""
        return bytes(self._system.cat_file(self._path(name), start=start, end=start + length))

    def open(self, name: str) -> IO[bytes]:
        """A file open for reading and seeking."""
        stream: IO[bytes] = self._system.open(self._path(name), "rb")
        return stream

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """A new file, whole or not at all; ``durable``: after a power cut, too."""
        path = self._path(name)
        self._system.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
        self._system.pipe_file(path, data)

    def create(self, name: str, write: Callable[[IO[bytes]], Any]) -> int:
        """A new file that ``write`` fills, whole or not at all; its bytes."""
        buffer = io.BytesIO()
        write(buffer)
        self.write(name, buffer.getvalue())
        return buffer.tell()

    @contextmanager
    def new_file(self, name: str, *, durable: bool = True) -> Iterator[Path]:
        """A context with a local path; what is there at its end becomes the file ``name``."""
        with tempfile.TemporaryDirectory(prefix="decant-") as folder:
            local = Path(folder) / "file"
            yield local
            path = self._path(name)
            self._system.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            self._system.put_file(str(local), path)

    def remove(self, name: str) -> None:
        """Remove a file or a whole folder, where it is there."""
        self._system.invalidate_cache()
        with suppress(FileNotFoundError):
            self._system.rm(self._path(name), recursive=True)

    def local(self, name: str) -> Path | None:
        """None: nothing here is a local file."""
        return None

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


def parquet_file(store: Store, name: str, **options: Any) -> Any:
    """A Parquet file of a store, open: a ParquetFile. Raises ArrowException, OSError."""
    import pyarrow.parquet as pq

    local = store.local(name)
    return pq.ParquetFile(store.open(name) if local is None else local, **options)


def file_system(address: str) -> tuple[Any, str]:
    """The fsspec file system of an address, and the path in it. Raises OSError for an unknown scheme,
    MissingExtraError where its package is not installed.
    """
    from fsspec.core import url_to_fs

    from decant.errors import MissingExtraError

    try:
        system, path = url_to_fs(address)
    except ImportError as error:
        scheme = address.split("://", 1)[0]
        raise MissingExtraError(f"{address}: the file system {scheme} cannot be used: {error}") from None
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), address) from None
    return system, path
