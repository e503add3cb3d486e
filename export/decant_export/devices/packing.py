"""A bundle's decoder for NPUs: a bundle of the same model id with static graphs in int8 and half precision.

No checkpoint is needed and no training package: the graphs are made of the bundle's own, so an owner of a
device can make them. Files of the bundle decode to the same symbols.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from decant.backends.session import Session
from decant.backends.sessions import create_session
from decant.backends.tiling import INSIDE
from decant.bundles.bundle import Bundle, seal
from decant.formats.manifest import DEVICE_PRECISIONS, FileEntry, Graph
from decant.selection import golden
from decant.selection.opening import open_graph
from decant.verify import ENCODING_ROLES

from decant_export.common import folder
from decant_export.common.onnx_graph import serialise
from decant_export.common.variants import make
from decant_export.devices import calibration
from decant_export.devices.operators import TARGETS, unsupported
from decant_export.devices.simplify import centred, without_dynamic, without_transposed
from decant_export.devices.static_int8 import quantized
from decant_export.devices.tiles import static, tile
from decant_export.errors import ExportError

PRECISIONS = DEVICE_PRECISIONS
PICTURE = "picture"  # the float tensor that becomes pixels
SIDE = 32  # of a tile, in latents: 512 pixels
_LATENT_PIXELS, _HYPER_LATENTS = 16, 4
# The lowest PSNR to the golden pixels, in dB, that a device may decode at.
FLOORS_DB = {"int8-static": 35.0, "float16": 45.0}


def pack(
    bundle: Bundle,
    out: Path,
    *,
    side: int = SIDE,
    precisions: Sequence[str] = PRECISIONS,
    targets: Sequence[str] = tuple(TARGETS),
    force: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Bundle:
    """Write the decoder of ``bundle`` to the folder ``out``, with static graphs of ``precisions`` beside its
    own graphs, and open it.

    A codec's graphs are those of tiles of ``side`` x ``side`` latents (16 pixels each). Operators are checked
    against the tables of ``targets``, and every graph decodes the golden files on the processor. Raises
    ExportError for a graph that is not made or does not pass, BundleError, OSError.
    """
    folder.check_target(out, force)
    bundle.verify()
    made = list(_graphs(bundle, side, precisions, targets, report))
    with folder.appearing(out) as building:
        _write(bundle, building, made)
        packed = Bundle.open(building)
        packed.verify_files()
        for graph, _ in made:
            if graph.role == "synthesis":
                psnr = _golden_db(packed, packed.graph(graph.role, graph.precision, graph.runtime))
                report(f"{graph.label}: {psnr:.1f} dB to the golden pixels on the cpu")
                if psnr < FLOORS_DB[graph.precision]:
                    raise ExportError(
                        f"{bundle.name}: {graph.label} decodes the golden files at {psnr:.1f} dB; at least "
                        f"{FLOORS_DB[graph.precision]:.0f} dB expected"
                    )
    return Bundle.open(out)


def float_graphs(bundle: Bundle, side: int = SIDE) -> dict[str, onnx.ModelProto]:
    """The static float graphs of a bundle's decoder by role: of tiles for a codec, of one picture for models
    of one picture size. Raises ExportError for a bundle without a graph that they can be made of.
    """
    roles = [role for role in ("hyper_mean", "synthesis") if bundle.has(role)]
    found = {}
    for role in roles:
        model = onnx.load_from_string(bundle.read(_source(bundle, role).files[0]))
        if any(bundle.image):
            found[role] = static(without_transposed(without_dynamic(model)), {"n": 1})
        elif side % _HYPER_LATENTS or side <= 2 * bundle.layout.halo_of("synthesis"):
            raise ExportError(f"tiles of {side} latents; a multiple of 4 above twice the halo expected")
        else:
            found[role] = tile(model, _sizes(role, side, bundle.layout.halo_of(role)))
    return found


def _source(bundle: Bundle, role: str) -> Graph:
    """The graph of ONNX Runtime that static graphs of ``role`` are made of: the float one where there is
    one.
    """
    graphs = [graph for graph in bundle.graphs if (graph.role, graph.runtime) == (role, "onnxruntime")]
    graphs.sort(key=lambda graph: graph.precision != "float")
    usable = [graph for graph in graphs if graph.precision in ("float", "int8")]
    if not usable:
        raise ExportError(f"bundle {bundle.name}: no float or int8 graph {role} for onnxruntime in it")
    return usable[0]


def _sizes(role: str, side: int, halo: int) -> dict[str, int]:
    if role == "hyper_mean":  # its tile gives the means of the latents that one of the synthesis keeps
        hyper = side // _HYPER_LATENTS + 2 * halo
        latents = hyper * _HYPER_LATENTS
        return {"hyper_h": hyper, "hyper_w": hyper, "h": latents, "w": latents}
    pixels = side * _LATENT_PIXELS
    return {"h": side, "w": side, "height": pixels, "width": pixels}


def _graphs(
    bundle: Bundle,
    side: int,
    precisions: Sequence[str],
    targets: Sequence[str],
    report: Callable[[str], None],
) -> Iterator[tuple[Graph, bytes]]:
    models = float_graphs(bundle, side)
    feeds = _feeds(bundle, models) if "int8-static" in precisions else {}
    for role, model in models.items():
        _require_operators(model, role, "float", targets)
        for precision in precisions:
            wanted = centred(model)
            if precision == "int8-static":
                wanted = quantized(model, calibration.ranges(model, feeds[role]), PICTURE)
            _require_operators(wanted, role, precision, targets)
            variant = make(role, precision, "onnxruntime", wanted)
            described = replace(variant.described(), opset=wanted.opset_import[0].version)
            report(f"{described.label}: {len(serialise(wanted))} bytes")
            yield replace(described, floor_db=FLOORS_DB[precision]), variant.blobs[0]


def _require_operators(model: onnx.ModelProto, role: str, precision: str, targets: Sequence[str]) -> None:
    for target in targets:
        if refused := unsupported(model, target, precision):
            raise ExportError(f"{role}.{precision}: {TARGETS[target].name} has no {refused[0]}")


def _feeds(bundle: Bundle, models: dict[str, onnx.ModelProto]) -> dict[str, list[dict[str, np.ndarray]]]:
    """The inputs of the static graphs for the golden files, and for stronger latents than theirs."""
    sessions = {role: _session(bundle, role, model) for role, model in models.items()}
    tiles: dict[str, list[dict[str, np.ndarray]]] = {role: [] for role in models}
    for role, inputs in calibration.recorded(bundle, sessions).items():
        names = [value.name for value in models[role].graph.input if value.name != INSIDE]
        shapes = {value.name: _shape(value) for value in models[role].graph.input}
        for given in inputs:
            for strength in calibration.STRENGTHS:
                feed = dict(zip(names, given, strict=True))
                first = names[0]
                feed[first] = (feed[first] * np.float32(strength)).astype(np.float32)
                tiles[role].append(_fitted(feed, shapes))
    return tiles


def _fitted(feed: dict[str, np.ndarray], shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """``feed`` cut or filled up with zeros to the static ``shapes``, and the mask where there is one."""
    found = {}
    rows, columns = 0, 0
    for name, x in feed.items():
        fitted = np.zeros(shapes[name], np.float32)
        part = tuple(slice(0, min(have, want)) for have, want in zip(x.shape, fitted.shape, strict=True))
        fitted[part] = x[part]
        found[name] = fitted
        if x.ndim == 4 and fitted.shape[2] > 1:
            rows, columns = part[2].stop, part[3].stop
            side = fitted.shape[2]
    if INSIDE in shapes:
        mask = np.zeros(shapes[INSIDE], np.float32)
        finer = mask.shape[2] // side
        mask[:, :, : rows * finer, : columns * finer] = 1
        found[INSIDE] = mask
    return found


def _session(bundle: Bundle, role: str, model: onnx.ModelProto) -> Session:
    graph = make(role, "float16", "onnxruntime", model).described()
    halo = bundle.layout.halo_of(role)
    return create_session(graph, [serialise(model)], threads=1, where=str(bundle.path), halo=halo)


def _golden_db(bundle: Bundle, graph: Graph) -> float:
    session = open_graph(bundle, graph, device="cpu", threads=1)
    return golden.measure(bundle, "synthesis", session)


def _write(bundle: Bundle, building: Path, made: list[tuple[Graph, bytes]]) -> None:
    raw: dict[str, Any] = json.loads((bundle.path / "bundle.json").read_bytes())
    new = {(graph.role, graph.precision, graph.runtime) for graph, _ in made}
    for entry in bundle.manifest.files:
        _add(building, entry.path, bundle.read(entry))
    graphs = []
    for graph in bundle.graphs:
        if graph.role in ENCODING_ROLES or (graph.role, graph.precision, graph.runtime) in new:
            continue
        described = next(
            item
            for item in raw["graphs"]
            if (item["role"], item["precision"], item["runtime"])
            == (graph.role, graph.precision, graph.runtime)
        )
        files = [_add(building, entry.path, bundle.read(entry)).described() for entry in graph.files]
        graphs.append(described | {"files": files})
    for graph, blob in made:
        entry = _add(building, f"{graph.role}.{graph.precision}.onnx", blob)
        graphs.append(asdict(graph) | {"files": [entry.described()]})
    raw["graphs"] = graphs
    raw["files"] = [replace(entry, gzip_bytes=None).described() for entry in bundle.manifest.files]
    del raw["checksum"]
    (building / "bundle.json").write_bytes(seal(raw))


def _add(building: Path, path: str, data: bytes) -> FileEntry:
    """Write a file of the bundle; its entry."""
    (building / path).parent.mkdir(exist_ok=True)
    (building / path).write_bytes(data)
    return FileEntry(path, len(data), hashlib.sha256(data).hexdigest())


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
