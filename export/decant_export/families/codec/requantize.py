"""The int8 and int16 graphs and the golden files of a codec's bundle, made anew from its own float graphs.

No checkpoint is needed, and files of the bundle decode to the same symbols: ``model.json``, tables and float
graphs stay byte for byte.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from decant import Encoder
from decant.backends.sessions import create_session
from decant.bundles.bundle import Bundle, seal
from decant.codec.layout import GridLayout
from decant.formats.paths import takes_paths

from decant_export.common import folder, writing
from decant_export.common.gate import Gate
from decant_export.common.threads import one_thread
from decant_export.common.variants import Variant, make
from decant_export.errors import ExportError
from decant_export.families.codec import native as codec_native
from decant_export.families.codec.choosing import choose, choose_again
from decant_export.families.codec.family import FLOORS, IMAGE, MARGINS, PICTURES, SIZES
from decant_export.families.codec.int8_graphs import StaticCodec
from decant_export.families.codec.judging import Files
from decant_export.families.codec.network import FloatSynthesis
from decant_export.families.codec.pictures import (
    calibration,
    calibration_crops,
    golden_extremes,
    golden_photos,
    judged_photos,
)
from decant_export.families.codec.relimiting import LimitedGraph

EFFORT = 1  # of the encoder, for files that calibrate and judge; limits are chosen at the default effort


@takes_paths
@one_thread()
def requantize(
    source: Path,
    out: Path,
    *,
    images: Path | None = None,
    pictures: int = PICTURES,
    version: str | None = None,
    precisions: Sequence[str] = ("int8", codec_native.PRECISION),
    force: bool = False,
    keep_weights: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Bundle:
    """Write the bundle in the folder ``source`` to ``out``, which may be the same folder, with graphs of
    ``precisions`` and golden pictures made anew, and open it.

    ``images``: photos as for ``export``, of which ``pictures`` crops calibrate. ``version`` of the new
    bundle; that of the old one when None. Every runtime that has an int8 synthesis gets a new one; int16
    graphs stay where ``precisions`` does not name them. ``keep_weights``: only the limits are chosen anew, of
    the int8 graphs alone (``relimiting``).
    Raises ExportError when the bundle is no codec's, has no encoder, or when a graph does not pass the gate;
    BundleError, OSError, MissingExtraError.
    """
    folder.check_target(out, force)
    bundle = Bundle.open(source)
    bundle.verify()
    layout = bundle.layout
    if not isinstance(layout, GridLayout) or not bundle.has("analysis"):
        raise ExportError(f"{source}: only the bundle of a codec with its encoder can be requantized")
    runtimes = [g.runtime for g in bundle.graphs if (g.role, g.precision) == ("synthesis", "int8")]
    if not runtimes:
        raise ExportError(f"{source}: it has no int8 synthesis")
    graph = bundle.graph("synthesis", "float", "onnxruntime")
    synthesis = FloatSynthesis.of(onnx.load_from_string(bundle.read(graph.files[0])))
    described = bundle.graph("hyper_mean", "float", "onnxruntime")
    blobs = [bundle.read(entry) for entry in described.files]
    mean = create_session(described, blobs, threads=1, where=str(source))
    encoder = Encoder(bundle, runtime="onnxruntime", threads=1)

    def encode(pixels: np.ndarray, quality: int, effort: int | None = EFFORT) -> bytes:
        data: bytes = encoder.encode(np.ascontiguousarray(pixels), quality, effort=effort)
        return data

    coded = Files(layout, mean, synthesis, encode, bundle.name)
    as_shipped = Files(layout, mean, synthesis, partial(encode, effort=None), bundle.name)
    crops = calibration_crops(images, pictures)
    photos = [encode(crop, 100 - 7 * i % 60) for i, crop in enumerate(crops)]
    if keep_weights:
        limited, precisions = LimitedGraph(bundle), ("int8",)
        share, variant_for = choose_again(limited, as_shipped, photos), limited.variant
    else:
        static, share = _calibrated(synthesis, coded, as_shipped, photos, report)
        variant_for = partial(_variant, static)
    report(f"float branch: {share:.1%} of {len(photos)} crops")
    judge = coded.judged(judged_photos())
    # The golden files are those of the bundle: they are to decode to the same symbols for ever.
    files, extreme = [bundle.read(item.file) for item in bundle.golden], golden_extremes()
    if len(files) != len(golden_photos()) + len(extreme):  # of a bundle from before 0.12
        files = files[: len(golden_photos())] + [encode(pixels, quality) for pixels, quality in extreme]
    expected = coded.decode(coded.exact, files)
    gate = Gate(bundle.name, IMAGE, FLOORS, len(files), report, MARGINS)
    for runtime in runtimes:
        gate.judge(variant_for(runtime), lambda session: coded.decode(session, files), expected, judge)
    if codec_native.PRECISION in precisions:
        hyper = onnx.load_from_string(bundle.read(described.files[0]))
        shown = [encode(*item) for item in calibration(crops)]
        seen = codec_native.cases_of(layout, mean, coded.exact, shown)
        for candidate in codec_native.candidates(
            codec_native.variants(
                synthesis.graph, hyper, bundle.tables, seen, bundle.name, bundle.read("model.json")
            ),
            bundle.name,
            lambda hyper_mean, session: coded.decode(session, files, hyper_mean),
            coded.exact,
            expected,
            lambda hyper_mean: replace(judge, mean=hyper_mean),
        ):
            assert candidate.decode is not None
            gate.judge(candidate.variant, candidate.decode, candidate.expected, candidate.checks)
    if gate.refused:
        raise ExportError(f"{source}: nothing was written: {gate.refused[0]['reason']}")
    cases = [writing.GoldenCase(file, pixels) for file, pixels in zip(files, expected, strict=True)]
    with folder.appearing(out) as building:
        _write(bundle, building, gate, cases, version or bundle.version)
        Bundle.open(building)
    return Bundle.open(out)


def _calibrated(
    synthesis: FloatSynthesis,
    coded: Files,
    as_shipped: Files,
    photos: Sequence[bytes],
    report: Callable[[str], None],
) -> tuple[StaticCodec, float]:
    """An int8 synthesis with ranges and limits of its own; the share of ``photos`` in its float branch."""
    latents = coded.latents(photos)
    report(f"calibrated on {len(latents)} crops and on extremes")
    static = StaticCodec(synthesis, coded.calibration(latents))
    return static, choose(static, as_shipped, latents)


def _variant(static: StaticCodec, runtime: str) -> Variant:
    return make("synthesis", "int8", runtime, static.build(rearranged=runtime == "onnxruntime"))


def _write(bundle: Bundle, building: Path, gate: Gate, cases: list[writing.GoldenCase], version: str) -> None:
    """The files of ``bundle`` in the folder ``building``, those made anew replaced."""
    raw: dict[str, Any] = json.loads((bundle.path / "bundle.json").read_bytes())
    new, replaced = {}, set()
    for variant, psnr in gate.passed:
        paths = variant.paths(bundle.name)
        named = zip(paths, variant.blobs, strict=True)
        parts = [writing.add_file(building, path, blob) for path, blob in named]
        key = (variant.role, variant.precision, variant.runtime)
        new[key] = writing.graph_entry(variant, gate, psnr, parts, SIZES)
        replaced |= set(paths)
    graphs = {(graph["role"], graph["precision"], graph["runtime"]): graph for graph in raw["graphs"]}
    raw["graphs"] = list((graphs | new).values())
    # Earlier releases listed the model file beside the graphs.
    kept = [e for e in raw["files"] if not e["path"].startswith("golden/") and e["path"] not in replaced]
    of_graphs = [entry for graph in raw["graphs"] for entry in graph["files"] if "of" not in entry]
    for path in {entry["path"] for entry in [*kept, *of_graphs]} - replaced:
        shutil.copyfile(bundle.path / path, building / path)
    golden, entries = writing.golden_files(building, cases)
    raw |= {"version": version, "decant_version": metadata.version("decant-codec")}
    raw |= {"files": kept + [entry.described() for entry in entries], "golden": golden}
    del raw["checksum"]
    (building / "bundle.json").write_bytes(seal(raw))
