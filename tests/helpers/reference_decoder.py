"""A second decoder of the layout `grid`, written from docs/format/grid.md with Python's integers alone.

It shares no code with the runtime and uses no package: `decode(FILE, BUNDLE)` gives z and the symbols by
their places. It takes well-formed files; the refusals are the runtime's.
"""

import json
import struct
from itertools import accumulate, pairwise, product
from pathlib import Path
from typing import Any

FORMATS = {"U8": "B", "I8": "b", "U16": "H", "U32": "I", "I32": "i", "F16": "e", "F32": "f"}
Grid = dict[tuple[int, ...], int]
Tables = dict[str, list[Any]]


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


def read_tables(path: Path) -> Tables:
    """The tensors of a safetensors file, flat."""
    data, tables = path.read_bytes(), {}
    start = 8 + struct.unpack("<Q", data[:8])[0]
    for name, tensor in json.loads(data[8:start]).items():
        values = data[slice(*(start + at for at in tensor["data_offsets"]))]
        tables[name] = [x for (x,) in struct.iter_unpack("<" + FORMATS[tensor["dtype"]], values)]
    return tables


def read_file(data: bytes) -> tuple[int, int, int, bytes]:
    """(width, height, quality, payload of the latents section)."""
    width, height, name = struct.unpack("<HHB", data[16:21])
    at = 21 + name + 4
    while data[at] != 1:
        at += 9 + int.from_bytes(data[at + 1 : at + 5], "little")
    return width, height, data[6], data[at + 5 :][: int.from_bytes(data[at + 1 : at + 5], "little")]


def read_streams(payload: bytes, count: int) -> list[Ans]:
    found, at = [], 0
    for _ in range(count - 1):
        length = shift = 0
        while payload[at] > 127:
            length, shift, at = length | (payload[at] & 127) << shift, shift + 7, at + 1
        length |= payload[at] << shift
        found.append(Ans(payload[at + 1 : at + 1 + length]))
        at += 1 + length
    return [*found, Ans(payload[at:])]


def split(counts: list[int], sizes: list[int]) -> list[list[int]]:
    return [counts[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]


def decode_part(coder: Ans, classes: list[int], tables: Tables) -> list[int]:
    """The next part of a stream -> the symbols, in the order of their ``classes``."""
    symbols, found, radius, runs = [0] * len(classes), {}, tables["entropy.radius"], tables["entropy.runs"]
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
                symbol = ((v := beyond.pop()) // 2 + radius[c] + 1) * (-1 if v % 2 else 1)
            symbols[places[end - 1]] = symbol
    return symbols


def linear(weight: list[int], column: list[int]) -> list[int]:
    """``weight``, row after row, times ``column``."""
    rows = split(weight, [len(column)] * (len(weight) // len(column)))
    return [sum(a * b for a, b in zip(row, column, strict=True)) for row in rows]


def hidden_layer(sums: list[int], biases: list[int]) -> list[int]:
    return [min(max((total + bias + 32) >> 6, 0), 255) for total, bias in zip(sums, biases, strict=True)]


def scale_hidden(v: Grid, hyper: range, y: int, x: int, tables: Tables) -> list[int]:
    """The hidden values at a latent; shuffled, plane 4c + 2i + j holds the places of row i and column j."""
    near = [v.get((k, y // 4 + i, x // 4 + j), 0) for k in hyper for i in (-1, 0, 1) for j in (-1, 0, 1)]
    sums = linear(tables["scale.hidden_weight"], near)
    return hidden_layer(sums, tables["scale.hidden_bias"])[y // 2 % 2 * 2 + x // 2 % 2 :: 4]


def scale_sums(hidden: list[int], y: int, x: int, tables: Tables) -> list[int]:
    """f of all channels of a latent, of the hidden values there."""
    return linear(tables["scale.out_weight"], hidden)[y % 2 * 2 + x % 2 :: 4]


def context_sums(
    e: Grid, name: str, known: int, below: list[int], y: int, x: int, tables: Tables
) -> list[int]:
    """g of the channels of a part, of the magnitudes ``e`` of its group's channels ``known`` by then."""
    near = [e.get((c, y, x), 0) for c in range(known)]
    near += [e.get((c, y, x - 1), 0) + e.get((c, y, x + 1), 0) for c in range(known)]
    near += [e.get((c, y - 1, x), 0) + e.get((c, y + 1, x), 0) for c in range(known)]
    d = hidden_layer(linear(tables[f"{name}.hidden_weight"], near), tables[f"{name}.hidden_bias"])
    if f"{name}.mixed_weight" in tables:
        more = linear(tables[f"{name}.below_weight"], below)[y % 2 * 2 + x % 2 :: 4]
        sums = [a + b for a, b in zip(linear(tables[f"{name}.mixed_weight"], d), more, strict=True)]
        d = hidden_layer(sums, tables[f"{name}.mixed_bias"])
    return linear(tables[f"{name}.out_weight"], d)


def decode(file: Path, bundle: Path) -> tuple[Grid, Grid]:
    """z (hyper, hz, wz) and symbols (channels, h, w) of a file."""
    latent = json.loads((bundle / "model.json").read_text())["latent"]
    tables = read_tables(bundle / "tables.safetensors")
    width, height, quality, payload = read_file(file.read_bytes())
    rows = [tables[f"quality.{name}"] for name in ("hyper_class", "hyper_multiplier", "class_offset")]
    hyper_class, multiplier, offset = (split(table, [len(table) // 100] * 100)[quality - 1] for table in rows)
    h, w, side, hyper = (height + 15) // 16, (width + 15) // 16, latent["group"], range(latent["hyper"])
    symbols, corners = Grid(), list(product(range(0, h, side), range(0, w, side)))
    first, *coders = read_streams(payload, len(corners) + 1)
    places = list(product(hyper, range((h + 3) // 4), range((w + 3) // 4)))
    z = dict(zip(places, decode_part(first, [hyper_class[k] for k, _, _ in places], tables), strict=True))
    v = {place: min(max(a * multiplier[place[0]], -(1 << 22)), 1 << 22) for place, a in z.items()}
    below = {(y, x): scale_hidden(v, hyper, y, x, tables) for y, x in product(range(h), range(w))}
    f = {at: scale_sums(hidden, *at, tables) for at, hidden in below.items()}
    for (top, left), coder in zip(corners, coders, strict=True):
        square, e = list(product(range(top, min(top + side, h)), range(left, min(left + side, w)))), Grid()
        for stage, (start, end) in enumerate(pairwise([0, *accumulate(latent["stages"])])):
            for colours in [(0,), (1,)] if stage < latent.get("halves", 1) else [(0, 1)]:
                classes, second, g = Grid(), colours == (1,), {}
                if stage or second:
                    name = f"context.{stage}" + (".half" if stage and second else "")
                    known = end if second else start
                    g = {at: context_sums(e, name, known, below[at], *at, tables) for at in square}
                for c, at in product(range(start, end), square):
                    total = f[at][c] + 256 * (offset[c] - 64) + (g[at][c - start] if g else 0)
                    classes[c, *at] = min(max(total >> 10, 0), 31) if sum(at) % 2 in colours else 0
                part = decode_part(coder, list(classes.values()), tables)
                symbols |= {at: symbols.get(at, 0) + a for at, a in zip(classes, part, strict=True)}
                e |= {at: tables["context.magnitude"][min(abs(symbols[at]), 255)] for at in classes}
    assert all((coder.state, coder.words) == (0, []) for coder in [first, *coders])
    return z, symbols
