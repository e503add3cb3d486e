"""A codec's checkpoint -> its bundle: settled weights, counted tables, graphs, gates, golden files."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from decant.backends.session import Session
from decant.bundles.bundle import Bundle, canonical_json
from decant.codec.decoder import GridDecoder
from decant.codec.layout import GridLayout
from decant.formats import container
from decant.formats.paths import takes_paths
from decant_train.codec.model import Codec
from decant_train.codec.model import part as part_of
from decant_train.common import checkpoint as checkpoints
from decant_train.common.checkpoint import Checkpoint, CheckpointError
from decant_train.data import photos, wheel_photos

from decant_export.common import family as families
from decant_export.common import folder, writing
from decant_export.common.extremes import extremes
from decant_export.common.extremes import pictures as extreme_pictures
from decant_export.common.gate import Gate, no_checks, session_of
from decant_export.common.naming import checked_name
from decant_export.common.threads import one_thread
from decant_export.common.variants import RUNTIMES, make
from decant_export.errors import ExportError
from decant_export.families.codec import adjoint as codec_adjoint
from decant_export.families.codec import float_graphs as codec_graphs
from decant_export.families.codec import native as codec_native
from decant_export.families.codec import tables as codec_tables
from decant_export.families.codec.int8_graphs import StaticCodec
from decant_export.families.codec.judging import JUDGING, Files, Judge
from decant_export.families.codec.network import FloatSynthesis
from decant_export.families.codec.tables import Latents

PRECISIONS = ("float", "int8", "int16")
FLOORS = {"float": 48.0, "int8": 40.0, "int16": 48.0}
SHARED_ROLES = ("analysis", "hyper_analysis")  # what bundles of one encoder have in common
ADJOINT_TOLERANCE = 0.1  # of its norm: weights in 8 bits switch some rectifiers
CALIBRATED = 64  # crops that show the ranges of 16-bit activations
CROP = 256  # pixels on a side of the pictures that tables and ranges are measured on
GOLDEN_WIDTH, GOLDEN_HEIGHT = 200, 120  # pixels; no multiples of 16, so that cropping is seen
GOLDEN_QUALITIES = (5, 35, 65, 95)
GOLDEN_EXTREME_WIDTH = 80
GOLDEN_EXTREMES = {
    "flat 0 255 0": 60,
    "flat 255 0 255": 90,
    "vertical edge 0": 60,
    "rows 2": 90,
    "coloured text 14": 60,
}
# dB that another processor may lose on the golden files, by precision; int16 is the same everywhere.
MARGINS = {"int8": 4.0, "int16": 0.5}
JUDGED, JUDGED_SIDE = 12, 128  # photos that judge int8, and their sides
# Kodak's size, for kMAC per pixel.
IMAGE = (768, 512)
SIZES = {"height": 512, "width": 768, "h": 32, "w": 48, "hyper_h": 8, "hyper_w": 12}


# Options of ``decant export`` that codecs have.
OPTIONS = ("name", "version", "precisions", "runtimes", "licence", "data", "force")


@takes_paths
def is_codec(folder: Path) -> bool:
    """Whether the checkpoint in ``folder`` is a codec's."""
    try:
        return bool(checkpoints.read_description(folder)["family"] == "codec")
    except (CheckpointError, KeyError):
        return False


@takes_paths
def export(
    folder: Path,
    out: Path,
    *,
    name: str | None = None,
    version: str = "1.0.0",
    licence: str = "not stated",
    data: str | None = None,
    precisions: Sequence[str] = PRECISIONS,
    **options: Any,
) -> Bundle:
    """Export the codec checkpoint in ``folder``; ``options`` are those of ``export_codec``. Raises as that
    does.
    """
    checkpoint = families.load(folder)
    head = writing.head_of(checkpoint, checked_name(name or out.absolute().name), version, licence, data)
    known = [precision for precision in precisions if precision in PRECISIONS]
    return export_codec(checkpoint, out, head, precisions=known, **options)


@takes_paths
@one_thread()
def export_codec(
    checkpoint: Checkpoint,
    out: Path,
    head: Mapping[str, Any],
    *,
    images: Path | None = None,
    pictures: int = 128,
    part: str | None = None,
    precisions: Sequence[str] = PRECISIONS,
    runtimes: Sequence[str] = RUNTIMES,
    encoder: bool = True,
    card: str | None = None,
    encoder_of: Path | None = None,
    force: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Bundle:
    """Write the bundle of a codec ``checkpoint`` to the folder ``out`` and open it.

    ``head``: name, version, family, licence, data and training of bundle.json. ``images``: a folder or packed
    file of photos, whose training part gives ``pictures`` crops for tables and int8 ranges; the photos in the
    wheels when None. ``part``: export the synthesis of that name, trained beside. ``card``: Markdown to put
    in. ``encoder_of``: a bundle beside ``out`` of the same encoder, to share its files.
    Raises ExportError, BundleError, OSError, MissingExtraError.
    """
    folder.check_target(out, force)
    lender = None if encoder_of is None else Bundle.open(encoder_of)
    if lender is not None and lender.path.absolute().parent != out.absolute().parent:
        raise ExportError(f"{encoder_of} does not lie beside {out}: a bundle shares files with one that does")
    assert isinstance(checkpoint.model, Codec)
    model = codec_graphs.settled(checkpoint.model if part is None else part_of(checkpoint.model, part))
    crops = calibration_crops(images, pictures)
    measured = codec_tables.encoder_of(model, crops)
    latents = codec_tables.with_aims(measured, crops, codec_tables.latents_of(model, crops))
    layout, tables = codec_tables.layout_of(measured, latents)
    report(f"tables counted on {len(crops)} crops of {CROP} pixels")
    graphs = {"hyper_mean": codec_graphs.hyper_mean(model), "synthesis": codec_graphs.synthesis(model)}
    if encoder:
        graphs |= {
            "analysis": codec_graphs.analysis(model),
            "hyper_analysis": codec_graphs.hyper_analysis(model),
            "synthesis_adjoint": codec_adjoint.adjoint(model),
        }
        if model.config.predicted:
            graphs["prediction"] = codec_graphs.prediction(model)
    shown, float_graph = golden_photos(), FloatSynthesis.of(graphs["synthesis"])
    _against_torch(model, graphs, shown[0][0], report)

    description = canonical_json(_description(model, layout, tables))
    encode = partial(_file, model, layout, head["name"], hashlib.sha256(description).digest())
    files = [encode(pixels, quality) for pixels, quality in [*shown, *golden_extremes()]]
    float_mean = session_of(make("hyper_mean", "float", "onnxruntime", graphs["hyper_mean"]), head["name"])
    float_synthesis = session_of(make("synthesis", "float", "onnxruntime", graphs["synthesis"]), head["name"])
    expected = _decode(layout, float_mean, float_synthesis, files)
    gate = Gate(head["name"], IMAGE, FLOORS, len(files), report, MARGINS)
    static: StaticCodec | None = None
    judge: Judge | None = None
    if "int8" in precisions:
        coded = Files(layout, float_mean, float_graph, encode, head["name"])
        static = StaticCodec(float_graph, coded.calibration(_decoded(model, layout, latents)))
        judge = coded.judged(judged_photos())
    for runtime in runtimes:
        mean = make("hyper_mean", "float", runtime, graphs["hyper_mean"])
        gate.judge(mean, lambda session: _decode(layout, session, float_synthesis, files), expected)
        for precision in (known for known in precisions if known != codec_native.PRECISION):
            graph = graphs["synthesis"] if precision == "float" else _static(static, runtime)
            gate.judge(
                make("synthesis", precision, runtime, graph),
                lambda session: _decode(layout, float_mean, session, files),
                expected,
                no_checks if precision == "float" or judge is None else judge,
            )
    if codec_native.PRECISION in precisions:
        seen = [_file(model, layout, head["name"], bytes(32), *item) for item in calibration(crops)]
        seen_cases = codec_native.cases_of(layout, float_mean, float_synthesis, seen)
        native = codec_native.variants(graphs["synthesis"], graphs["hyper_mean"], tables, seen_cases)
        codec_native.judge(
            gate,
            native,
            lambda mean, session: _decode(layout, mean, session, files),
            float_synthesis,
            expected,
            lambda mean: no_checks if judge is None else replace(judge, mean=mean),
        )
    for role in (role for role in graphs if role not in ("hyper_mean", "synthesis")):
        gate.passed.append((make(role, "float", "onnxruntime", graphs[role]), float("inf")))
    if not any(variant.role == "synthesis" for variant, _ in gate.passed):
        raise ExportError(f"{head['name']}: no graph is left: {'; '.join(r['reason'] for r in gate.refused)}")
    cases = [writing.GoldenCase(file, pixels) for file, pixels in zip(files, expected, strict=True)]
    with folder.appearing(out) as building:
        writing.assemble(building, head, description, tables, cases, gate, SIZES, card, lender)
        _check_sharing(Bundle.open(building), lender)
        Bundle.open(building).verify()
    return Bundle.open(out)


def _check_sharing(bundle: Bundle, lender: Bundle | None) -> None:
    if lender is None:
        return
    for role in filter(bundle.has, SHARED_ROLES):
        if any(file.of is None for file in bundle.graph(role).files):
            raise ExportError(f"{role} of {bundle.name} is not that of {lender.path}: their encoders differ")


@takes_paths
def calibration_crops(images: Path | None, count: int) -> list[np.ndarray]:
    """``count`` crops uint8 (CROP, CROP, 3) of the training part of ``images``, or of the wheels' photos."""
    if images is None:
        return list(wheel_photos.crops(count, CROP))
    with tempfile.TemporaryDirectory() as scratch:
        packed = photos.packed(images, Path(scratch) / "photos.safetensors")
        training = photos.load([packed], CROP, validation=False)
    taken = training.crops(count, CROP, torch.Generator().manual_seed(2))
    return list((taken.permute(0, 2, 3, 1) * 255).round().byte().numpy())


def calibration(crops: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, int]]:
    """Pictures and qualities that show the ranges of activations: photographs and extremes."""
    for i, crop in enumerate(crops[:CALIBRATED]):
        yield crop, 100 - 7 * i % 60
    for picture in extreme_pictures().values():
        yield picture, 80


def golden_photos() -> list[tuple[np.ndarray, int]]:
    """The photos of the golden files, uint8 (H, W, 3), and their qualities."""
    squares = wheel_photos.crops(len(GOLDEN_QUALITIES), CROP)
    cut = [square[:GOLDEN_HEIGHT, :GOLDEN_WIDTH] for square in squares]
    return list(zip(cut, GOLDEN_QUALITIES, strict=True))


def golden_extremes() -> list[tuple[np.ndarray, int]]:
    """The golden pictures that are no photos, small, and their qualities."""
    pictures = extremes(JUDGING).every
    return [(pictures[name][:, :GOLDEN_EXTREME_WIDTH], quality) for name, quality in GOLDEN_EXTREMES.items()]


def judged_photos() -> dict[str, np.ndarray]:
    """The photos on which int8 is compared with float, beside the golden ones."""
    return {
        f"photo {i}": square[::2, ::2] for i, square in enumerate(wheel_photos.crops(JUDGED, 2 * JUDGED_SIDE))
    }


def _file(
    model: Codec, layout: GridLayout, name: str, model_id: bytes, pixels: np.ndarray, quality: int
) -> bytes:
    """A .dcn file of a picture uint8 (H, W, 3) of at most one group, plainly rounded."""
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % 64), (0, -width % 64), (0, 0)), mode="edge")
    (found,) = codec_tables.latents_of(model, [padded])
    row, shape = layout.quality(quality), layout.grid(width, height)
    inside = Latents(found.y[:, : shape.h, : shape.w], found.hyper)
    z, _, classes, symbols = codec_tables.symbols_of(model, layout, inside, quality)
    payload = layout.write(layout.encode_hyper(z, row), [layout.encode_group(symbols, classes)])
    return container.write(container.DcnFile(name, model_id[:8], width, height, payload, quality=quality))


def _decode(
    layout: GridLayout, mean: Session, synthesis: Session, files: Sequence[bytes]
) -> list[np.ndarray]:
    """uint8 (H, W, 3) each: what these graphs make of the golden files."""
    decoder = GridDecoder(layout, mean, synthesis, overlap=False)
    return [decoder.decode(container.parse(file)) for file in files]


def _decoded(model: Codec, layout: GridLayout, latents: Sequence[Latents]) -> list[np.ndarray]:
    """Dequantized latents (1, M, h, w) at qualities all over the range: what the synthesis is given."""
    found = []
    for i, item in enumerate(latents):
        quality = 100 - 7 * i % 60
        _, mean, _, symbols = codec_tables.symbols_of(model, layout, item, quality)
        step = layout.quality(quality).step[:, None, None]
        found.append((symbols.astype(np.float32) * step + mean)[None])
    return found


def _static(static: StaticCodec | None, runtime: str) -> onnx.ModelProto:
    assert static is not None
    return static.build(rearranged=runtime == "onnxruntime")


@torch.no_grad()
def _against_torch(
    model: Codec, graphs: Mapping[str, onnx.ModelProto], pixels: np.ndarray, report: Callable[[str], None]
) -> None:
    """Every graph gives what PyTorch gives, to 1e-4 of the largest value; pixels to one step of rounding."""
    pixels = pixels[: GOLDEN_HEIGHT // 64 * 64, : GOLDEN_WIDTH // 64 * 64]
    y = model.analysis(codec_tables.centred(pixels))
    hyper = model.hyperprior.hyperlatents(y)
    z_hat = hyper.round()
    mean = model.hyperprior.mean(z_hat)
    gain = model.quality(torch.tensor([3.0]))[0][:, :, None, None]
    symbols = ((y - mean) * gain).round()
    latents, first = symbols / gain + mean, model.config.stages[0]
    known, predicted = symbols[:, :0], torch.zeros(0)
    if model.hyperprior.prediction is not None:
        count = model.hyperprior.prediction.in_channels
        known = (symbols / gain)[:, :count]
        predicted = model.hyperprior.predicted(symbols[:, :count], gain[:, :count])
        latents[:, first : first + predicted.shape[1]] += predicted
    decoded = (model.synthesis(latents) + 0.5).clamp(0, 1).permute(0, 2, 3, 1) * 255
    lacking = torch.from_numpy(pixels / np.float32(255))[None] - decoded / 255
    correction = codec_adjoint.by_autograd(model, latents, lacking)
    cases = {
        "synthesis_adjoint": ((latents.numpy(), lacking.numpy()), correction),
        "prediction": ((known.numpy(),), predicted),
        "analysis": ((pixels[None],), y),
        "hyper_analysis": ((y.numpy(),), hyper),
        "hyper_mean": ((z_hat.numpy(),), mean),
        "synthesis": ((symbols.numpy(), mean.numpy(), (1 / gain).numpy()), decoded),
    }
    for role, graph in graphs.items():
        given, wanted = cases[role]
        found = session_of(make(role, "float", "onnxruntime", graph), role).run(*given)
        worst = float(np.abs(found - wanted.numpy()).max())
        allowed = 0.51 if role == "synthesis" else 1e-4 * max(1.0, float(wanted.abs().max()))
        if role == "synthesis_adjoint":  # the model's weights are not rounded to what it stores
            worst, allowed = float(np.linalg.norm(found - wanted.numpy()) / wanted.norm()), ADJOINT_TOLERANCE
        if not worst <= allowed:  # a NaN fails too
            raise ExportError(f"graph {role} differs from PyTorch by {worst:.2g}, more than {allowed:.2g}")
        report(f"{role}.float equals PyTorch to {worst:.1e}")


def _description(model: Codec, layout: GridLayout, tables: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """model.json."""
    deciding = {f"synthesis.{k}": v for k, v in model.synthesis.state_dict().items()}
    deciding |= {f"mean.{k}": v for k, v in model.hyperprior.mean.state_dict().items()}
    if model.hyperprior.prediction is not None:
        deciding["prediction.weight"] = model.hyperprior.prediction_weight()
    tensors = {name: codec_graphs.array(tensor) for name, tensor in sorted(deciding.items())}
    return writing.model_description((0, 0), layout, dict(sorted(tables.items())), tensors)
