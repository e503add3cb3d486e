"""Quality and size of a set of pictures: every variant of a bundle and JPEG, from real files.

The compression ratio and the Q score are those of the set autoencoder's publication. Its Q spans the PSNR
from the worst to the best of "all measured points". A point is taken to be one codec at one setting, with its
mean PSNR. Only then does JPEG reach the published Q > 0.99: at quality 100, with a ratio of 0.17 on 25 images
of the published set.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from decant.bundles.bundle import Bundle, find_bundle
from decant.encoder import Encoder
from decant.errors import BundleError, DecantError
from decant.formats import container
from decant.formats.paths import takes_paths
from decant.process.cores import usable_cores

from decant_bench.common import metrics, record
from decant_bench.common.baselines import setting
from decant_bench.common.cases import (
    BundleCase,
    Case,
    CodecCase,
    bundle_cases,
    codec_cases,
    refused_at_export,
)
from decant_bench.common.fitting import require_size
from decant_bench.common.measured import Comparison, mean, rate_points
from decant_bench.common.pictures import PictureSet
from decant_bench.errors import BenchError

JPEG_QUALITIES = tuple(range(10, 101, 10))  # as published
SAMPLE = 25  # images that JPEG was measured on in the publication
ALPHA = 0.5
_AVERAGED = ("psnr_db", "ssim", "ms_ssim", "payload_bytes", "file_bytes")

Say = Callable[[str], None]
Decode = Callable[[bytes], np.ndarray]


@dataclass(frozen=True)
class Options:
    """What to measure. ``codecs`` are measured on all images and again on ``sample`` random ones, drawn with
    ``seed``; ``archive_images`` is the number of images that share the model's bytes (0: those measured).
    """

    runtimes: tuple[str, ...] = ("onnxruntime",)
    codecs: tuple[str, ...] = tuple(f"jpeg-q{quality}" for quality in JPEG_QUALITIES)
    sample: int = SAMPLE
    seed: int = 0
    alpha: float = ALPHA
    archive_images: int = 0
    ms_ssim: bool = True


@takes_paths
def measure(
    bundles: Sequence[Bundle],
    images: PictureSet,
    options: Options | None = None,
    *,
    archive: Path | None = None,
    command: str | None = None,
    say: Say = lambda line: None,
) -> record.Record:
    """A quality record of every synthesis variant of ``bundles``, without and with denoiser, and the codecs.

    The images are encoded by each bundle's analysis graph, or ``archive`` is a folder with one ready .dcn
    file per image (with one bundle only). A variant that cannot run here gives a row that says why. Raises
    BenchError, and what reading and encoding raise.
    """
    options = options or Options()
    _require_fit(bundles, images, archive)
    ours = [case for bundle in bundles for case in bundle_cases(bundle, options.runtimes, (1,))]
    codecs = codec_cases(options.codecs, (1,))
    sample = pick(len(images), options.sample, options.seed)
    result = record.new("quality", _config(bundles, [*ours, *codecs], images, options, archive), command)
    opened = {str(bundle.path): bundle for bundle in bundles}
    coded = {path: encode(bundle, images, archive) for path, bundle in opened.items()}
    rows: list[dict[str, Any]] = []
    for case in ours:
        say(f"quality: {case.label} {case.runtime}")
        rows.append(_bundle_row(case, opened[case.bundle], images, coded[case.bundle], options))
    for codec in codecs:
        say(f"quality: {codec.label}")
        row = _codec_row(codec, images, options)
        rows.append(row)
        if 0 < len(sample) < len(images):
            rows.append(_part(row, sample))
    for row in rows:
        if row["refused"] is None:
            _cost(row, images, options)
    rows += [
        _blank(case) | {"refused": why}
        for bundle in bundles
        for case, why in refused_at_export(bundle, options.runtimes, 1)
    ]
    result |= {"rows": rows, "images": list(images.names), "sample": sample}
    result["psnr_span_db"] = _score(rows, options.alpha)
    return result


@takes_paths
def encode(bundle: Bundle, images: PictureSet, archive: Path | None = None) -> list[bytes]:
    """One .dcn file per image: encoded by the bundle or one of the same model, or read from ``archive``.

    Files of an archive are matched by name (``a/b.png`` to ``a/b.dcn``). If no name matches and the numbers
    are equal, they are matched by order.

    Raises BenchError when an image has no file or a bundle without encoder no archive, and what encoding
    raises.
    """
    if archive is None:
        encoder = Encoder(_with_encoder(bundle))
        return [
            encoder.encode(picture, source=name)
            for name, picture in zip(images.names, images.pixels, strict=True)
        ]
    named = [archive / Path(name).with_suffix(".dcn") for name in images.names]
    missing = [path for path in named if not path.is_file()]
    if not missing:
        return [path.read_bytes() for path in named]
    ordered = sorted(archive.rglob("*.dcn"))
    if len(missing) < len(named) or len(ordered) != len(images):
        raise BenchError(
            f"{missing[0]}: no such file; {archive} must hold one .dcn file per image, named alike, or as "
            f"many as there are images ({len(images)}; it holds {len(ordered)})"
        )
    return [path.read_bytes() for path in ordered]


def _with_encoder(bundle: Bundle) -> Bundle:
    """``bundle``, or the bundle of the same model that encodes: a bundle for clients or devices does not."""
    if bundle.has("analysis"):
        return bundle
    with suppress(BundleError):
        found = find_bundle(bundle.name, bundle.model_id)
        if found.has("analysis"):
            return found
    raise BenchError(f"bundle {bundle.name} has no encoder; give --archive with a .dcn file per image")


def pick(count: int, size: int, seed: int) -> list[int]:
    """``size`` random indices below ``count`` (all when there are fewer), in order; the same for a seed."""
    chosen = np.random.default_rng(seed).permutation(count)[:size]
    return sorted(int(index) for index in chosen)


def compression_ratio(model_bytes: float, images: int, bytes_per_image: float, raw_bytes: int) -> float:
    """(model bytes / images + bytes per image) / raw bytes of an image: the published ratio; lower is
    smaller.
    """
    return (model_bytes / images + bytes_per_image) / raw_bytes


def q_score(
    psnr_db: Sequence[float], ssim: Sequence[float], span_db: tuple[float, float], alpha: float = ALPHA
) -> float:
    """Q = alpha * mean((PSNR_i - min) / (max - min)) + (1 - alpha) * mean(SSIM_i), min and max = ``span_db``.

    An infinite PSNR counts as the maximum. Raises ValueError for an empty span.
    """
    low, high = span_db
    if not high > low:
        raise ValueError(f"PSNR from {low} to {high} dB is no range; Q needs two points of different PSNR")
    shares = [1.0 if math.isinf(value) else (value - low) / (high - low) for value in psnr_db]
    return float(alpha * np.mean(shares) + (1 - alpha) * np.mean(ssim))


def _bundle_row(
    case: BundleCase, bundle: Bundle, images: PictureSet, files: list[bytes], options: Options
) -> dict[str, Any]:
    try:
        decoder = case.decoder()
    except DecantError as error:
        return _blank(case) | {"refused": str(error)}
    row = _row(case, images, files, decoder.decode, options)
    graphs = case.graphs(bundle)
    row["model_bytes"] = sum(file.bytes for file in {file for graph in graphs for file in graph.files})
    row["client_bytes"] = sum(path.stat().st_size for path in case.files(bundle))
    row["payload_bytes"] = [len(container.parse(data).latents) for data in files]
    for name in ("requested_device", "device", "runtime_version"):
        row[name] = getattr(decoder, name)
    return row


def _codec_row(case: CodecCase, images: PictureSet, options: Options) -> dict[str, Any]:
    files = [setting(case.name).encode(picture) for picture in images.pixels]
    return _row(case, images, files, case.decoding(), options)


def _blank(case: Case) -> dict[str, Any]:
    return {
        "key": case.key,
        "label": case.label,
        "subject": case.as_dict(),
        "refused": None,
        "pictures": "all",
        "requested_device": None,
        "device": None,
        "runtime_version": None,
        "model_bytes": 0,  # of the graphs, as published
        "client_bytes": 0,  # of all files that a client reads to decode
    }


def _row(
    case: Case, images: PictureSet, files: list[bytes], decode: Decode, options: Options
) -> dict[str, Any]:
    """Measured on all images; lists have one value per image."""
    comparison = Comparison(("psnr_db", "ssim", *(("ms_ssim",) if options.ms_ssim else ())))
    (point,) = rate_points(images, None, lambda index, _: files[index], [decode], comparison, usable_cores())
    found = point.as_dict()
    metrics_found = {name: found[name] for name in ("psnr_db", "ssim", "ms_ssim")}
    return _blank(case) | metrics_found | {"payload_bytes": found["bytes"], "file_bytes": found["bytes"]}


def _part(row: dict[str, Any], sample: list[int]) -> dict[str, Any]:
    """The same codec on the sample alone."""
    few = {name: [row[name][index] for index in sample] for name in _AVERAGED}
    return row | few | {"key": f"{row['key']} sample", "pictures": "sample"}


def _cost(row: dict[str, Any], images: PictureSet, options: Options) -> None:
    """Add means and ratios."""
    _, height, width, _ = images.pixels.shape
    means: dict[str, Any] = {name: mean(row[name]) for name in _AVERAGED}
    row["mean"] = means
    means["bits_per_pixel"] = 8 * means["file_bytes"] / (height * width)
    shared = options.archive_images or len(images)
    raw = height * width * 3
    row["ratio"] = compression_ratio(row["model_bytes"], shared, means["payload_bytes"], raw)
    row["ratio_files"] = compression_ratio(row["client_bytes"], shared, means["file_bytes"], raw)


def _score(rows: list[dict[str, Any]], alpha: float) -> list[float] | None:
    """Add ``q`` to every measured row; the span of mean PSNRs (dB) that it is relative to."""
    measured = [row for row in rows if row["refused"] is None]
    points = [row["mean"]["psnr_db"] for row in measured if row["mean"]["psnr_db"] is not None]
    span = (min(points), max(points)) if points else (0.0, 0.0)
    for row in measured:
        psnr = [math.inf if value is None else value for value in row["psnr_db"]]
        row["q"] = q_score(psnr, row["ssim"], span, alpha) if span[1] > span[0] else None
    return list(span) if span[1] > span[0] else None


def _require_fit(bundles: Sequence[Bundle], images: PictureSet, archive: Path | None) -> None:
    require_size(bundles, images)
    height, width = images.pixels.shape[1:3]
    if archive is not None and len(bundles) != 1:
        raise BenchError(f"an archive belongs to one bundle; {len(bundles)} were given")
    if min(height, width) < metrics.WINDOW:
        raise BenchError(f"images of {width}x{height} pixels; SSIM needs {metrics.WINDOW} a side")


def _config(
    bundles: Sequence[Bundle],
    cases: Sequence[Case],
    images: PictureSet,
    options: Options,
    archive: Path | None,
) -> dict[str, Any]:
    chosen = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(options).items()}
    return {
        "options": chosen,
        "images": images.described(),
        "subjects": [case.key for case in cases],
        "bundles": {bundle.name: bundle.model_id for bundle in bundles},
        "ready_files": archive is not None,
        "ssim": metrics.SSIM_PARAMETERS,
    }
