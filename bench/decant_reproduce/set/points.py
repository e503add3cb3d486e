"""Ratio against quality, as the set autoencoder was published: its points, ours, JPEG's, and after how many
pictures a codec with its decoder counted takes fewer bytes than JPEG.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from decant_bench.common.record import Record
from decant_bench.errors import BenchError
from decant_bench.evaluate.quality import ALPHA, compression_ratio, q_score
from decant_bench.rate_distortion.bd_rate import Curve, curve, to_db

COUNTS = (64, 256, 1024, 4096)  # pictures that share a codec's decoder: the published set sizes
RAW = 256 * 256 * 3  # bytes of a picture
LEVELS_DB = tuple(range(26, 45))  # at which codecs are compared with JPEG


@dataclass(frozen=True)
class Point:
    """A setting: its ratio, and PSNR (dB; None: exact) and SSIM of each picture."""

    name: str
    ratio: float
    psnr_db: tuple[float | None, ...]
    ssim: tuple[float, ...]

    @property
    def mean_psnr_db(self) -> float | None:
        """Of the pictures that are not exact."""
        there = [value for value in self.psnr_db if value is not None]
        return float(np.mean(there)) if there else None

    @property
    def mean_ssim(self) -> float:
        """Over the pictures."""
        return float(np.mean(self.ssim))


@dataclass(frozen=True)
class Series:
    """Points of one thing. ``count``: pictures that share its decoder; 0 where it has none to share."""

    label: str
    points: tuple[Point, ...]
    count: int = 0


@dataclass(frozen=True)
class Passing:
    """Bytes a picture of JPEG and of a codec at one quality, and the smallest number of pictures from which
    on the codec takes fewer with its decoder counted; None where it never does.
    """

    level: float
    jpeg_bytes: float
    codec_bytes: float
    pictures: int | None


def jpeg_series(rates: Record) -> Series:
    """JPEG of an evaluation: whole files, nothing to share."""
    return Series("JPEG", _points(rates["rows"][0], 0, 1))


def codec_series(rates: Record) -> list[Series]:
    """The codec bundles of an evaluation, each for each of COUNTS: whole files, and every byte that a client
    reads to decode.
    """
    return [
        Series(row["label"], _points(row, row["facts"]["decoder_bytes"], count), count)
        for row in rates["rows"][1:]
        for count in COUNTS
    ]


def set_series(found: Record, note: str = "") -> list[Series]:
    """The variants of set bundles in a quality record, a point each, with the published ratio; and its JPEG,
    where it has one, on the sample if that was measured. ``note`` ends the labels.
    """
    rows = [row for row in found["rows"] if row["refused"] is None]
    series = [
        Series(row["label"] + note, (_row_point(row),))
        for row in rows
        if row["subject"]["kind"] == "model" and row["subject"]["runtime"] == "onnxruntime"
    ]
    jpeg = [row for row in rows if re.fullmatch(r"jpeg-q\d+", row["label"])]
    part = [row for row in jpeg if row["pictures"] == "sample"] or jpeg
    points = sorted((_row_point(row) for row in part), key=lambda point: point.ratio)
    return [*series, Series(f"JPEG{note}", tuple(points))] if points else series


def span_db(series: Sequence[Series]) -> tuple[float, float]:
    """The lowest and the highest mean PSNR of all points: what Q is relative to."""
    means = [p.mean_psnr_db for one in series for p in one.points if p.mean_psnr_db is not None]
    return min(means), max(means)


def q_of(point: Point, span: tuple[float, float]) -> float:
    """The published score of a point."""
    psnr = [math.inf if value is None else value for value in point.psnr_db]
    return q_score(psnr, point.ssim, span)


def q_bounds(ssim: float) -> tuple[float, float]:
    """Between which the Q of a published point lies whose SSIM alone was published."""
    return (1 - ALPHA) * ssim, (1 - ALPHA) * ssim + ALPHA


def passings(jpeg: dict[str, Any], codec: dict[str, Any], metric: str = "psnr_db") -> list[Passing]:
    """Where a codec's row of an evaluation passes JPEG's, at every level that both curves reach: whole dB of
    PSNR, or of SSIM as -10 log10(1 - SSIM) for ``metric`` ssim.

    Curves are those of the field: bytes and metric averaged over the pictures at each quality, logarithm of
    the bytes over the metric by PCHIP.
    """
    try:
        base, test = _curve(jpeg, metric), _curve(codec, metric)
    except BenchError:
        return []
    levels = LEVELS_DB if metric == "psnr_db" else tuple(half / 2 for half in range(10, 41))
    found = []
    for level in levels:
        if not max(base.span[0], test.span[0]) <= level <= min(base.span[1], test.span[1]):
            continue
        theirs, ours = base.rate_at(level), test.rate_at(level)
        found.append(Passing(level, theirs, ours, after(codec["facts"]["decoder_bytes"], theirs, ours)))
    return found


def after(decoder_bytes: float, jpeg_bytes: float, codec_bytes: float) -> int | None:
    """The smallest n with decoder_bytes / n + codec_bytes < jpeg_bytes; None where there is none."""
    saved = jpeg_bytes - codec_bytes
    return math.floor(decoder_bytes / saved) + 1 if saved > 0 else None


def _curve(row: dict[str, Any], metric: str) -> Curve:
    means = [point["mean"] for point in row["points"] if point["mean"][metric] is not None]
    values = [to_db(mean[metric]) if metric == "ssim" else mean[metric] for mean in means]
    return curve(row["label"], [mean["bytes"] for mean in means], values)


def _points(row: dict[str, Any], decoder_bytes: int, count: int) -> tuple[Point, ...]:
    return tuple(
        Point(
            f"q{point['quality']}",
            compression_ratio(decoder_bytes, count, point["mean"]["bytes"], RAW),
            tuple(point["psnr_db"]),
            tuple(point["ssim"]),
        )
        for point in row["points"]
    )


def _row_point(row: dict[str, Any]) -> Point:
    return Point(row["label"], row["ratio"], tuple(row["psnr_db"]), tuple(row["ssim"]))
