"""Reads the rows of a model file ``.dcnm``, to write it again with other tables (docs/format/dcnm.md)."""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from decant.errors import BundleError
from decant.formats.manifest import MODEL_MAGIC
from decant.formats.model_file import coded_bits, table_rows

_HEAD_BYTES = 64
_SIZES, _GROUPS = slice(16, 44), slice(44, 60)
_ESCAPE, _ESCAPED_BITS = 24, 32
Tensors = Mapping[str, np.ndarray]


def network_rows(data: bytes, tables: Tensors) -> list[np.ndarray]:
    """The rows int64 of the integer networks of a model file with ``tables``. Raises BundleError for another
    file.
    """
    check(data)
    start = _HEAD_BYTES + data[5]
    bits = np.unpackbits(np.frombuffer(data[start:-4] + bytes(8), np.uint8), bitorder="little")
    at, rows = len(coded_bits(list(table_rows(tables, *_groups_of(data))))), []
    for count in _lengths(data):
        if at + 5 > len(bits):
            raise BundleError("model file: ends before its last row")
        row, at = _row(bits, at, count)
        rows.append(row)
    return rows


def rewritten(data: bytes, name: str, model_id: str, tables: Tensors, rows: Sequence[np.ndarray]) -> bytes:
    """The model file ``data`` with other ``tables``, another ``name`` and ``model_id`` (hex), and these
    network ``rows``.
    """
    head = bytearray(data[:_HEAD_BYTES])
    head[5], head[8:16] = len(name), bytes.fromhex(model_id)[:8]
    every = [*table_rows(tables, *_groups_of(data)), *rows]
    coded = np.packbits(coded_bits(every), bitorder="little").tobytes()
    block = bytes(head) + name.encode("ascii") + coded
    return block + struct.pack("<I", zlib.crc32(block))


def check(data: bytes) -> None:
    """Raise BundleError where ``data`` is no whole model file."""
    if data[:4] != MODEL_MAGIC or len(data) < _HEAD_BYTES + 5:
        raise BundleError("model file: not one (.dcnm expected)")
    if struct.unpack("<I", data[-4:])[0] != zlib.crc32(data[:-4]):
        raise BundleError("model file: damaged: its checksum differs")


def _groups_of(data: bytes) -> tuple[list[int], int]:
    """The channels of each channel group, and how many groups have a checkerboard."""
    return list(struct.unpack("<8H", data[_GROUPS])[: data[6]]), data[7]


def _lengths(data: bytes) -> Iterator[int]:
    """How many numbers each row of the networks has."""
    m, k, _, _, d, _, r, layers, hidden, _, known, predicted, *means = struct.unpack("<14H", data[_SIZES])
    groups, checkerboards = _groups_of(data)
    yield m
    shapes = [(4 * after, 9 * before) for before, after in pairwise([k, *means])]
    shapes.append((m, means[-1]))
    for count in groups[:checkerboards]:
        shapes += [(d, 4 * count), (count, d)]
    shapes += [(predicted, 9 * known)] if predicted else []
    shapes.append((16 * r, m))
    shapes += [(hidden, 9 * r), (r, hidden)] * layers
    shapes.append((48, 9 * r))
    for outputs, inputs in shapes:
        yield from [inputs] * outputs
        yield from (outputs, outputs)


def _row(bits: np.ndarray, at: int, count: int) -> tuple[np.ndarray, int]:
    """A row of ``count`` Rice codes that begins at bit ``at``, and the bit after it. Raises BundleError."""
    lower = int(bits[at : at + 5] @ (1 << np.arange(5)))
    at += 5
    values = np.empty(count, np.int64)
    window = bits[at : at + count * (_ESCAPE + _ESCAPED_BITS)]
    ones = np.flatnonzero(window).tolist()
    weights, escaped = 1 << np.arange(lower, dtype=np.int64), 1 << np.arange(_ESCAPED_BITS, dtype=np.int64)
    place, next_one, total = 0, 0, len(ones)
    starts = []
    for _ in range(count):
        while next_one < total and ones[next_one] < place:
            next_one += 1
        upper = (ones[next_one] - place) if next_one < total else _ESCAPE
        if upper >= _ESCAPE:
            starts.append((place + _ESCAPE, -1))
            place += _ESCAPE + _ESCAPED_BITS
        else:
            starts.append((place + upper + 1, upper))
            place += upper + 1 + lower
    if at + place > len(bits):
        raise BundleError("model file: ends within a row")
    for i, (start, upper) in enumerate(starts):
        if upper < 0:
            values[i] = window[start : start + _ESCAPED_BITS] @ escaped
        else:
            values[i] = (upper << lower) + (window[start : start + lower] @ weights if lower else 0)
    folded = np.where(values % 2, -(values + 1) // 2, values // 2)
    return folded, at + place
