"""BD-rate: the average difference of file size between two codecs at equal quality. -0.5 means half the
bytes.

It is Bjontegaard's measure (G. Bjontegaard, VCEG-M33, 2001) with the interpolation of JCTVC-L1100: the
logarithm of the rate is a piecewise cubic Hermite function (PCHIP) of the quality. Unlike the cubic
polynomial of the first proposal, it cannot overshoot between points.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from decant_bench.errors import BenchError

FEWEST_POINTS = 4  # that a curve needs; VCEG-M33 has four

Span = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """Rate against quality. ``rates`` (bits per pixel, say) and ``values`` (dB) both ascend strictly."""

    label: str
    rates: tuple[float, ...]
    values: tuple[float, ...]
    left_out: int = 0  # points that cost more than another and are no better, or are without loss
    unit: str = "dB"  # of ``values``

    @property
    def span(self) -> Span:
        """From the worst to the best quality."""
        return self.values[0], self.values[-1]

    def rate_at(self, value: float) -> float:
        """The rate at a quality. Raises ValueError outside ``span``."""
        _require(self.label, value, self.span, self.unit)
        return float(math.exp(self.log_rate()(value)))

    def value_at(self, rate: float) -> float:
        """The quality at a rate. Raises ValueError below the first and above the last."""
        from scipy.interpolate import PchipInterpolator

        _require(self.label, rate, (self.rates[0], self.rates[-1]), "bits per pixel")
        return float(PchipInterpolator(np.log(self.rates), self.values)(math.log(rate)))

    def log_rate(self) -> Any:
        """ln(rate) as a function of the quality."""
        from scipy.interpolate import PchipInterpolator

        return PchipInterpolator(self.values, np.log(self.rates))


def curve(label: str, rates: Sequence[float], values: Sequence[float], unit: str = "dB") -> Curve:
    """The curve through points in any order.

    Dominated points are left out: those that cost at least as much as another point and are no better. So are
    lossless points, whose quality is infinite. Raises BenchError if fewer than FEWEST_POINTS are left, and
    ValueError for rates that are not positive.
    """
    if not all(rate > 0 for rate in rates):
        raise ValueError(f"{label}: rates above 0 expected")
    kept: list[tuple[float, float]] = []
    for rate, value in sorted(zip(rates, values, strict=True), key=lambda point: (point[0], -point[1])):
        if math.isfinite(value) and (not kept or value > kept[-1][1]):
            kept.append((rate, value))
    if len(kept) < FEWEST_POINTS:
        raise BenchError(f"{label}: {len(kept)} points of different quality; {FEWEST_POINTS} expected")
    kept_rates, kept_values = (tuple(column) for column in zip(*kept, strict=True))
    return Curve(label, kept_rates, kept_values, len(rates) - len(kept), unit)


def bd_rate(anchor: Curve, test: Curve, span: Span) -> float:
    """The BD-rate of ``test`` relative to ``anchor`` over the qualities ``span``, as a fraction; negative
    means fewer bytes.

    Nothing is extrapolated: raises BenchError if a curve does not reach both ends of ``span``.
    """
    low, high = span
    if not low < high:
        raise ValueError(f"{low} to {high} {anchor.unit}; an ascending range expected")
    for one in (anchor, test):
        if one.span[0] > low or one.span[1] < high:
            reached = f"from {one.span[0]:.2f} to {one.span[1]:.2f} {one.unit}"
            raise BenchError(f"{one.label}: {reached}; {low:g} to {high:g} expected")
    areas = [float(one.log_rate().integrate(low, high)) for one in (anchor, test)]
    return math.expm1((areas[1] - areas[0]) / (high - low))


def common_span(anchor: Curve, test: Curve, span: Span, least: float) -> Span:
    """The part of ``span`` that both curves reach. Raises BenchError if it is shorter than ``least`` (dB)."""
    low = max(span[0], anchor.span[0], test.span[0])
    high = min(span[1], anchor.span[1], test.span[1])
    if high - low < least:
        raise BenchError(
            f"{test.label} and {anchor.label} share {max(0.0, high - low):.2f} {anchor.unit} of "
            f"{span[0]:g} to {span[1]:g} {anchor.unit}; {least:g} expected"
        )
    return low, high


def to_db(similarity: float) -> float:
    """-10 log10(1 - s): the scale on which MS-SSIM is drawn and integrated; infinity for 1."""
    return math.inf if similarity >= 1 else -10 * math.log10(1 - similarity)


def _require(label: str, value: float, span: Span, unit: str) -> None:
    if not span[0] <= value <= span[1]:
        raise ValueError(f"{label}: {value:g} {unit}; {span[0]:g} to {span[1]:g} expected")
