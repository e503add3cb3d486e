"""Writes the model file ``.dcnm`` of a codec's bundle: everything that libdcn needs (docs/format/dcnm.md).

Integers are stored row by row as Rice codes (Rice and Plaunt 1971); libdcn (``rice.c``, ``model.c``) reads
them.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from decant.errors import BundleError
from decant.formats.manifest import MODEL_MAGIC

VERSION = 1
_HEAD = struct.Struct("<4sBBBB8s14H8HI")
_ESCAPE, _MOST_LOWER, _ESCAPED_BITS = 24, 30, 32
_MOST_GROUPS = 8
_FIRST_SCALE, _SCALES = 1, 32
Tensors = Mapping[str, np.ndarray]


def pack(
    name: str, model_id: str, latent: Mapping[str, Any], tables: Tensors, hyper: Tensors, synthesis: Tensors
) -> bytes:
    """The model file of a bundle ``name`` with ``model_id`` (hex).

    ``latent`` is that value of ``model.json``; ``tables`` are the tensors of ``tables.safetensors``,
    ``hyper`` and ``synthesis`` those of the integer networks (docs/synthesis.md). Raises BundleError where
    they do not fit together.
    """
    if "stages" not in latent:
        raise BundleError(f"bundle {name}: a model file holds layout grid; this is {latent.get('layout')}")
    groups = list(latent["stages"])
    checkerboard_groups = latent.get("halves", 1)
    head = _head(name, model_id, latent, hyper, synthesis)
    rows = [
        *table_rows(tables, groups, checkerboard_groups),
        *_networks(name, hyper, synthesis, checkerboard_groups, latent["context_width"]),
    ]
    block = head + name.encode("ascii") + _bits(rows)
    return block + struct.pack("<I", zlib.crc32(block))


def _head(name: str, model_id: str, latent: Mapping[str, Any], hyper: Tensors, synthesis: Tensors) -> bytes:
    width, layers, first = (int(size) for size in synthesis["sizes"])
    hidden = len(synthesis["render.0.first.weight"]) if layers else 0
    predicted = synthesis.get("prediction.weight")
    known, count = (predicted.shape[3], len(predicted)) if predicted is not None else (0, 0)
    means = [len(hyper[f"mean.{i}.weight"]) // 4 for i in range(2)]
    sizes = [latent[key] for key in ("channels", "hyper", "class_width", "group", "context_width")]
    sizes += [latent.get("mixed_width", 0), width, layers, hidden, first, known, count, *means]
    groups = [*latent["stages"], *[0] * (_MOST_GROUPS - len(latent["stages"]))]
    counts = len(latent["stages"]), latent.get("halves", 1)
    identity = bytes.fromhex(model_id)[:8]
    return _HEAD.pack(MODEL_MAGIC, VERSION, len(name), *counts, identity, *sizes, *groups, 0)


def table_rows(tables: Tensors, groups: Sequence[int], checkerboard_groups: int) -> Iterator[np.ndarray]:
    """The rows of a model file that hold ``tables``; those of the networks follow."""
    yield from _qualities(tables)
    yield from _entropy(tables, groups, checkerboard_groups)


def _qualities(tables: Tensors) -> Iterator[np.ndarray]:
    levels = tables["quality.step_levels"].view(np.uint32).astype(np.int64)
    yield np.diff(levels, prepend=0)
    for key in ("step_index", "class_offset", "hyper_multiplier", "hyper_class"):
        table = tables[f"quality.{key}"].astype(np.int64)
        yield from np.diff(table, axis=0, prepend=0)


def _entropy(tables: Tensors, groups: Sequence[int], checkerboard_groups: int) -> Iterator[np.ndarray]:
    radius, runs = tables["entropy.radius"].astype(int), tables["entropy.runs"].astype(int)
    yield from (radius, runs, tables["context.magnitude"])
    yield from _alphabets(
        tables["entropy.counts"], [2 * r + (1 if run else 2) for r, run in zip(radius, runs, strict=True)]
    )
    yield from _alphabets(tables["entropy.run_counts"], [run + 1 if run else 0 for run in runs])
    yield from _matrix(tables["scale.hidden_weight"])
    yield tables["scale.hidden_bias"]
    yield from _matrix(tables["scale.out_weight"])
    for i in range(len(groups)):
        if i:
            yield from _context(tables, f"context.{i}")
        if i < checkerboard_groups:
            yield from _context(tables, f"context.{i}.half" if i else "context.0")


def _alphabets(counts: np.ndarray, sizes: Sequence[int]) -> Iterator[np.ndarray]:
    at = 0
    for scale in range(_FIRST_SCALE, _SCALES):
        if sizes[scale]:
            yield counts[at : at + sizes[scale]]
        at += sizes[scale]


def _context(tables: Tensors, name: str) -> Iterator[np.ndarray]:
    yield from _matrix(tables[f"{name}.hidden_weight"])
    yield tables[f"{name}.hidden_bias"]
    if f"{name}.mixed_weight" in tables:
        yield from _matrix(tables[f"{name}.mixed_weight"])
        yield from _matrix(tables[f"{name}.below_weight"])
        yield tables[f"{name}.mixed_bias"]
    yield from _matrix(tables[f"{name}.out_weight"])


def _networks(
    name: str, hyper: Tensors, synthesis: Tensors, checkerboard_groups: int, context_width: int
) -> Iterator[np.ndarray]:
    if not np.array_equal(hyper["exponent"], synthesis["exponent"]):
        raise BundleError(f"bundle {name}: hyper synthesis and synthesis have other exponents of latents")
    if any(len(hyper[f"near.{i}.hidden.weight"]) != context_width for i in range(checkerboard_groups)):
        raise BundleError(f"bundle {name}: a mean context whose hidden layer is not {context_width} wide")
    yield synthesis["exponent"]
    for i in range(3):
        yield from _layer(hyper, f"mean.{i}")
    for i in range(checkerboard_groups):
        yield from _layer(hyper, f"near.{i}.hidden")
        yield from _layer(hyper, f"near.{i}.out")
    if "prediction.weight" in synthesis:
        yield from _layer(synthesis, "prediction")
    yield from _layer(synthesis, "up")
    for i in range(int(synthesis["sizes"][1])):
        yield from _layer(synthesis, f"render.{i}.first")
        yield from _layer(synthesis, f"render.{i}.second")
    yield from _layer(synthesis, "last")


def _layer(tensors: Tensors, name: str) -> Iterator[np.ndarray]:
    yield from _matrix(tensors[f"{name}.weight"])
    yield tensors[f"{name}.bias"]
    yield tensors[f"{name}.shift"]


def _matrix(tensor: np.ndarray) -> Iterator[np.ndarray]:
    yield from tensor.reshape(len(tensor), -1)


def _bits(rows: Sequence[np.ndarray]) -> bytes:
    """``coded_bits``, filled up with zero bits to whole bytes."""
    return np.packbits(coded_bits(rows), bitorder="little").tobytes()


def coded_bits(rows: Sequence[np.ndarray]) -> np.ndarray:
    """uint8 array of bits. Each row: 5 bits, then its values as Rice codes."""
    return np.concatenate([_row_bits(np.asarray(row).astype(np.int64).ravel()) for row in rows])


def _row_bits(values: np.ndarray) -> np.ndarray:
    """uint8 array of bits: how many low bits the codes have (5 bits), then the codes."""
    folded = np.where(values < 0, -2 * values - 1, 2 * values)
    lower = min(range(_MOST_LOWER + 1), key=lambda low: int(_lengths(folded, low).sum()))
    upper = np.minimum(folded >> lower, _ESCAPE)
    lengths = _lengths(folded, lower)
    starts = np.cumsum(lengths) - lengths + 5
    bits = np.zeros(5 + int(lengths.sum()), np.uint8)
    bits[:5] = lower >> np.arange(5) & 1
    short = upper < _ESCAPE
    bits[(starts + upper)[short]] = 1
    for chosen, first, count in (
        (short, starts + upper + 1, lower),
        (~short, starts + _ESCAPE, _ESCAPED_BITS),
    ):
        for bit in range(count):
            bits[first[chosen] + bit] = folded[chosen] >> bit & 1
    return bits


def _lengths(folded: np.ndarray, lower: int) -> np.ndarray:
    """How many bits each code has."""
    upper = folded >> lower
    lengths: np.ndarray = np.where(upper < _ESCAPE, upper + 1 + lower, _ESCAPE + _ESCAPED_BITS)
    return lengths
