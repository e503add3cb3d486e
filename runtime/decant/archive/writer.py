"""Making a part of its units' rows: the Parquet file, its index, its failures, and what the manifest says of
it. The same rows always give the same bytes.
"""

import hashlib
import json
import mmap
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from decant.archive.pack_task import unit_name
from decant.archive.schema import (
    DUPLICATE,
    FAILED,
    FAILURES,
    INDEX,
    PART,
    ROW_GROUP_BYTES,
    ROW_GROUP_ROWS,
    WORK_FOLDER,
    index_name,
    index_options,
    part_name,
    part_options,
)
from decant.archive.storage import Store
from decant.errors import FormatError

_PREFIX = struct.Struct("<I")


@dataclass(frozen=True)
class PartInfo:
    """What the manifest says of a part: names, hashes and counts; ``models`` are ``name:id`` in hex."""

    name: str
    rows: int
    bytes: int
    sha256: str
    index_bytes: int
    index_sha256: str
    payload_bytes: int
    source_bytes: int
    statuses: dict[str, int]
    models: dict[str, int]
    first_key: str | None = None
    last_key: str | None = None
    failed: int = 0

    def described(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return dict(vars(self))


@dataclass
class _Counts:
    rows: int = 0
    payload_bytes: int = 0
    source_bytes: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    first_key: str | None = None
    last_key: str | None = None

    def add(self, table: Any) -> None:
        self.rows += table.num_rows
        self.payload_bytes += pc.sum(table.column("bytes")).as_py() or 0
        self.source_bytes += pc.sum(table.column("source_bytes")).as_py() or 0
        self.statuses.update(table.column("status").to_pylist())
        self.models.update(table.column("model_id").drop_null().to_pylist())
        ends = pc.min_max(table.column("key")).as_py()
        self.first_key = min(filter(None, (self.first_key, ends["min"])))
        self.last_key = max(filter(None, (self.last_key, ends["max"])))


def done_name(part: int) -> str:
    """The file that says a part is done; its content is the part's ``PartInfo``."""
    return f"{WORK_FOLDER}/part-{part:05d}.json"


def failures_name(part: int) -> str:
    """The failures of a part, while the run is unfinished."""
    return f"{WORK_FOLDER}/failures-{part:05d}.parquet"


def assemble(store: Store, part: int, units: Iterable[int], failed_keys: Iterable[str]) -> PartInfo:
    """Make part ``part`` of its units' files. ``failed_keys`` are those of earlier parts: a duplicate of one
    is a failure too. Raises OSError, FormatError for a unit that is damaged.
    """
    failed = dict.fromkeys(failed_keys, "")
    failures: list[Any] = []
    info = write_part(store, part, _whole_rows(store, units, failed, failures))
    if failures:
        with store.new_file(failures_name(part)) as path:
            pq.write_table(pa.concat_tables(failures), path, compression="zstd")
    info = replace(info, failed=sum(table.num_rows for table in failures))
    store.write(done_name(part), json.dumps(info.described(), sort_keys=True).encode())
    for unit in units:
        store.remove(unit_name(unit))
    return info


def write_failures(store: Store, tables: list[Any]) -> None:
    """Write ``tables`` (of schema FAILED) as the archive's failures table; nothing where there is none."""
    if tables:
        with store.new_file(FAILURES) as path:
            pq.write_table(pa.concat_tables(tables), path, compression="zstd", write_page_checksum=True)


def write_part(store: Store, part: int, tables: Iterable[Any]) -> PartInfo:
    """Write the rows of ``tables`` (of schema PART) as a part with its index; nothing where there is none."""
    counts = _Counts()
    name = digest = index_digest = ""
    size = index_size = 0
    rest = _row_groups(tables)
    first = next(rest, None)
    if first is not None:
        name = part_name(part)
        with store.new_file(name) as path:
            with pq.ParquetWriter(path, PART, **part_options()) as writer:
                for table in chain([first], rest):
                    counts.add(table)
                    writer.write_table(table, row_group_size=table.num_rows)
            size, digest = path.stat().st_size, sha256_of(path)
            with store.new_file(index_name(name)) as index:
                with pq.ParquetWriter(index, INDEX, **index_options()) as writer:
                    for table in index_tables(path):
                        writer.write_table(table, row_group_size=table.num_rows)
                index_size, index_digest = index.stat().st_size, sha256_of(index)
    return PartInfo(
        name=name,
        bytes=size,
        sha256=digest,
        index_bytes=index_size,
        index_sha256=index_digest,
        rows=counts.rows,
        payload_bytes=counts.payload_bytes,
        source_bytes=counts.source_bytes,
        statuses=dict(sorted(counts.statuses.items())),
        models=dict(sorted(counts.models.items())),
        first_key=counts.first_key,
        last_key=counts.last_key,
    )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _whole_rows(
    store: Store, units: Iterable[int], failed: dict[str, str], failures: list[Any]
) -> Iterator[Any]:
    """The rows of units without those that failed, which go to ``failed`` and ``failures``."""
    for unit in units:
        name = unit_name(unit)
        try:
            table = pa.ipc.open_file(pa.BufferReader(store.read(name))).read_all()
        except pa.ArrowInvalid as error:
            store.remove(name)
            raise FormatError(
                f"{store.where}/{name}: damaged ({error}) and removed; run again with --resume"
            ) from None
        errors = []
        for key, fault, same_as in zip(
            *(table.column(column).to_pylist() for column in ("key", "error", "same_as")), strict=True
        ):
            if fault is None and same_as in failed:
                fault = failed[same_as] or f"{key}: is a duplicate of {same_as}, which failed"
            if fault is not None:
                failed[key] = fault
            errors.append(fault)
        column = pa.array(errors, pa.string())
        table = table.set_column(table.schema.get_field_index("error"), "error", column)
        bad = table.filter(pc.is_valid(column))
        if bad.num_rows:
            failures.append(bad.select(FAILED.names).cast(FAILED))
        yield table.filter(pc.is_null(column)).select(PART.names).cast(PART)


def _row_groups(tables: Iterable[Any]) -> Iterator[Any]:
    """The same rows in tables as long as a row group is to be."""
    kept: list[Any] = []
    rows = size = 0
    for table in tables:
        start = 0
        lengths = pc.fill_null(table.column("bytes"), 0).to_pylist()
        for index, length in enumerate(lengths):
            rows += 1
            size += length
            if rows == ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES:
                kept.append(table.slice(start, index + 1 - start))
                yield pa.concat_tables(kept).combine_chunks()
                kept, rows, size, start = [], 0, 0, index + 1
        if start < table.num_rows:
            kept.append(table.slice(start))
    if kept:
        yield pa.concat_tables(kept).combine_chunks()


def index_tables(path: Path) -> Iterator[Any]:
    """Where each payload lies in a part file, a table for each row group. Raises FormatError."""
    file = pq.ParquetFile(path)
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=["key", "image", "status", "same_as"])
            payloads = pc.struct_field(table.column("image"), "bytes")
            at = _start_of(file.metadata.row_group(group), "image.bytes")
            offsets: list[int | None] = []
            lengths: list[int | None] = []
            for status, scalar in zip(table.column("status").to_pylist(), payloads, strict=True):
                if status == DUPLICATE:
                    offsets.append(None)
                    lengths.append(None)
                    continue
                payload = scalar.as_py()
                found = content.find(_PREFIX.pack(len(payload)) + payload, at)
                if found < 0:
                    raise FormatError(f"{path}: a payload is not stored plain; a fault in decant")
                at = found + _PREFIX.size + len(payload)
                offsets.append(found + _PREFIX.size)
                lengths.append(len(payload))
            columns = {"key": table.column("key"), "offset": offsets, "length": lengths}
            yield pa.table({**columns, "same_as": table.column("same_as")}, schema=INDEX)


def _start_of(row_group: Any, column: str) -> int:
    for index in range(row_group.num_columns):
        if row_group.column(index).path_in_schema == column:
            return int(row_group.column(index).data_page_offset)
    raise FormatError(f"no column {column}; a fault in decant")
