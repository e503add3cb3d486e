"""The measuring engine: encodes and decodes pictures at one quality, and measures each result.

`decant bench quality`, `decant bench rd` and `decant evaluate` all use it. They choose codecs and qualities,
and evaluate the points.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from decant.ssimulacra2 import SMALLEST as SSIMULACRA2_SMALLEST
from decant.ssimulacra2 import ssimulacra2

from decant_bench.common import metrics
from decant_bench.common.features import FeatureDistance
from decant_bench.common.pictures import Picture, PictureSet

Encode = Callable[[int, Picture], bytes]  # the picture's number in its set comes first
Decode = Callable[[bytes], np.ndarray]  # a file -> uint8 (H, W, 3)


@dataclass(frozen=True)
class MeasuredPicture:
    """One picture, encoded and decoded. A metric is None if the picture is too small or it was not requested.
    ``psnr_db`` is also None if the decoded picture is equal to the original (JSON has no infinity).
    """

    bytes: int
    bits_per_pixel: float
    psnr_db: float | None = None
    ssim: float | None = None
    ms_ssim: float | None = None
    ssimulacra2: float | None = None
    feature_distance: float | None = None


FIGURES = tuple(field.name for field in fields(MeasuredPicture))
METRICS = FIGURES[2:]


@dataclass(frozen=True)
class RatePoint:
    """All pictures of a set at one quality; ``quality`` is None for a codec that has none."""

    quality: int | None
    pictures: tuple[MeasuredPicture, ...]

    def as_dict(self) -> dict[str, Any]:
        """For a record: a list of values a figure, and ``mean``, over the pictures that have the figure."""
        columns = {name: [getattr(one, name) for one in self.pictures] for name in FIGURES}
        return {"quality": self.quality, **columns, "mean": {k: mean(v) for k, v in columns.items()}}


@dataclass(frozen=True)
class Comparison:
    """Which of METRICS to take, and the feature distance where there is one."""

    metrics: tuple[str, ...] = ("psnr_db", "ms_ssim", "ssimulacra2")
    distance: FeatureDistance | None = None

    def compare(self, original: np.ndarray, decoded: np.ndarray, size: int) -> MeasuredPicture:
        """``original`` and ``decoded``: uint8 (H, W, 3); ``size``: bytes of the file. Raises ValueError where
        the shapes differ.
        """
        smallest = min(original.shape[:2])

        def wanted(name: str, side: int) -> bool:
            return name in self.metrics and smallest >= side

        psnr = metrics.psnr(original, decoded)
        distance = None if self.distance is None else self.distance(original, decoded)
        return MeasuredPicture(
            bytes=size,
            bits_per_pixel=8 * size / (original.shape[0] * original.shape[1]),
            psnr_db=psnr if math.isfinite(psnr) else None,
            ssim=metrics.ssim(original, decoded) if wanted("ssim", metrics.WINDOW) else None,
            ms_ssim=metrics.ms_ssim(original, decoded)
            if wanted("ms_ssim", metrics.MS_SSIM_SMALLEST)
            else None,
            ssimulacra2=ssimulacra2(original, decoded)
            if wanted("ssimulacra2", SSIMULACRA2_SMALLEST)
            else None,
            feature_distance=distance,
        )


def rate_points(
    pictures: PictureSet,
    quality: int | None,
    encode: Encode,
    decoders: Sequence[Decode],
    comparison: Comparison,
    workers: int = 1,
) -> list[RatePoint]:
    """Encode every picture once and decode it by each of ``decoders``: a point a decoder. ``workers``:
    pictures at a time. Raises what encoding and decoding raise.
    """

    def measured(index: int) -> list[MeasuredPicture]:
        picture = pictures.pictures[index]
        data = encode(index, picture)
        return [comparison.compare(picture.pixels, decode(data), len(data)) for decode in decoders]

    with ThreadPoolExecutor(workers) as pool:
        rows = list(pool.map(measured, range(len(pictures))))
    return [RatePoint(quality, column) for column in zip(*rows, strict=True)]


def mean(values: Sequence[float | None]) -> float | None:
    """Over the values that are there; None where there is none."""
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None
