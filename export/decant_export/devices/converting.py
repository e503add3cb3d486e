"""A bundle's decoder for another device or runtime: one call for every target of ``decant export --to``."""

from collections.abc import Callable
from pathlib import Path

import onnx
from decant.bundles.bundle import Bundle

from decant_export.common import folder
from decant_export.devices.coreml import write_coreml
from decant_export.devices.litert import to_litert
from decant_export.devices.ncnn import to_ncnn
from decant_export.devices.packing import SIDE, float_graphs, pack
from decant_export.errors import ExportError

TARGETS = ("npu", "coreml", "litert", "ncnn")


def convert(
    bundle: Bundle,
    target: str,
    out: Path,
    *,
    side: int = SIDE,
    force: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> str:
    """Write the decoder of ``bundle`` for ``target`` to ``out``; what was written, in one line.

    ``npu`` gives a bundle (``decant_export.devices.packing``), the others a folder with one file a graph.
    ``side`` is that of a tile, in latents. Raises ExportError, BundleError, MissingExtraError, OSError.
    """
    if target not in TARGETS:
        raise ExportError(f"target {target!r} is unknown; one of {', '.join(TARGETS)} expected")
    if target == "npu":
        made = pack(bundle, out, side=side, force=force, report=report)
        graphs = sum(graph.precision in ("int8-static", "float16") for graph in made.graphs)
        return f"{made.path}: {made.name} {made.version}, {graphs} graphs of static shapes"
    if target == "ncnn" and any(bundle.image):
        raise ExportError(f"bundle {bundle.name}: only codecs can be converted to ncnn")
    folder.check_target(out, force)
    models = float_graphs(bundle, side)
    with folder.appearing(out) as building:
        for role, model in models.items():
            for name in _WRITERS[target](model, building / role):
                report(f"{role}: {name}")
        # What force may replace, and what says which model the files are of.
        (building / "bundle.json").write_bytes((bundle.path / "bundle.json").read_bytes())
    return f"{out}: {bundle.name} {bundle.version} for {target}, {', '.join(models)}"


def shapes_of(model: onnx.ModelProto) -> dict[str, list[int]]:
    """The static shape of every tensor of ``model``."""
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    return {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in [*graph.input, *graph.output, *graph.value_info]
    }


def _coreml(model: onnx.ModelProto, path: Path) -> list[str]:
    write_coreml(model, path.with_suffix(".mlpackage"))
    return [f"{path.name}.mlpackage"]


def _litert(model: onnx.ModelProto, path: Path) -> list[str]:
    path.with_suffix(".tflite").write_bytes(to_litert(model, shapes_of(model)))
    return [f"{path.name}.tflite"]


def _ncnn(model: onnx.ModelProto, path: Path) -> list[str]:
    text, weights = to_ncnn(model, shapes_of(model))
    path.with_suffix(".param").write_text(text, encoding="ascii")
    path.with_suffix(".bin").write_bytes(weights)
    return [f"{path.name}.param", f"{path.name}.bin"]


_WRITERS = {"coreml": _coreml, "litert": _litert, "ncnn": _ncnn}
