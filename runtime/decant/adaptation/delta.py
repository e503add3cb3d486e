"""The decoder of an adapted bundle as its difference from another bundle: what an archive stores where its
readers have that one.

    offset  size  field
    0       4     magic "\\x8aDCA"
    4       1     version 1
    5       32    SHA-256 of the rest, unpacked
    37      ..    xz stream (LZMA2): length of the JSON (4 bytes, little-endian), JSON, parts

Tensors of tables.safetensors, and the rows of the model file, are stored as differences from those of the
other bundle, all else as it is. Unpacked, files have the content of those that ``decant bundle slim`` writes.
"""

import hashlib
import json
import lzma
import os
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from decant.bundles.bundle import Bundle
from decant.bundles.new_bundle import new_bundle
from decant.errors import BundleError
from decant.formats import model_rows
from decant.formats.manifest import MODEL_SUFFIX, canonical_json, parse_manifest, seal
from decant.slim import slim

MAGIC, VERSION = b"\x8aDCA", 1
MOST_BYTES = 64 << 20  # unpacked
_LENGTH = struct.Struct("<I")
TABLES = "tables.safetensors"
AS_IT_IS, DIFFERENCE = "as it is", "difference"
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 0, "pb": 0}]
_INTEGER = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def pack(bundle: Bundle, base: Bundle) -> bytes:
    """The decoder of ``bundle`` (runtime native) as its difference from ``base``. Raises BundleError where
    ``bundle`` has no integer graphs.
    """
    with tempfile.TemporaryDirectory() as scratch:
        small = slim(bundle, Path(scratch) / "slim")
        raw = dict(small.manifest.raw)
        files = {entry.path: small.read(entry) for entry in small.manifest.entries}
    described, parts = [], []
    # The model file is restored with the tables, which come first.
    for path, data in sorted(files.items(), key=lambda item: (item[0].endswith(MODEL_SUFFIX), item[0])):
        form, stored = AS_IT_IS, data
        if path == TABLES:
            form, stored = DIFFERENCE, _difference(load(data), base.tables)
        elif path.endswith(MODEL_SUFFIX):
            form, stored = DIFFERENCE, _rows_difference(data, bundle, base)
        described.append([path, form, len(stored)])
        parts.append(stored)
    head = canonical_json({"base": base.model_id, "bundle": raw, "parts": described})
    body = b"".join([_LENGTH.pack(len(head)), head, *parts])
    packed = lzma.compress(body, lzma.FORMAT_RAW, filters=_FILTERS)
    return MAGIC + bytes([VERSION]) + hashlib.sha256(body).digest() + packed


def base_of(delta: bytes) -> str:
    """The model id (64 hex digits) of the bundle that ``delta`` is the difference from. Raises
    BundleError.
    """
    base: str = _unpacked(delta)[0]["base"]
    return base


def unpack(delta: bytes, base: Bundle, out: str | os.PathLike[str]) -> Bundle:
    """Write the bundle of ``delta`` into the new folder ``out``. Raises BundleError where ``base`` is not the
    bundle that ``pack`` had, or ``delta`` is damaged; OSError.
    """
    head, body = _unpacked(delta)
    if head["base"] != base.model_id:
        raise BundleError(
            f"delta: is the difference from model {head['base'][:16]}, not from {base.name} "
            f"({base.model_id[:16]}); give the bundle of that model"
        )
    at, contents = 0, dict[str, bytes]()
    for path, form, length in head["parts"]:
        stored = body[at : at + length]
        at += length
        if form == AS_IT_IS:
            contents[path] = stored
        elif path == TABLES:
            contents[path] = _restored(stored, base.tables)
        else:
            tables = load(contents[TABLES])
            contents[path] = _restored_model(stored, base, head["bundle"], tables)
    with new_bundle(out) as building:
        _write(building, head["bundle"], contents)
    return Bundle.open(out)


def _unpacked(delta: bytes) -> tuple[dict[str, Any], bytes]:
    """The head, and the parts one after the other. Raises BundleError."""
    if delta[:4] != MAGIC or len(delta) < 38:
        raise BundleError("delta: not the difference of a bundle (decant adapt writes them)")
    if delta[4] != VERSION:
        raise BundleError(f"delta: version {delta[4]}; this decant reads version {VERSION}")
    try:
        reader = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS)
        body = reader.decompress(delta[37:], MOST_BYTES)
    except lzma.LZMAError as error:
        raise BundleError(f"delta: damaged: {error}") from None
    if hashlib.sha256(body).digest() != delta[5:37]:
        raise BundleError("delta: damaged: its checksum differs")
    (length,) = _LENGTH.unpack_from(body)
    head: dict[str, Any] = json.loads(body[4 : 4 + length])
    return head, body[4 + length :]


def _difference(tensors: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]) -> bytes:
    """safetensors of ``tensors``: minus those of ``others``, in the integers of their bits, where these have
    their type and shape; as they are elsewhere.
    """
    found = {}
    for name, tensor in sorted(tensors.items()):
        other = others.get(name)
        if other is not None and (other.dtype, other.shape) == (tensor.dtype, tensor.shape):
            found[f"-{name}"] = _bits(tensor) - _bits(other)
        else:
            found[name] = tensor
    return save(found)


def _restored(stored: bytes, others: Mapping[str, np.ndarray]) -> bytes:
    found = {}
    for name, tensor in load(stored).items():
        if name.startswith("-"):
            other = others[name[1:]]
            found[name[1:]] = (tensor + _bits(other)).view(other.dtype).reshape(other.shape)
        else:
            found[name] = tensor
    restored: bytes = save(dict(sorted(found.items())))
    return restored


def _rows_difference(data: bytes, bundle: Bundle, base: Bundle) -> bytes:
    """The rows of the model file ``data`` of ``bundle`` minus those of ``base``: the low bytes of all
    numbers, then the next, up to the high bytes. Raises BundleError.
    """
    rows, others = model_rows.network_rows(data, bundle.tables), _base_rows(base)
    if [len(row) for row in rows] != [len(row) for row in others]:
        raise BundleError(f"bundle {bundle.name} has another shape than {base.name}: no difference from it")
    numbers = np.concatenate(rows) - np.concatenate(others)
    folded = np.where(numbers < 0, -2 * numbers - 1, 2 * numbers).astype("<u4")
    planes: np.ndarray = folded.view(np.uint8).reshape(-1, 4).T
    return planes.tobytes()


def _restored_model(
    stored: bytes, base: Bundle, raw: Mapping[str, Any], tables: Mapping[str, np.ndarray]
) -> bytes:
    """The model file of the bundle that ``raw`` describes."""
    others = _base_rows(base)
    folded = np.frombuffer(stored, np.uint8).reshape(4, -1).T.copy().view("<u4")[:, 0].astype(np.int64)
    numbers = np.where(folded % 2, -(folded + 1) // 2, folded // 2) + np.concatenate(others)
    rows = np.split(numbers, np.cumsum([len(row) for row in others])[:-1])
    return model_rows.rewritten(_base_model(base), raw["name"], raw["model_id"], tables, rows)


def _base_rows(base: Bundle) -> list[np.ndarray]:
    return model_rows.network_rows(_base_model(base), base.tables)


def _base_model(base: Bundle) -> bytes:
    """The model file of ``base``. Raises BundleError where it has none."""
    return base.read(base.graph("synthesis", runtime="native").files[0])


def _bits(tensor: np.ndarray) -> np.ndarray:
    """The bits of ``tensor`` as unsigned integers of its shape."""
    return np.ascontiguousarray(tensor).view(_INTEGER[tensor.dtype.itemsize])


def _write(folder: Path, raw: dict[str, Any], contents: Mapping[str, bytes]) -> None:
    """The files of a bundle, unpacked, and bundle.json for them. Raises BundleError for a path that leads out
    of the folder: whoever made the delta could choose it.
    """
    for part in [*raw["files"], *(file for graph in raw["graphs"] for file in graph["files"])]:
        part.pop("gzip_bytes", None)
    raw.pop("checksum", None)
    described = seal(raw)
    for entry in parse_manifest(described, "delta: bundle.json").entries:
        path = folder / entry.path
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(contents[entry.path])
    (folder / "bundle.json").write_bytes(described)
