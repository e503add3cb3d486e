"""A second decoder of the layout `grid`, written from docs/format.md with Python's integers alone.

It shares no code with the runtime and uses no package: `decode(FILE, BUNDLE)` gives z and the symbols as
nested lists. It takes well-formed files; the refusals are the runtime's.
"""

import json
import struct
from itertools import accumulate, product
from pathlib import Path
from typing import Any

FORMATS = {"U8": "B", "I8": "b", "U16": "H", "U32": "I", "I32": "i", "F32": "f"}
Grid = dict[tuple[int, ...], int]
Nested = list[list[list[int]]]


class Ans:
    """A stack of 32-bit words under a state of 64 bits."""

    def __init__(self, data: bytes) -> None:
        self.state, self.words = 0, list(struct.unpack(f"<{len(data) // 4}I", data))

    def letter(self, counts: list[int]) -> int:
        while self.state < 1 << 32 and self.words:
            self.state = self.state << 32 | self.words.pop()
        rest, letter = self.state % (1 << 24), 0
        while rest >= counts[letter]:
            rest -= counts[letter]
            letter += 1
        self.state = (self.state >> 24) * counts[letter] + rest
        return letter

    def number(self, bits: int) -> int:
        high = self.number(bits - 16) << 16 if bits > 16 else 0
        return high + self.letter([1 << max(24 - bits, 8)] * (1 << min(bits, 16))) if bits > 0 else 0


def read_tables(path: Path) -> dict[str, list[Any]]:
    """The tensors of a safetensors file, flat."""
    data = path.read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    tables = {}
    for name, tensor in json.loads(data[8:start]).items():
        values = data[slice(*(start + at for at in tensor["data_offsets"]))]
        tables[name] = [x for (x,) in struct.iter_unpack("<" + FORMATS[tensor["dtype"]], values)]
    return tables


def read_file(data: bytes) -> tuple[int, int, int, bytes]:
    """(width, height, quality, payload of the latents section)."""
    width, height, name = struct.unpack("<HHB", data[16:21])
    at = 21 + name + 4
    while True:
        kind, length = struct.unpack("<BI", data[at : at + 5])
        if kind == 1:
            return width, height, data[6], data[at + 5 : at + 5 + length]
        at += 5 + length + 4


def read_streams(payload: bytes, count: int) -> list[bytes]:
    found, at = [], 0
    for _ in range(count - 1):
        length = shift = 0
        while payload[at] > 127:
            length, shift, at = length | (payload[at] & 127) << shift, shift + 7, at + 1
        length |= payload[at] << shift
        found.append(payload[at + 1 : at + 1 + length])
        at += 1 + length
    return [*found, payload[at:]]


def split(counts: list[int], sizes: list[int]) -> list[list[int]]:
    return [counts[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]


def decode_stream(data: bytes, classes: list[int], tables: dict[str, list[Any]]) -> list[int]:
    """One stream -> the symbols, in the order of their ``classes``."""
    coder, symbols, found = Ans(data), [0] * len(classes), {}
    radius, runs = tables["entropy.radius"], tables["entropy.runs"]
    counts = split(tables["entropy.counts"], [0] + [2 * radius[c] + 2 - (runs[c] > 0) for c in range(1, 32)])
    run_counts = split(tables["entropy.run_counts"], [n + 1 if n else 0 for n in runs])
    for c in range(1, 32):
        k = coder.number(classes.count(c).bit_length()) if runs[c] else classes.count(c)
        zeros = [coder.letter(run_counts[c]) if runs[c] else 0 for _ in range(k)]
        found[c] = zeros, [coder.letter(counts[c]) for _ in range(k)]
    escapes = sum(z.count(runs[c] or -1) + s.count(len(counts[c]) - 1) for c, (z, s) in found.items())
    high = [(b, coder.number(b - 16) << 16) for b in [coder.number(5) for _ in range(escapes)]]
    beyond = [(1 << b) + a + coder.number(min(b, 16)) - 1 for b, a in high][::-1]
    for c, (zeros, letters) in found.items():
        places = [i for i, other in enumerate(classes) if other == c]
        ends = accumulate(z + beyond.pop() + 1 if z == runs[c] > 0 else z + 1 for z in zeros)
        for end, letter in zip(list(ends), letters, strict=True):
            symbol = letter - radius[c] + (runs[c] > 0 and letter >= radius[c])
            if letter == len(counts[c]) - 1:
                v = beyond.pop()
                symbol = (v // 2 + radius[c] + 1) * (-1 if v % 2 else 1)
            symbols[places[end - 1]] = symbol
    assert (coder.state, coder.words) == (0, [])
    return symbols


def interleave(planes: Grid) -> Grid:
    """Depth to space: each four planes become one of twice the height and width."""
    return {(c // 4, 2 * y + c % 4 // 2, 2 * x + c % 2): value for (c, y, x), value in planes.items()}


def scale_classes(v: Grid, shape: list[range], offset: list[int], tables: dict[str, list[Any]]) -> Grid:
    """v at its hyper x hz x wz places, offsets of channels in 1/1024 -> classes of 4 hz x 4 wz latents."""
    (hyper, hz, wz), bias = shape, tables["scale.hidden_bias"]
    hidden, classes = Grid(), Grid()
    for y, x in product(hz, wz):
        near = [v.get((k, y + i, x + j), 0) for k in hyper for i in (-1, 0, 1) for j in (-1, 0, 1)]
        for c, row in enumerate(split(tables["scale.hidden_weight"], [len(near)] * len(bias))):
            total = sum(a * b for a, b in zip(row, near, strict=True)) + bias[c]
            hidden[c, y, x] = min(max((total + 32) >> 6, 0), 255)
    hidden, width = interleave(hidden), len(bias) // 4
    for y, x in product(range(2 * len(hz)), range(2 * len(wz))):
        column = [hidden[c, y, x] for c in range(width)]
        for c, row in enumerate(split(tables["scale.out_weight"], [width] * (4 * len(offset)))):
            form = sum(a * b for a, b in zip(row, column, strict=True))
            classes[c, y, x] = min(max((form + offset[c // 4]) >> 10, 0), 31)
    return interleave(classes)


def nested(grid: Grid, planes: range, rows: range, columns: range) -> Nested:
    return [[[grid[c, y, x] for x in columns] for y in rows] for c in planes]


def decode(file: Path, bundle: Path) -> tuple[Nested, Nested]:
    """z (hyper, hz, wz) and symbols (channels, h, w) of a file."""
    latent = json.loads((bundle / "model.json").read_text())["latent"]
    tables = read_tables(bundle / "tables.safetensors")
    width, height, quality, payload = read_file(file.read_bytes())
    rows = [tables[f"quality.{name}"] for name in ("hyper_class", "hyper_multiplier", "class_offset")]
    hyper_class, multiplier, offset = (split(table, [len(table) // 100] * 100)[quality - 1] for table in rows)
    h, w, side = (height + 15) // 16, (width + 15) // 16, latent["group"]
    shape = [range(latent["hyper"]), range((h + 3) // 4), range((w + 3) // 4)]
    corners = list(product(range(0, h, side), range(0, w, side)))
    first, *rest = read_streams(payload, len(corners) + 1)
    flat = decode_stream(first, [hyper_class[k] for k, _, _ in product(*shape)], tables)
    z = dict(zip(product(*shape), flat, strict=True))
    v = {place: min(max(a * multiplier[place[0]], -(1 << 22)), 1 << 22) for place, a in z.items()}
    classes = scale_classes(v, shape, [256 * (o - 64) for o in offset], tables)
    symbols: Grid = {}
    for (top, left), data in zip(corners, rest, strict=True):
        ys, xs = range(top, min(top + side, h)), range(left, min(left + side, w))
        places = list(product(range(latent["channels"]), ys, xs))
        symbols |= zip(places, decode_stream(data, [classes[p] for p in places], tables), strict=True)
    return nested(z, *shape), nested(symbols, range(latent["channels"]), range(h), range(w))
