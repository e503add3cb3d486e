"""Reading an archive: rows of its parts, and the payload of any picture by key or by number."""

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from decant.archive.manifest import Manifest, read_manifest
from decant.archive.schema import INDEX, index_name
from decant.archive.storage import Store, parquet_file, store_at
from decant.errors import FormatError
from decant.formats import container

# Indexes of parts that stay in memory: keys and about 35 bytes for each row.
_MOST_INDEXES = 256
SMALL_COLUMNS = ("key", "width", "height", "bytes", "model_id", "source_bytes", "date", "status", "same_as")


@dataclass(frozen=True)
class Place:
    """Where the payload of a picture lies: ``offset`` and ``length`` are bytes in the file of part ``part``.
    ``same_as`` is the key of the picture whose payload it is, where that is another.
    """

    key: str
    part: int
    row: int
    offset: int
    length: int
    same_as: str | None = None


class Index:
    """The index of one part: keys, and where payloads lie."""

    def __init__(self, table: Any) -> None:
        self.keys = table.column("key").combine_chunks()
        self._offsets = table.column("offset").combine_chunks()
        self._lengths = table.column("length").combine_chunks()
        self._same_as = table.column("same_as").combine_chunks()
        self._hashes: tuple[np.ndarray, np.ndarray] | None = None

    def row_of(self, key: str) -> int | None:
        """The row of a key, or None."""
        if self._hashes is None:
            # Sorted hashes and their rows: a dictionary of the keys takes ten times the memory.
            values = np.fromiter(map(hash, self.keys.to_pylist()), np.int64, len(self))
            order = np.argsort(values).astype(np.int32)
            self._hashes = values[order], order
        hashes, rows = self._hashes
        wanted = hash(key)
        first, end = hashes.searchsorted(wanted, "left"), hashes.searchsorted(wanted, "right")
        return next((int(row) for row in rows[first:end] if self.keys[int(row)].as_py() == key), None)

    def at(self, row: int) -> tuple[str, int | None, int | None, str | None]:
        """(key, offset, length, same_as) of a row; a duplicate has no offset."""
        columns = (self.keys, self._offsets, self._lengths, self._same_as)
        key, offset, length, same_as = (column[row].as_py() for column in columns)
        return key, offset, length, same_as

    def __len__(self) -> int:
        return len(self.keys)


class Archive:
    """An archive that is open for reading. ``manifest`` says what it holds.

    Files are opened when they are needed and none is kept open, so that an Archive may be used after a fork
    and sent to other processes.
    """

    def __init__(self, place: str | os.PathLike[str]) -> None:
        """Open the folder or fsspec address ``place``. Raises FormatError, OSError, MissingExtraError."""
        self.place = os.fspath(place)
        self.store: Store = store_at(place)
        self.manifest: Manifest = read_manifest(self.store)
        self._starts = [0]
        for part in self.manifest.parts:
            self._starts.append(self._starts[-1] + part.rows)
        self._indexes: OrderedDict[int, Index] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Archive {self.place} of {len(self)} pictures>"

    def __len__(self) -> int:
        return self._starts[-1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_indexes": OrderedDict()}

    def keys(self) -> Iterator[str]:
        """All keys, in order."""
        for part in range(len(self.manifest.parts)):
            yield from self.index(part).keys.to_pylist()

    def rows(
        self, columns: Iterable[str] = SMALL_COLUMNS, part: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Rows as dictionaries, of one part or of all. Raises FormatError for a damaged part."""
        parts = range(len(self.manifest.parts)) if part is None else [part]
        for number in parts:
            file = self.parquet(number)
            for group in range(file.num_row_groups):
                yield from self.row_group(number, group, columns, file).to_pylist()

    def parquet(self, part: int) -> Any:
        """The ParquetFile of a part. Raises FormatError, OSError."""
        name = self.manifest.parts[part].name
        try:
            return parquet_file(self.store, name, page_checksum_verification=True)
        except pa.ArrowException as error:
            raise FormatError(f"{self.where(part)}: cannot be read: {error}") from None

    def row_group(self, part: int, group: int, columns: Iterable[str], file: Any = None) -> Any:
        """Columns of one row group, as a table. Raises FormatError, OSError."""
        opened = file or self.parquet(part)
        try:
            return opened.read_row_group(group, columns=list(columns))
        except (pa.ArrowException, OSError) as error:
            raise FormatError(f"{self.where(part)}: row group {group}: cannot be read: {error}") from None

    def where(self, part: int) -> str:
        """A part's name in messages."""
        return f"{self.store.where}/{self.manifest.parts[part].name}"

    def index(self, part: int) -> Index:
        """The index of a part; of a part whose index is damaged, read from the part. Raises FormatError."""
        found = self._indexes.get(part)
        if found is None:
            found = Index(self._read_index(part))
            if len(found) != self.manifest.parts[part].rows:
                raise FormatError(
                    f"{self.where(part)}: its index has {len(found)} rows; the manifest says "
                    f"{self.manifest.parts[part].rows}"
                )
            self._indexes[part] = found
            while len(self._indexes) > _MOST_INDEXES:
                self._indexes.popitem(last=False)
        return found

    def part_of(self, number: int) -> tuple[int, int]:
        """(part, row) of a picture by its number, which may be negative. Raises IndexError."""
        number = number + len(self) if number < 0 else number
        if not 0 <= number < len(self):
            raise IndexError(f"{self.place}: picture {number} of {len(self)}")
        part = bisect_right(self._starts, number) - 1
        return part, number - self._starts[part]

    def find(self, key: str) -> Place:
        """Where the picture ``key`` lies. Raises KeyError, FormatError."""
        return self.at(*self.locate(key))

    def locate(self, which: str | int) -> tuple[int, int]:
        """(part, row) of a picture by key or number. Raises KeyError, IndexError, FormatError."""
        if not isinstance(which, str):
            return self.part_of(which)
        found = self._row(which)
        if found is None:
            raise KeyError(which)
        return found

    def row(self, part: int, row: int) -> dict[str, Any]:
        """A row of a part without its payload. Raises FormatError, OSError."""
        file = self.parquet(part)
        columns = [*SMALL_COLUMNS, "source_sha256", "payload_sha256"]
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if row < rows:
                found: dict[str, Any] = (
                    self.row_group(part, group, columns, file).slice(row, 1).to_pylist()[0]
                )
                return found
            row -= rows
        raise FormatError(f"{self.where(part)}: has no row {row} beyond its end")

    def has(self, key: str) -> bool:
        """Whether there is a picture ``key``; that of a duplicate counts. Raises FormatError."""
        return self._row(key) is not None

    def at(self, part: int, row: int) -> Place:
        """Where the picture in a row of a part lies. Raises FormatError."""
        key, offset, length, same_as = self.index(part).at(row)
        first_part, first_row = part, row
        if same_as is not None:
            original = self._row(same_as)
            if original is None:
                raise FormatError(f"{self.where(part)}: {key} is to be {same_as}, which is missing")
            first_part, first_row = original
            _, offset, length, _ = self.index(first_part).at(first_row)  # not a duplicate itself
        if offset is None or length is None or offset < 0 or length < 1:
            raise FormatError(f"{self.where(part)}: {key}: the index does not say where it lies")
        return Place(key, first_part, first_row, offset, length, same_as)

    def payload_at(self, place: Place) -> bytes:
        """The ``.dcn`` file at a place. Raises FormatError, OSError."""
        name = self.manifest.parts[place.part].name
        data = self.store.read_range(name, place.offset, place.length)
        if len(data) != place.length or not data.startswith(container.MAGIC):
            raise FormatError(f"{self.where(place.part)}: {place.key}: no .dcn file at byte {place.offset}")
        return data

    def payload(self, which: str | int) -> bytes:
        """The ``.dcn`` file of a picture by its key or number. Raises KeyError, IndexError, FormatError."""
        return self.payload_at(self.at(*self.locate(which)))

    def _row(self, key: str) -> tuple[int, int] | None:
        """(part, row) of a key, or None."""
        for part, info in enumerate(self.manifest.parts):
            if (info.first_key or "") <= key <= (info.last_key or ""):
                row = self.index(part).row_of(key)
                if row is not None:
                    return part, row
        return None

    def _read_index(self, part: int) -> Any:
        name = index_name(self.manifest.parts[part].name)
        try:
            # One thread: the start of others takes longer than the reading of so small a file.
            with parquet_file(self.store, name, page_checksum_verification=True) as file:
                return file.read(use_threads=False).cast(INDEX)
        except (pa.ArrowException, OSError, ValueError) as error:
            from decant.archive.recovery import index_of_part

            return index_of_part(self, part, str(error))
