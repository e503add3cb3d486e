"""Rate and distortion of bundles and codecs on whole pictures, from real files: bytes with headers.

Each picture is encoded at a ladder of qualities, decoded and compared by SSIMULACRA2, by PSNR (mean squared
error of RGB values) and by MS-SSIM. The headline is the BD-rate (Bjontegaard 2001) of the averaged curves:
bits per pixel and metric averaged over the pictures at each quality. BD-rates of single pictures, and their
mean, stand next to it.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from decant.bundles.bundle import Bundle
from decant.errors import DecantError

from decant_bench.common import machine, matched, metrics, record
from decant_bench.common.contenders import CodecEntry, bundle_contender, codec_contender
from decant_bench.common.features import FeatureDistance
from decant_bench.common.measured import Comparison, rate_points
from decant_bench.common.pictures import Picture, PictureSet
from decant_bench.errors import BenchError
from decant_bench.rate_distortion import curves as rd_curves
from decant_bench.rate_distortion import groups as rd_groups
from decant_bench.rate_distortion.bd_rate import Span

AGAINST = ("jpeg", "jpeg-opt", "jpegli", "webp-m6", "avif", "avif-psnr-444", "jxl")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What to measure.

    ``qualities``: one ladder for all instead of each codec's own; ``effort`` of bundles' encoders (None:
    their default). BD-rates are integrated over ``psnr_range`` (dB) and ``score_range`` (SSIMULACRA2).
    ``match_bpp``: bits per pixel at which times are taken (0: no times), met by a search that ends between
    two qualities ``match_within`` of each other; ``rounds`` of decodes (0: none) and ``encode_rounds`` of
    encodes, for each number of ``threads``; ``allocator`` of the codecs' processes (common/allocator.py).
    ``groups``: also by the folders that pictures lie in (rd_groups).
    """

    against: tuple[str, ...] = AGAINST
    precisions: tuple[str, ...] = ("auto",)
    runtime: str = "auto"
    effort: int | None = None
    qualities: tuple[int, ...] = ()
    anchor: str = "jpeg"
    psnr_range: Span = (28.0, 38.0)
    score_range: Span = (30.0, 85.0)
    match_bpp: float = 0.6
    match_within: int = 1
    threads: tuple[int, ...] = (1, 2)
    rounds: int = 12
    encode_rounds: int = 3
    allocator: str = "kept"
    seed: int = 0
    groups: bool = False


def measure(
    contenders: Sequence[CodecEntry],
    pictures: PictureSet,
    options: Options | None = None,
    *,
    refused: Sequence[dict[str, Any]] = (),
    distance: FeatureDistance | None = None,
    command: str | None = None,
    say: Say = lambda line: None,
) -> record.Record:
    """A record of kind ``rd``: a row for each contender, and the rows of those that ``enter`` refused. With a
    feature ``distance`` also that.

    A row that cannot be measured on every picture says why and has no figures. Raises BenchError when the
    anchor cannot be measured.
    """
    options = options or Options()
    comparison = Comparison(distance=distance)
    groups = rd_groups.members(pictures) if options.groups else {}
    result = record.new("rd", _config(contenders, pictures, options, comparison), command)
    if machine.busy(result["machine"]["load_average"], result["machine"]["cores_usable"] or 1):
        say(f"the machine is busy (load {result['machine']['load_average'][0]}): times will be long")
    result["pictures"] = pictures.listed()
    rows: dict[str, dict[str, Any]] = {}
    for group in _by_files(contenders):
        say(f"{', '.join(one.label for one in group)}: {len(group[0].qualities)} qualities")
        rows |= {row["label"]: row for row in _measured(group, pictures, max(options.threads), comparison)}
    result["rows"] = [*(rows[one.label] for one in contenders), *refused]
    if options.anchor not in rows or rows[options.anchor]["refused"]:
        raise BenchError(f"the anchor {options.anchor!r} was not measured; name it in --against")
    rd_curves.add_bd_rates(result, options.anchor, options.psnr_range, options.score_range)
    if groups:
        rd_groups.add(result, options.anchor, groups, pictures)
    if options.match_bpp:
        alive = [(one, rows[one.label]) for one in contenders if rows[one.label]["refused"] is None]
        result["matched"] = matched.measure(alive, pictures, options, say)
    result["machine"]["load_average_after"] = machine.load_average()
    return result


def enter(bundles: Sequence[Bundle], options: Options) -> tuple[list[CodecEntry], list[dict[str, Any]]]:
    """Everything that takes part, and rows that say why for what cannot."""
    names = [bundle.name for bundle in bundles]
    found = [codec_contender(name, options.qualities) for name in options.against]
    refused = []
    for bundle in bundles:
        # Two states of one bundle have one name; their folders tell them apart.
        called = bundle.name if names.count(bundle.name) == 1 else bundle.path.resolve().name
        for precision in options.precisions:
            try:
                found.append(
                    bundle_contender(
                        bundle, precision, options.runtime, options.qualities, called, options.effort
                    )
                )
            except DecantError as error:
                refused.append(refused_row(f"{called} {precision}", str(error)))
    labels = [one.label for one in found]
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise BenchError(f"{twice[0]} is asked for twice; its curves could not be told apart")
    if not found:
        raise BenchError("nothing to measure: give --bundle or --against")
    return found, refused


def new_row(one: CodecEntry) -> dict[str, Any]:
    """A row without figures yet."""
    codec = one.codec
    about = {"label": one.label, "description": codec.description, "version": codec.version}
    return about | {"refused": None, "facts": one.facts, "points": []}


def refused_row(label: str, why: str) -> dict[str, Any]:
    """The row of what could not be entered."""
    return {"label": label, "description": "", "version": "", "refused": why, "facts": {}, "points": []}


def _by_files(contenders: Sequence[CodecEntry]) -> list[list[CodecEntry]]:
    groups: dict[str, list[CodecEntry]] = {}
    for one in contenders:
        groups.setdefault(one.files, []).append(one)
    return list(groups.values())


def _measured(
    group: Sequence[CodecEntry], pictures: PictureSet, workers: int, comparison: Comparison
) -> list[dict[str, Any]]:
    """The rows of contenders that share files: each picture is encoded once a quality."""
    rows = [new_row(one) for one in group]
    decoders = [partial(one.codec.decode, threads=1) for one in group]
    first = group[0].codec
    try:
        for quality in group[0].qualities:

            def encode(index: int, picture: Picture, quality: int = quality) -> bytes:
                return first.encode(picture.pixels, quality)

            points = rate_points(pictures, quality, encode, decoders, comparison, workers)
            for row, point in zip(rows, points, strict=True):
                row["points"].append(point.as_dict())
    except DecantError as error:
        reason = str(error)
    except ImportError as error:
        reason = f"{error}: pip install 'decant-codec[bench]'"
    else:
        return rows
    return [row | {"refused": reason, "points": []} for row in rows]


def _config(
    contenders: Sequence[CodecEntry],
    pictures: PictureSet,
    options: Options,
    comparison: Comparison,
) -> dict[str, Any]:
    chosen = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(options).items()}
    return {
        "options": chosen,
        "images": pictures.described(),
        "contenders": [
            {
                "label": one.label,
                "description": one.codec.description,
                "version": one.codec.version,
                "qualities": list(one.qualities),
                "model_id": one.facts.get("model_id"),
            }
            for one in contenders
        ],
        "ms_ssim": metrics.SSIM_PARAMETERS | {"weights": list(metrics.MS_SSIM_WEIGHTS)},
        "feature_distance": None if comparison.distance is None else comparison.distance.name,
    }
