"""A bundle's decoder for another device or runtime: one call for every target of ``decant export --to``."""

from collections.abc import Callable
from pathlib import Path

from decant.bundles.bundle import Bundle

from decant_export.devices.packing import SIDE, pack
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
    raise ExportError(f"target {target} is not there yet")
