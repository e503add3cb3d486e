"""The plan of a packing run: every picture with its place, which are duplicates, and how the work is divided.

The plan is made once, written to the archive's work folder, and read again when the run is resumed: what a
unit or a part holds never changes, whatever was killed in between.

    items in order  ->  units (what one worker does before its result is on disk)  ->  parts (Parquet files)
"""

import hashlib
import json
import os
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from decant.archive.schema import WORK_FOLDER
from decant.archive.settings import PackSettings
from decant.archive.sources import Item, read_item
from decant.archive.storage import Store, parquet_file
from decant.errors import DecantError, FormatError
from decant.process.cores import usable_cores
from decant.process.workers import in_order

_ITEMS = f"{WORK_FOLDER}/items.parquet"  # without what was found of duplicates
_PLAN = f"{WORK_FOLDER}/plan.parquet"
_JOB = f"{WORK_FOLDER}/job.json"
_BATCH = 8192
_COLUMNS = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("source", pa.binary()),
        pa.field("at", pa.int64()),
        pa.field("size", pa.int64()),
        pa.field("same_as", pa.string()),  # the key of the first item with the same bytes
        pa.field("sha256", pa.binary(32)),  # of a duplicate's bytes
        pa.field("error", pa.string()),  # why the item cannot be in the archive
    ]
)


@dataclass(frozen=True)
class Planned:
    """An item of the plan. ``same_as`` is the key of the first item with the same bytes, whose SHA-256 is
    ``sha256``; ``error`` says why the item cannot be packed.
    """

    item: Item
    same_as: str | None
    sha256: bytes | None
    error: str | None


class Plan:
    """A plan on disk. ``unit_starts`` and ``part_starts`` hold the first item and the first unit of each,
    and the end.
    """

    def __init__(self, file: Any, settings: PackSettings) -> None:
        self._file = file
        self._group_starts = [0]
        sizes = np.empty(file.metadata.num_rows, np.int64)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=["size", "same_as"])
            start = self._group_starts[-1]
            size = table.column("size").to_numpy()
            sizes[start : start + len(size)] = np.where(table.column("same_as").is_null(), size, 0)
            self._group_starts.append(start + len(size))
        self.count = len(sizes)
        self.unit_starts = _cut(sizes, settings.unit_rows, settings.unit_bytes)
        self.part_starts = [
            *range(0, len(self.unit_starts) - 1, settings.part_units),
            len(self.unit_starts) - 1,
        ]
        self.bytes = int(sizes.sum())

    @property
    def units(self) -> int:
        """How many units there are."""
        return len(self.unit_starts) - 1

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return len(self.part_starts) - 1

    def part_of(self, unit: int) -> int:
        """The part that a unit belongs to."""
        return bisect_right(self.part_starts, unit) - 1

    def units_of(self, part: int) -> range:
        """The units of a part."""
        return range(self.part_starts[part], self.part_starts[part + 1])

    def rows_of(self, unit: int) -> range:
        """The items of a unit, by their number."""
        return range(self.unit_starts[unit], self.unit_starts[unit + 1])

    def items(self, unit: int) -> list[Planned]:
        """The items of a unit."""
        rows = self.rows_of(unit)
        first = bisect_right(self._group_starts, rows.start) - 1
        last = bisect_right(self._group_starts, rows.stop - 1) - 1
        tables = [self._file.read_row_group(group) for group in range(first, last + 1)]
        table = pa.concat_tables(tables).slice(rows.start - self._group_starts[first], len(rows))
        return [Planned(_item(row), row["same_as"], row["sha256"], row["error"]) for row in table.to_pylist()]


def _cut(sizes: "np.ndarray", rows: int, limit: int) -> list[int]:
    """First items of units of at most ``rows`` items, that end once they reach ``limit`` bytes."""
    ends = np.cumsum(sizes)
    starts = [0]
    while starts[-1] < len(sizes):
        start = starts[-1]
        before = int(ends[start - 1]) if start else 0
        full = int(np.searchsorted(ends, before + limit)) + 1
        starts.append(min(start + rows, full, len(sizes)))
    return starts


def make_plan(
    store: Store, items: Iterable[Item], settings: PackSettings, job: dict[str, Any], threads: int = 0
) -> Plan:
    """Write the plan of ``items``, and the job it belongs to. Raises OSError, FormatError for no item."""
    with store.new_file(_ITEMS) as path:
        sizes = array("q")
        known: set[bytes] = set()
        repeated: set[int] = set()
        with pq.ParquetWriter(path, _COLUMNS, compression="zstd") as writer:
            batch: list[Item] = []
            for item in items:
                digest = hashlib.blake2b(item.key.encode(), digest_size=12).digest()
                if digest in known:
                    repeated.add(len(sizes))
                known.add(digest)
                sizes.append(item.size)
                batch.append(item)
                if len(batch) == _BATCH:
                    _write(writer, batch)
                    batch = []
            _write(writer, batch)
    if not sizes:
        raise FormatError(f"{', '.join(job['sources'])}: no picture found")
    file = parquet_file(store, _ITEMS)
    same = {} if settings.keep_duplicates else _duplicates(file, _candidates(sizes, repeated), threads)
    with store.new_file(_PLAN) as path, pq.ParquetWriter(path, _COLUMNS, compression="zstd") as writer:
        for start, table in _groups(file):
            writer.write_table(_marked(table, start, same, repeated))
    store.remove(_ITEMS)
    store.write(_JOB, json.dumps(job, indent=1, sort_keys=True).encode())
    return read_plan(store, settings)


def read_plan(store: Store, settings: PackSettings) -> Plan:
    """The plan in a store's work folder. Raises OSError, FormatError."""
    try:
        return Plan(parquet_file(store, _PLAN), settings)
    except pa.ArrowInvalid as error:
        raise FormatError(
            f"{store.where}/{_PLAN}: damaged: {error}; remove {WORK_FOLDER} and start anew"
        ) from None


def read_job(store: Store) -> dict[str, Any] | None:
    """The job of an unfinished archive, or None. Raises FormatError."""
    if not store.exists(_JOB):
        return None
    try:
        job: dict[str, Any] = json.loads(store.read(_JOB))
    except ValueError:
        raise FormatError(f"{store.where}/{_JOB}: damaged; remove {WORK_FOLDER} and start anew") from None
    return job


def _write(writer: Any, batch: list[Item]) -> None:
    columns: dict[str, Any] = {
        "key": [item.key for item in batch],
        "kind": [item.kind for item in batch],
        "source": [item.source for item in batch],
        "at": [item.at for item in batch],
        "size": [item.size for item in batch],
    }
    empty = {name: [None] * len(batch) for name in ("same_as", "sha256", "error")}
    writer.write_table(pa.table({**columns, **empty}, schema=_COLUMNS))


def _groups(file: Any) -> Iterable[tuple[int, Any]]:
    start = 0
    for group in range(file.num_row_groups):
        table = file.read_row_group(group)
        yield start, table
        start += table.num_rows


def _candidates(sizes: "array[int]", repeated: set[int]) -> "np.ndarray":
    """Items of a size that occurs twice, without those of a repeated key: no other can be a duplicate."""
    all_sizes = np.frombuffer(sizes, np.int64)
    order = np.argsort(all_sizes, kind="stable")
    equal = np.flatnonzero(np.diff(all_sizes[order]) == 0)
    found = np.unique(np.concatenate([order[equal], order[equal + 1]]))
    return np.setdiff1d(found, np.fromiter(repeated, np.int64, len(repeated)), assume_unique=True)


def _duplicates(file: Any, candidates: "np.ndarray", threads: int) -> dict[int, tuple[str, bytes]]:
    """Those of ``candidates`` that repeat the bytes of an earlier one: its key, and their SHA-256."""
    if not len(candidates):
        return {}
    marked = np.zeros(file.metadata.num_rows, bool)
    marked[candidates] = True

    def suspects() -> Iterable[Item]:
        for start, table in _groups(file):
            for index in np.flatnonzero(marked[start : start + table.num_rows]):
                yield _item(table.slice(int(index), 1).to_pylist()[0])

    digests = np.zeros(len(candidates), "V32")
    for index, digest in enumerate(in_order(_digest, suspects(), threads or usable_cores())):
        digests[index] = digest if digest is not None else index.to_bytes(32, "big")
    _, firsts, inverse = np.unique(digests, return_index=True, return_inverse=True)
    original = candidates[firsts[inverse.ravel()]]
    repeats = np.flatnonzero(original != candidates)
    wanted = sorted({int(original[index]) for index in repeats})
    keys = _keys(file, wanted)
    return {
        int(candidates[index]): (keys[int(original[index])], digests[index].tobytes()) for index in repeats
    }


def _keys(file: Any, rows: Sequence[int]) -> dict[int, str]:
    keys: dict[int, str] = {}
    wanted = iter([*rows, -1])
    row = next(wanted)
    for start, table in _groups(file):
        while start <= row < start + table.num_rows:
            keys[row] = table.column("key")[row - start].as_py()
            row = next(wanted)
    return keys


def _item(row: dict[str, Any]) -> Item:
    return Item(row["key"], row["kind"], row["source"], row["at"], row["size"])


def _digest(item: Item) -> bytes | None:
    """SHA-256 of an item; None where it cannot be read, which packing will say."""
    try:
        return hashlib.sha256(read_item(item)).digest()
    except (OSError, DecantError):
        return None


def _marked(table: Any, start: int, same: dict[int, tuple[str, bytes]], repeated: set[int]) -> Any:
    """A batch of the plan with duplicates and repeated keys filled in."""
    rows = range(start, start + table.num_rows)
    pairs = [same.get(row, (None, None)) for row in rows]
    errors = ["another picture has this key" if row in repeated else None for row in rows]
    columns = {name: table.column(name) for name in ("key", "kind", "source", "at", "size")}
    columns |= {"same_as": [p[0] for p in pairs], "sha256": [p[1] for p in pairs], "error": errors}
    return pa.table(columns, schema=_COLUMNS)


def source_names(sources: Sequence[str]) -> list[str]:
    """Sources as a job keeps them: local paths absolute."""
    return [place if "://" in place else os.path.abspath(place) for place in sources]
