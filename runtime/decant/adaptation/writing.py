"""Writes a bundle with other tables: a new model id, golden files coded anew, everything else as it was."""

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import save

from decant.backends.session import Session
from decant.backends.sessions import create_session
from decant.bundles.bundle import Bundle, canonical_json, seal, tensor_sha256
from decant.bundles.new_bundle import new_bundle
from decant.codec.decoder import GridDecoder
from decant.codec.layout import GridLayout
from decant.errors import BundleError
from decant.formats import container, model_rows
from decant.formats.manifest import MODEL_SUFFIX, FileEntry, Golden, Graph
from decant.layouts.registry import layout_of

NATIVE = "native"


def with_tables(
    bundle: Bundle,
    out: str | os.PathLike[str],
    tables: Mapping[str, np.ndarray],
    *,
    name: str,
    note: Mapping[str, Any],
) -> Bundle:
    """Write ``bundle`` with ``tables`` under ``name`` into the new folder ``out``. ``note``: what bundle.json
    says of the adaptation. The model id follows from the content. Raises BundleError, OSError.
    """
    with new_bundle(out) as building:
        _write(bundle, building, dict(sorted(tables.items())), name, note)
    return Bundle.open(out)


def recoded(file: container.DcnFile, old: GridLayout, new: GridLayout) -> tuple[bytes, bool]:
    """The latents section of ``file`` of layout ``old`` in the tables of ``new``, and whether its symbols are
    the same: those at scale index 0 become 0.
    """
    row, shape = old.quality(file.quality), old.grid(file.width, file.height)
    payload = old.parse(file.latents, file.width, file.height, file.name)
    z = old.decode_hyper(payload, shape, row, file.name)
    v, new_row, streams, same = row.scaled(z), new.quality(file.quality), [], True
    for index, tile in enumerate(shape.tiles):
        symbols = old.decode_tile(payload, index, v, shape, row, file.name)[0].astype(np.int32)

        def known(channels: slice, indices: np.ndarray, symbols: np.ndarray = symbols) -> np.ndarray:
            codable: np.ndarray = symbols[channels] * (indices > 0)
            return codable

        coded, indices = new.choose_symbols(v, new_row, tile, known)
        same = same and np.array_equal(coded, symbols)
        streams.append(new.encode_tile(coded, indices))
    return new.write(new.encode_hyper(z, new_row), streams), same


def rewritten_model(
    bundle: Bundle, graph: Graph, name: str, model_id: str, tables: Mapping[str, np.ndarray]
) -> bytes:
    """The model file of a ``graph`` of the runtime native, with other ``tables``. Raises BundleError for a
    bundle of an earlier release, which has the integer networks in other files.
    """
    if len(graph.files) != 1 or not graph.files[0].path.endswith(MODEL_SUFFIX):
        raise BundleError(f"bundle {bundle.name}: has no model file; take the current release of it")
    data = bundle.read(graph.files[0])
    return model_rows.rewritten(data, name, model_id, tables, model_rows.network_rows(data, bundle.tables))


def _write(
    bundle: Bundle, folder: Path, tables: dict[str, np.ndarray], name: str, note: Mapping[str, Any]
) -> None:
    model = dict(bundle.model) | {"tables": {key: tensor_sha256(table) for key, table in tables.items()}}
    described = canonical_json(model)
    model_id = hashlib.sha256(described).hexdigest()
    layout = layout_of(model, tables)
    assert isinstance(layout, GridLayout)
    files = [_place(folder, "model.json", described), _place(folder, "tables.safetensors", save(tables))]
    for golden in bundle.golden:
        files += _golden(bundle, folder, golden, layout, name, model_id)
    files.append(_place(folder, "card.md", _card(bundle, name, note).encode()))
    raw = json.loads(json.dumps(dict(bundle.manifest.raw)))
    for graph, entry in zip(bundle.graphs, raw["graphs"], strict=True):
        if graph.runtime == NATIVE:
            packed = rewritten_model(bundle, graph, name, model_id, tables)
            parts = [_place(folder, name + MODEL_SUFFIX, packed)]
        else:
            parts = [_place(folder, part.path, bundle.read(part)) for part in graph.files]
        entry["files"] = [part.described() for part in parts]
    raw |= {"name": name, "model_id": model_id, "adapted": dict(note)}
    raw["files"] = [entry.described() for entry in files]
    raw["golden"] = [{"file": item.file, "pixels": item.pixels} for item in bundle.golden]
    raw.pop("checksum", None)
    (folder / "bundle.json").write_bytes(seal(raw))


def _place(folder: Path, path: str, data: bytes) -> FileEntry:
    """Write a file of a bundle into ``folder``; its entry."""
    target = folder / path
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(data)
    return FileEntry(path, len(data), hashlib.sha256(data).hexdigest())


def _golden(
    bundle: Bundle, folder: Path, golden: Golden, layout: GridLayout, name: str, model_id: str
) -> list[FileEntry]:
    """The golden file in the new tables. Its pixels change only where its symbols do."""
    old = bundle.layout
    assert isinstance(old, GridLayout)
    file, pixels = container.parse(bundle.read(golden.file)), bundle.read(golden.pixels)
    latents, same = recoded(file, old, layout)
    identity = bytes.fromhex(model_id)[:8]
    file = dataclasses.replace(file, name=name, model_id=identity, latents=latents)
    if not same:
        decoder = GridDecoder(
            layout, _exact(bundle, "hyper_mean"), _exact(bundle, "synthesis"), overlap=False
        )
        stream = io.BytesIO()
        Image.fromarray(decoder.decode(file)).save(stream, "PNG")
        pixels = stream.getvalue()
    return [_place(folder, golden.file, container.write(file)), _place(folder, golden.pixels, pixels)]


def _exact(bundle: Bundle, role: str) -> Session:
    """The float graph of ``role`` for ONNX Runtime, or the first that the bundle has."""
    graphs: list[Graph] = [graph for graph in bundle.graphs if graph.role == role]
    exact = [g for g in graphs if (g.precision, g.runtime) == ("float", "onnxruntime")]
    graph = (exact or graphs)[0]
    return create_session(graph, [bundle.read(entry) for entry in graph.files], where=str(bundle.path))


def _card(bundle: Bundle, name: str, note: Mapping[str, Any]) -> str:
    """The card of ``bundle``, below a paragraph that says what this bundle is."""
    source = f"{bundle.name} {bundle.version} (model id {bundle.model_id[:16]})"
    head = (
        f"# {name}\n\n{source}, adapted to an archive of {note['pictures']} pictures: level {note['level']}. "
        f"The terms of {bundle.name} hold. Those of the archive's pictures may hold too.\n\n"
    )
    return f"{head}{card_of(bundle) or ''}"


def card_of(bundle: Bundle) -> str | None:
    """The card of ``bundle``, or None. Raises BundleError, OSError."""
    listed = {entry.path for entry in bundle.manifest.files}
    return bundle.read("card.md").decode() if "card.md" in listed else None
