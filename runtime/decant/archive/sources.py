"""Where the pictures of an archive come from: folders, glob patterns, tar files (WebDataset shards among
them) and Parquet files with a column of images. Each gives items in a fixed order, and any item can be read
by itself.
"""

import errno
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from glob import glob, has_magic
from pathlib import Path
from typing import IO, Any

from decant.errors import ImageError
from decant.formats.opening import picture_suffixes
from decant.formats.plan import reason_to_skip
from decant.formats.reading import open_regular

FILE, TAR, PARQUET = "file", "tar", "parquet"
_KEY_COLUMNS = ("key", "__key__", "file_name", "filename", "path", "name", "id")
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")


@dataclass(frozen=True)
class Item:
    """One picture: ``source`` is the path of a file (bytes, as the system has it) or an address; ``at`` and
    ``size`` are bytes in it, or the row of a Parquet file and the bytes of its image.
    """

    key: str
    kind: str
    source: bytes
    at: int
    size: int

    @property
    def shown(self) -> str:
        """The item's place, for messages."""
        name = os.fsdecode(self.source)
        return {FILE: name, TAR: f"{name}:{self.key}", PARQUET: f"{name}: row {self.at}"}[self.kind]


def items_of(places: Sequence[str], *, leave_out: Path | None = None) -> Iterator[Item]:
    """The pictures of every place in turn. ``leave_out`` is a folder that is passed over.

    Keys are the paths below a folder, member names of a tar file, or a Parquet file's key column (its row
    number without one). With several tar or Parquet files, the file's name comes first: ``shard-000/a.jpg``.
    Raises OSError for what is not there, ImageError for what is no source.
    """
    suffixes = {*picture_suffixes(), ".dcn"}
    for place in places:
        if has_magic(place) and not Path(place).exists():
            yield from _of_pattern(place, suffixes)
        elif "://" in place:
            yield from _of_address(place, suffixes)
        elif Path(place).is_dir():
            yield from _of_folder(Path(place), suffixes, leave_out)
        else:
            yield from _of_file(place, len(places) > 1, suffixes)


def read_item(item: Item) -> bytes:
    """The bytes of an item's picture. Raises OSError, ImageError."""
    name = os.fsdecode(item.source)
    if item.kind == PARQUET:
        return _row(name, item.at)
    with _open(name) as stream:
        if item.kind == FILE:
            return stream.read()
        stream.seek(item.at)
        data = stream.read(item.size)
        if len(data) != item.size:
            raise ImageError(f"{item.shown}: cut off: {len(data)} bytes, {item.size} expected")
        return data


def _of_folder(folder: Path, suffixes: set[str], leave_out: Path | None) -> Iterator[Item]:
    """Files below ``folder`` in the order of their keys; links to folders are not followed."""
    root = str(folder)
    pending = [""]
    out = None if leave_out is None else os.path.realpath(leave_out)
    while pending:
        below = pending.pop()
        path = os.path.join(root, below)
        if not below.endswith("/") and below:
            if reason_to_skip(Path(below), suffixes, "picture") is None and os.path.isfile(path):
                yield Item(_key(below), FILE, os.fsencode(path), 0, os.path.getsize(path))
            continue
        with os.scandir(path) as entries:
            names = [e.name + "/" * e.is_dir(follow_symlinks=False) for e in entries]
        if out is not None:
            names = [n for n in names if not n.endswith("/") or os.path.realpath(path + "/" + n) != out]
        pending += [below + name for name in sorted(names, key=_key, reverse=True)]


def _of_pattern(pattern: str, suffixes: set[str]) -> Iterator[Item]:
    """Files that match a pattern; ``**`` crosses folders. Keys begin below the last folder without one of
    ``*?[``.
    """
    if "://" in pattern:
        yield from _of_address(pattern, suffixes)
        return
    found = sorted((name for name in glob(pattern, recursive=True) if os.path.isfile(name)), key=_key)
    if not found:
        raise FileNotFoundError(errno.ENOENT, "No file matches", pattern)
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if has_magic(part))
    base = Path(*parts[:fixed]) if fixed else Path()
    shards = sum(_is_container(name) for name in found)
    for name in found:
        if _is_container(name):
            yield from _of_file(name, shards > 1, suffixes)
        elif reason_to_skip(Path(name), suffixes, "picture") is None:
            key = _key(os.path.relpath(name, base).replace(os.sep, "/"))
            yield Item(key, FILE, os.fsencode(name), 0, os.path.getsize(name))


def _of_address(address: str, suffixes: set[str]) -> Iterator[Item]:
    """Files of a folder, of a pattern, or one container, on a file system that fsspec knows."""
    from decant.archive.storage import file_system

    system, path = file_system(address)
    scheme = address.split("://", 1)[0]
    if _is_container(path) and not has_magic(path):
        yield from _of_file(address, False, suffixes)
        return
    base = path.rstrip("/")
    if has_magic(path):
        found = system.glob(path, detail=True)
        base = path[: min(path.index(sign) for sign in "*?[" if sign in path)].rsplit("/", 1)[0]
    else:
        found = system.find(path, detail=True)
    if not found:
        raise FileNotFoundError(errno.ENOENT, "No file there", address)
    shards = sum(map(_is_container, found))
    for name in sorted(found):
        inside = f"{scheme}://{name.lstrip('/')}" if scheme != "memory" else f"memory://{name}"
        if found[name].get("type") == "directory":
            continue
        if _is_container(name):
            yield from _of_file(inside, shards > 1, suffixes)
        elif reason_to_skip(Path(name), suffixes, "picture") is None:
            key = name[len(base) :].lstrip("/")
            yield Item(key, FILE, inside.encode(), 0, int(found[name].get("size") or 0))


def _of_file(name: str, prefixed: bool, suffixes: set[str]) -> Iterator[Item]:
    """The pictures in a tar or Parquet file, or one picture file."""
    prefix = f"{Path(name).stem}/" if prefixed else ""
    if name.lower().endswith(_COMPRESSED):
        raise ImageError(f"{name}: a compressed tar file cannot be read at random; unpack it to .tar first")
    if name.lower().endswith(".tar"):
        yield from _of_tar(name, prefix, suffixes)
    elif name.lower().endswith(".parquet"):
        yield from _of_parquet(name, prefix)
    else:
        with _open(name) as stream:
            size = stream.seek(0, os.SEEK_END)
        yield Item(_key(Path(name).name), FILE, os.fsencode(name), 0, size)


def _is_container(name: str) -> bool:
    return name.lower().endswith((".tar", ".parquet", *_COMPRESSED))


def _of_tar(name: str, prefix: str, suffixes: set[str]) -> Iterator[Item]:
    """The pictures of a tar file in its order; members of other kinds (labels, captions) are passed over."""
    with _open(name) as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                for member in tar:
                    tar.members.clear()  # type: ignore[attr-defined]  # millions of members stay out of memory
                    path = Path(member.name)
                    if member.isreg() and reason_to_skip(path, suffixes, "picture") is None:
                        key = _key(prefix + member.name.removeprefix("./"))
                        yield Item(key, TAR, os.fsencode(name), member.offset_data, member.size)
        except (tarfile.TarError, EOFError) as error:
            raise ImageError(f"{name}: not a readable tar file: {error}") from None


def _of_parquet(name: str, prefix: str) -> Iterator[Item]:
    """The images of a Parquet file: its first column of bytes, or of structs with ``bytes``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    file = _parquet(name)
    column = _image_column(file.schema_arrow, name)
    keys = next((c for c in _KEY_COLUMNS if c in file.schema_arrow.names and c != column), None)
    row = 0
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=[column, *([keys] if keys else [])])
        images = table.column(column)
        sizes = pc.binary_length(_bytes_of(images)).to_pylist()
        names: list[Any] = table.column(keys).to_pylist() if keys else [None] * len(sizes)
        if not keys and pa.types.is_struct(images.type) and "path" in [f.name for f in images.type]:
            names = pc.struct_field(images, "path").to_pylist()
        for index, (size, key) in enumerate(zip(sizes, names, strict=True)):
            if size is not None:
                text = f"{row + index:012d}" if key is None else str(key)
                yield Item(_key(prefix + text), PARQUET, os.fsencode(name), row + index, size)
        row += len(sizes)


def _image_column(schema: Any, name: str) -> str:
    import pyarrow as pa

    def holds(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return any(field.name == "bytes" and holds(field.type) for field in kind)
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    found = [field.name for field in schema if holds(field.type)]
    preferred = [column for column in ("image", "img", "jpg", "png", "picture") if column in found]
    if not found:
        raise ImageError(f"{name}: no column of images: bytes, or a struct with bytes, expected")
    return str((preferred or found)[0])


def _bytes_of(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column


def _parquet(name: str) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(_open(name) if "://" in name else name)
    except pa.ArrowInvalid as error:
        raise ImageError(f"{name}: not a readable Parquet file: {error}") from None


@lru_cache(maxsize=2)
def _group(name: str, group: int) -> Any:
    """The images of a row group, kept for the next row."""
    file = _parquet(name)
    column = _image_column(file.schema_arrow, name)
    return _bytes_of(file.read_row_group(group, columns=[column]).column(column))


@lru_cache(maxsize=16)
def _group_rows(name: str) -> tuple[int, ...]:
    metadata = _parquet(name).metadata
    return tuple(metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))


def _row(name: str, row: int) -> bytes:
    for group, rows in enumerate(_group_rows(name)):
        if row < rows:
            data: bytes = _group(name, group)[row].as_py()
            return data
        row -= rows
    raise ImageError(f"{name}: has no row {row} any more")


def _open(name: str) -> IO[bytes]:
    if "://" not in name:
        return open_regular(name)
    from decant.archive.storage import file_system

    system, path = file_system(name)
    stream: IO[bytes] = system.open(path, "rb")
    return stream


def _key(name: str) -> str:
    """A name as text; bytes that are no UTF-8 are written as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
