"""A reader of the model file `.dcnm`, written from docs/format/dcnm.md in numpy. It shares no code with the
runtime: `read(data)` takes a well-formed file and gives its tensors by the names of the documents.
"""

import struct
from dataclasses import dataclass

import numpy as np

Tensors = dict[str, np.ndarray]
SIZES = ["M", "K", "C", "G", "D", "E", "R", "L", "H", "F", "B", "P", "W0", "W1"]


@dataclass(frozen=True)
class ModelFile:
    name: str
    model_id: bytes  # its first 8 bytes
    sizes: dict[str, int]
    groups: list[int]
    halves: int
    tables: Tensors  # of the entropy model
    hyper: Tensors  # of the hyper synthesis
    synthesis: Tensors


class Rows:
    """Rows of Rice codes."""

    def __init__(self, data: bytes) -> None:
        self.bits = np.unpackbits(np.frombuffer(data + bytes(8), np.uint8), bitorder="little")
        places = np.where(self.bits, np.arange(len(self.bits)), len(self.bits))
        self.next_one = memoryview(np.ascontiguousarray(np.minimum.accumulate(places[::-1])[::-1]))
        self.at = 0

    def number(self, starts: np.ndarray, width: int) -> np.ndarray:
        return sum(self.bits[starts + i].astype(np.int64) << i for i in range(width)) + 0 * starts

    def row(self, count: int) -> np.ndarray:
        k = int(self.number(np.array([self.at]), 5)[0])
        at, begins, zeros = self.at + 5, [], []
        for _ in range(count):
            q = min(self.next_one[at] - at, 24)
            at += q + (q < 24)
            begins.append(at)
            zeros.append(q)
            at += k if q < 24 else 32
        self.at = at
        starts, upper = np.array(begins), np.array(zeros)
        folded = np.where(upper < 24, (upper << k) + self.number(starts, k), self.number(starts, 32))
        return np.where(folded % 2, -(folded + 1) // 2, folded // 2)

    def tensor(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        """A row for each output."""
        rows = [self.row(int(np.prod(shape[1:], dtype=int))) for _ in range(shape[0])]
        return np.stack(rows).reshape(shape).astype(dtype)

    def vector(self, count: int, dtype: type) -> np.ndarray:
        return self.row(count).astype(dtype)

    def layer(self, name: str, outputs: int, side: int, inputs: int) -> Tensors:
        return {
            f"{name}.weight": self.tensor((outputs, side, side, inputs), np.int16),
            f"{name}.bias": self.vector(outputs, np.int32),
            f"{name}.shift": self.vector(outputs, np.uint8),
        }


def read(data: bytes) -> ModelFile:
    length, groups, halves = data[5:8]
    sizes = dict(zip(SIZES, struct.unpack("<14H", data[16:44]), strict=True))
    channels = list(struct.unpack("<8H", data[44:60])[:groups])
    rows = Rows(data[64 + length : -4])
    tables = {**_qualities(rows, sizes), **_entropy(rows, sizes, channels, halves)}
    exponent = rows.vector(sizes["M"], np.uint8)
    hyper = {"exponent": exponent, **_hyper(rows, sizes, channels[:halves])}
    synthesis = {"exponent": exponent, **_synthesis(rows, sizes)}
    assert rows.at <= len(rows.bits) - 64 < rows.at + 8, "bits are left"
    return ModelFile(
        data[64 : 64 + length].decode(), data[8:16], sizes, channels, halves, tables, hyper, synthesis
    )


def _qualities(rows: Rows, sizes: dict[str, int]) -> Tensors:
    found = {"quality.step_levels": np.cumsum(rows.row(256)).astype(np.uint32).view(np.float32)}
    for key, count in (
        ("step_index", "M"),
        ("class_offset", "M"),
        ("hyper_multiplier", "K"),
        ("hyper_class", "K"),
    ):
        table = np.stack([rows.row(sizes[count]) for _ in range(100)])
        found[f"quality.{key}"] = np.cumsum(table, axis=0).astype(np.uint8)
    return found


def _entropy(rows: Rows, sizes: dict[str, int], channels: list[int], halves: int) -> Tensors:
    m, k, c = (sizes[key] for key in "MKC")
    radius, runs = rows.vector(32, np.uint8), rows.vector(32, np.uint16)
    found = {"entropy.radius": radius, "entropy.runs": runs, "context.magnitude": rows.vector(256, np.uint8)}
    pairs = [(int(r), int(run)) for r, run in zip(radius, runs, strict=True)][1:]
    counts = [rows.row(2 * r + (1 if run else 2)) for r, run in pairs]
    run_counts = [rows.row(run + 1) for _, run in pairs if run]
    found["entropy.counts"] = np.concatenate(counts).astype(np.uint32)
    found["entropy.run_counts"] = np.concatenate([*run_counts, []]).astype(np.uint32)
    found["scale.hidden_weight"] = rows.tensor((4 * c, k, 3, 3), np.int8)
    found["scale.hidden_bias"] = rows.vector(4 * c, np.int32)
    found["scale.out_weight"] = rows.tensor((4 * m, c), np.int8)
    before = 0
    for i, count in enumerate(channels):
        if i:
            found |= _context(rows, f"context.{i}", sizes, before, count)
        before += count
        if i < halves:
            found |= _context(rows, f"context.{i}.half" if i else "context.0", sizes, before, count)
    return found


def _context(rows: Rows, name: str, sizes: dict[str, int], known: int, channels: int) -> Tensors:
    width, second = sizes["D"], sizes["E"]
    found = {
        f"{name}.hidden_weight": rows.tensor((width, 3 * known), np.int8),
        f"{name}.hidden_bias": rows.vector(width, np.int32),
    }
    if second:
        found[f"{name}.mixed_weight"] = rows.tensor((second, width), np.int8)
        found[f"{name}.below_weight"] = rows.tensor((4 * second, sizes["C"]), np.int8)
        found[f"{name}.mixed_bias"] = rows.vector(second, np.int32)
    return found | {f"{name}.out_weight": rows.tensor((channels, second or width), np.int8)}


def _hyper(rows: Rows, sizes: dict[str, int], halved: list[int]) -> Tensors:
    found = rows.layer("mean.0", 4 * sizes["W0"], 3, sizes["K"])
    found |= rows.layer("mean.1", 4 * sizes["W1"], 3, sizes["W0"])
    found |= rows.layer("mean.2", sizes["M"], 1, sizes["W1"])
    for i, count in enumerate(halved):
        found |= rows.layer(f"near.{i}.hidden", sizes["D"], 1, 4 * count)
        found |= rows.layer(f"near.{i}.out", count, 1, sizes["D"])
    return found


def _synthesis(rows: Rows, sizes: dict[str, int]) -> Tensors:
    width, hidden = sizes["R"], sizes["H"]
    found = {"sizes": np.array([width, sizes["L"], sizes["F"]], np.int32)}
    if sizes["P"]:
        found |= rows.layer("prediction", sizes["P"], 3, sizes["B"])
    found |= rows.layer("up", 16 * width, 1, sizes["M"])
    for i in range(sizes["L"]):
        found |= rows.layer(f"render.{i}.first", hidden, 3, width)
        found |= rows.layer(f"render.{i}.second", width, 1, hidden)
    return found | rows.layer("last", 48, 3, width)
