"""The decoder of an adapted bundle as its difference from another bundle: what an archive stores where its
readers have that one.

    offset  size  field
    0       4     magic "\\x8aDCA"
    4       1     version 1
    5       32    SHA-256 of the rest, unpacked
    37      ..    xz stream (LZMA2): length of the JSON (4 bytes, little-endian), JSON, parts

Tensors of files of safetensors are stored as differences from those of the same name, type and shape, all
else as it is. Unpacked, files have the content of those that ``decant bundle slim`` writes.
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

from decant.adaptation.writing import check_target
from decant.bundles.bundle import Bundle
from decant.errors import BundleError
from decant.formats.manifest import FileEntry, canonical_json, seal
from decant.slim import slim

MAGIC, VERSION = b"\x8aDCA", 1
MOST_BYTES = 64 << 20  # unpacked
_LENGTH = struct.Struct("<I")
_TENSORS = ".safetensors"
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 0, "pb": 0}]
_INTEGER = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def pack(bundle: Bundle, base: Bundle) -> bytes:
    """The decoder of ``bundle`` (runtime native) as its difference from ``base``. Raises BundleError where
    ``bundle`` has no integer graphs.
    """
    with tempfile.TemporaryDirectory() as scratch:
        small = slim(bundle, Path(scratch) / "slim")
        raw = dict(small.manifest.raw)
        files = {entry.path: small.read(entry) for entry in _entries(raw)}
    others = {entry.path: base for entry in _entries(dict(base.manifest.raw))}
    described, parts = [], []
    for path, data in sorted(files.items()):
        form, stored = "as it is", data
        if path.endswith(_TENSORS) and path in others:
            found = _difference(load(data), load(others[path].read(path)))
            if found is not None:
                form, stored = "difference", found
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
    target, at = check_target(out), 0
    contents: dict[str, bytes] = {}
    for path, form, length in head["parts"]:
        stored = body[at : at + length]
        at += length
        contents[path] = stored if form == "as it is" else _restored(stored, load(base.read(path)))
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".decant-") as parent:
        building = Path(parent) / "bundle"
        building.mkdir()
        _write(building, head["bundle"], contents)
        Bundle.open(building).verify()
        if target.exists():
            target.rmdir()
        building.rename(target)
    return Bundle.open(target)


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


def _entries(raw: Mapping[str, Any]) -> list[FileEntry]:
    """The files that bundle.json lists."""
    listed = [*raw["files"], *(file for graph in raw["graphs"] for file in graph["files"])]
    return [
        FileEntry(item["path"], item["bytes"], item["sha256"], item.get("of"), item.get("gzip_bytes"))
        for item in listed
    ]


def _difference(tensors: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]) -> bytes | None:
    """safetensors of ``tensors`` minus ``others``, in the integers of their bits; None where one of them has
    other names, types or shapes.
    """
    if any(name not in others for name in tensors):
        return None
    if any((a.dtype, a.shape) != (others[name].dtype, others[name].shape) for name, a in tensors.items()):
        return None
    return save({name: _bits(a) - _bits(others[name]) for name, a in sorted(tensors.items())})


def _restored(stored: bytes, others: Mapping[str, np.ndarray]) -> bytes:
    found = {name: (a + _bits(others[name])).view(others[name].dtype) for name, a in load(stored).items()}
    return save({name: found[name].reshape(others[name].shape) for name in sorted(found)})


def _bits(tensor: np.ndarray) -> np.ndarray:
    """The bits of ``tensor`` as unsigned integers of its shape."""
    return np.ascontiguousarray(tensor).view(_INTEGER[tensor.dtype.itemsize])


def _write(folder: Path, raw: dict[str, Any], contents: Mapping[str, bytes]) -> None:
    """The files of a bundle, unpacked, and bundle.json for them."""
    for part in [*raw["files"], *(file for graph in raw["graphs"] for file in graph["files"])]:
        path = folder / part["path"]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(contents[part["path"]])
        part.pop("gzip_bytes", None)
    raw.pop("checksum", None)
    (folder / "bundle.json").write_bytes(seal(raw))
