"""Checkpoint -> bundle, from top to bottom: graphs, checks, variants, gate, golden files, folder."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from decant.backends.session import Session
from decant.bundles.bundle import Bundle
from decant_train.common.checkpoint import Checkpoint

from decant_export.common import family as families
from decant_export.common import folder, writing
from decant_export.common.checks import against_torch, calibrated
from decant_export.common.family import Decodes
from decant_export.common.gate import Gate, evenly, run_each, session_of
from decant_export.common.naming import checked_name
from decant_export.common.pictures import PICTURE
from decant_export.common.variants import PRECISIONS, RUNTIMES, default_floor_db, make, variants
from decant_export.errors import ExportError

GATED = 32  # pictures over which a variant is compared with the float graph, the golden ones among them
TUNED = 16  # pictures that decide which part of each range static int8 keeps; fewer would flatter it
NO_LICENCE = "not stated; the decoder reproduces the images it was trained on, so their terms apply"


def export(
    checkpoint_dir: Path | str,
    out_dir: Path | str,
    *,
    name: str | None = None,
    version: str = "1.0.0",
    precisions: Sequence[str] = PRECISIONS,
    runtimes: Sequence[str] = RUNTIMES,
    images: np.ndarray | None = None,
    denoiser: Path | str | None = None,
    latent_coding: str = "float16",
    encoder: bool = True,
    golden: int = 4,
    floors: Mapping[str, float] | None = None,
    licence: str = NO_LICENCE,
    data: str | None = None,
    force: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Bundle:
    """Write the bundle of a checkpoint to the folder ``out_dir`` and open it.

    ``name``: what files call the model; the folder's name when left out. ``precisions`` are those of the
    synthesis; analysis and denoiser are float. ``images``: uint8 (n, H, W, 3), needed only where the
    checkpoint holds no latents of its own set; the analysis is compared on them. ``denoiser``: a denoiser's
    checkpoint. ``latent_coding``: float16, float32 or uintK. ``golden``: number of golden files. ``floors``:
    lowest PSNR in dB by precision, where not docs/format.md's. ``report`` is told what is done, a line at a
    time.

    A variant below its floor, or that its runtime cannot load, is not written; ``refused`` in bundle.json
    says why. The same arguments give the same bytes on the same machine. Raises ExportError,
    MissingExtraError (no openvino for runtime openvino), OSError.
    """
    out = Path(out_dir)
    folder.check_target(out, force)
    name = checked_name(name or out.absolute().name)
    _check_known("precision", precisions, PRECISIONS)
    _check_known("runtime", runtimes, RUNTIMES)
    floors = {precision: default_floor_db(precision) for precision in PRECISIONS} | dict(floors or {})
    checkpoint = families.load(checkpoint_dir)
    family = families.decoding(checkpoint)

    synthesis = family.synthesis()
    latents = _latents(family, images, str(checkpoint_dir))
    few = evenly(latents, golden)
    worst = against_torch(synthesis, few, PICTURE, family.decode(few), name)
    report(f"synthesis.float equals PyTorch to {worst:.1e}")
    layout = family.layout(latent_coding, latents)
    stored = np.stack([layout.unpack(layout.pack(latent)) for latent in evenly(latents, max(golden, GATED))])
    reference = session_of(make("synthesis", "float", "onnxruntime", synthesis), name)
    pixels = run_each(reference, stored)
    gate = Gate(name, family.image, floors, golden, report)

    def static() -> onnx.ModelProto | None:
        graph = family.static(latents)
        # Tuned on others than the golden pictures, which are to judge the result.
        others = slice(1, None) if len(stored) > TUNED else slice(None)
        tuned = evenly(stored[others], TUNED), evenly(pixels[others], TUNED)
        return None if graph is None else calibrated(graph, *tuned, name)

    for variant in variants("synthesis", synthesis, static, precisions, runtimes):
        gate.judge(variant, partial(run_each, inputs=stored), pixels)
    if not gate.passed:
        reasons = "; ".join(r["reason"] for r in gate.refused) or "the family has none of the forms asked for"
        raise ExportError(f"{name}: no graph is left: {reasons}")
    if encoder:
        _judge_analysis(gate, family, reference, pixels if images is None else images, runtimes)
    shown = evenly(pixels, golden)
    mended = None if denoiser is None else _judge_denoiser(gate, families.load(denoiser), shown, runtimes)

    head = writing.head_of(checkpoint, name, version, licence, data)
    pictures = writing.GoldenPictures(evenly(stored, golden), shown, mended)
    with folder.appearing(out) as building:
        writing.write(building, family, layout, gate, pictures, head)
        Bundle.open(building).verify()
    return Bundle.open(out)


def _judge_analysis(
    gate: Gate, family: Decodes, reference: Session, images: np.ndarray, runtimes: Sequence[str]
) -> None:
    """Analysis graphs are compared by the pixels that their latents decode to."""
    model = family.analysis()
    images = evenly(images, max(gate.golden, GATED))
    few = evenly(images, gate.golden)
    worst = against_torch(model, few, model.graph.output[0].name, family.encode(few), gate.name)
    gate.report(f"analysis.float equals PyTorch to {worst:.1e}")

    def decode(session: Session) -> np.ndarray:
        return run_each(reference, run_each(session, images))

    expected = decode(session_of(make("analysis", "float", "onnxruntime", model), gate.name))
    for runtime in runtimes:
        gate.judge(make("analysis", "float", runtime, model), decode, expected)


def _judge_denoiser(
    gate: Gate, checkpoint: Checkpoint, pixels: np.ndarray, runtimes: Sequence[str]
) -> np.ndarray:
    """What the float denoiser makes of the golden ``pixels``, uint8 (n, H, W, 3)."""
    family = families.mending(checkpoint)
    model = family.denoiser(gate.image)
    worst = against_torch(model, pixels, PICTURE, family.mend(pixels), gate.name)
    gate.report(f"denoiser.float equals PyTorch to {worst:.1e}")
    mended = run_each(session_of(make("denoiser", "float", "onnxruntime", model), gate.name), pixels)
    for runtime in runtimes:
        gate.judge(make("denoiser", "float", runtime, model), partial(run_each, inputs=pixels), mended)
    return mended


def _latents(family: Decodes, images: np.ndarray | None, where: str) -> np.ndarray:
    known = family.known_latents()
    if known is not None:
        return known
    if images is None or not len(images):
        raise ExportError(f"{where} holds no latents of its set; give images (--images) to take them from")
    return family.encode(images)


def _check_known(what: str, asked: Sequence[str], known: Sequence[str]) -> None:
    if not asked:
        raise ExportError(f"no {what} is asked for; {', '.join(known)} can be")
    for value in asked:
        if value not in known:
            raise ExportError(f"{what} {value!r} is unknown; {', '.join(known)} expected")
