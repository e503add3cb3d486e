"""Decoder-only bundles for clients: one runtime and precision, the same model id, as few bytes as possible.

Everything that decoding needs is copied without change: model.json, tables, the graphs of one runtime in one
precision, two golden files and the card. Tables and graphs are stored as gzip. Their hashes are those of the
content, so they still count as released files (``decant.bundles.shipped``).
"""

import gzip
import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

from decant.backends.sessions import create_session
from decant.bundles.bundle import Bundle, open_bundle
from decant.bundles.new_bundle import new_bundle
from decant.errors import BundleError
from decant.formats.manifest import FileEntry, Golden, Graph, seal
from decant.selection import golden as golden_check

# The precisions of each runtime, the default first.
PRECISIONS = {"native": ("int16",), "onnxruntime": ("int8", "float32"), "openvino": ("int8", "float32")}
_WORTH_PACKING = 0.97  # gzip is kept where it makes at most this of a file
# A golden file of so many bytes has detail to decode.
_DETAIL_BYTES = 1000
# A floor is this far below what was measured, as export has it.
_MARGIN_DB = 4.0
# Below this a graph does not decode, whatever the golden files are.
_DECODES_DB = 34.0
# Lines of a card, and the keys of bundle.json that hold them.
_CARD_LINES = (("Licence", "licence"), ("Commercial use", "commercial_use"), ("Trained on", "data"))


def slim(
    bundle: str | os.PathLike[str] | Bundle,
    out: str | os.PathLike[str],
    *,
    runtime: str = "native",
    precision: str | None = None,
    bundle_dir: str | os.PathLike[str] | None = None,
) -> Bundle:
    """Write the decoder of ``bundle`` (a name, a bundle's folder, or an open Bundle) into the new folder
    ``out``, for one ``runtime`` (native, onnxruntime or openvino) and ``precision`` (int8, int16 or float32).

    The runtime must be installed, because the golden files are decoded with it. Raises BundleError if the
    bundle has no such graphs or ``out`` exists, GoldenError, ModelNotFoundError, MissingExtraError, OSError.
    """
    opened = open_bundle(bundle, bundle_dir)
    graphs = _graphs(opened, runtime, _stored_name(runtime, precision))
    with new_bundle(out) as building:
        _write(opened, graphs, _golden(opened), building)
        _lower_floor(building, graphs[0])
    return Bundle.open(out)


def _stored_name(runtime: str, precision: str | None) -> str:
    """The name that bundles have for a precision: ``float`` for float32. Raises BundleError."""
    if runtime not in PRECISIONS:
        raise BundleError(f"runtime {runtime!r} is unknown; one of {', '.join(PRECISIONS)} expected")
    asked = precision or PRECISIONS[runtime][0]
    return "float" if asked == "float32" else asked


def _graphs(bundle: Bundle, runtime: str, precision: str) -> list[Graph]:
    """The synthesis asked for, and the mean that goes with it where the layout has one. Raises
    BundleError.
    """
    found = [bundle.graph("synthesis", precision, runtime)]
    if bundle.has("hyper_mean"):
        means = [g for g in bundle.graphs if g.role == "hyper_mean" and g.runtime == runtime]
        fitting = [graph for graph in means if graph.precision == precision]
        found.append((fitting or [bundle.graph("hyper_mean", "float", runtime)])[0])
    return found


def _golden(bundle: Bundle) -> list[Golden]:
    """The smallest golden file that has detail, and the smallest of all."""
    by_size = sorted(bundle.golden, key=lambda golden: len(bundle.read(golden.pixels)))
    detailed = [golden for golden in by_size if len(bundle.read(golden.file)) >= _DETAIL_BYTES]
    chosen = dict.fromkeys([*detailed[:1], by_size[0]])
    return [replace(golden, denoised=None) for golden in chosen]


def _write(bundle: Bundle, graphs: list[Graph], golden: list[Golden], folder: Path) -> None:
    listed = {entry.path: entry for entry in bundle.manifest.files}
    kept = {"model.json", "tables.safetensors", "card.md"} & set(listed)
    kept |= {path for item in golden for path in (item.file, item.pixels)}
    files = [_place(folder, listed[path], bundle.read(path)) for path in sorted(kept)]
    if "card.md" not in kept:
        files.append(_place(folder, FileEntry("card.md", 0, ""), _card(bundle).encode()))
    raw = dict(bundle.manifest.raw)
    described = {(g["role"], g["precision"], g["runtime"]): g for g in raw["graphs"]}
    raw["graphs"] = [
        described[graph.role, graph.precision, graph.runtime]
        | {"files": [_place(folder, entry, bundle.read(entry)).described() for entry in graph.files]}
        for graph in graphs
    ]
    raw["files"] = [entry.described() for entry in files]
    raw["golden"] = [{"file": item.file, "pixels": item.pixels} for item in golden]
    raw["refused"], raw["training"] = [], {}
    (folder / "bundle.json").write_bytes(seal(raw))


def _place(folder: Path, entry: FileEntry, data: bytes) -> FileEntry:
    """Write a file into the bundle, as gzip where that is smaller; its entry."""
    placed = FileEntry(entry.path, len(data), hashlib.sha256(data).hexdigest())
    if entry.path.endswith((".safetensors", ".onnx", ".xml", ".bin")):
        packed = gzip.compress(data, 9, mtime=0)
        if len(packed) <= _WORTH_PACKING * len(data):
            placed, data = replace(placed, gzip_bytes=len(packed)), packed
    path = folder / placed.stored_path
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return placed


def _lower_floor(folder: Path, synthesis: Graph) -> None:
    """Where the golden files kept are harder than all of them together, lower the floor as export sets it."""
    bundle = Bundle.open(folder)
    graph = bundle.graph("synthesis")
    blobs = [bundle.read(entry) for entry in graph.files]
    session = create_session(graph, blobs, threads=1, where=str(folder))
    measured = golden_check.measure(bundle, "synthesis", session)
    floor = min(graph.lowest_psnr_db, measured - _MARGIN_DB)
    if floor < _DECODES_DB:
        raise BundleError(
            f"bundle {bundle.name}: {synthesis.label} decodes its golden files at {measured:.1f} dB here; "
            f"at least {_DECODES_DB + _MARGIN_DB:.0f} dB expected"
        )
    if floor < graph.lowest_psnr_db:
        raw = json.loads((folder / "bundle.json").read_bytes())
        raw["graphs"][0]["floor_db"] = float(int(floor))
        (folder / "bundle.json").write_bytes(seal(raw))


def _card(bundle: Bundle) -> str:
    """A card for a bundle that has none, of what its bundle.json says."""
    raw = bundle.manifest.raw
    lines = [f"# {bundle.name} {bundle.version}: decoder", ""]
    lines += [f"* {what}: {raw[key]}" for what, key in _CARD_LINES if isinstance(raw.get(key), str)]
    return "\n".join(lines) + "\n"
