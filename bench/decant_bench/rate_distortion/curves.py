"""From the points of a rate-distortion record to curves and BD-rates."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from decant_bench.common.record import Record
from decant_bench.errors import BenchError
from decant_bench.rate_distortion.bd_rate import Curve, Span, bd_rate, common_span, curve, to_db

# Metrics: of a value of each, what curves are drawn in, and its unit.
_SCALES: dict[str, tuple[Callable[[float], float], str]] = {
    "psnr_db": (lambda value: value, "dB"),
    "ssimulacra2": (lambda value: value, "points"),
    "ms_ssim": (to_db, "dB"),
    "feature_distance": (lambda value: to_db(1 - value), "dB"),
}
METRICS = tuple(_SCALES)
# The part of the PSNR range that a single picture's curves must share: 4:2:0 keeps some below 34 dB at any
# rate.
LEAST_SHARE = 0.35
LEAST_SHARE_MS_SSIM = 0.8
LEAST_SHARED_DB = 3.0  # that two curves must share where no range is given
_LEAST_SHARED = {"ssimulacra2": 15.0}  # points; LEAST_SHARED_DB for all else
_WORST = {"ssimulacra2": 30.0}  # below this score nobody looks


def averaged(row: dict[str, Any], metric: str) -> Curve:
    """The averaged curve: means over the pictures, at each quality for which all of them have the metric.
    Raises BenchError for too few points.
    """
    points = [
        (point["mean"]["bits_per_pixel"], point["mean"].get(metric))
        for point in row["points"]
        if None not in point.get(metric, ())
    ]
    return _curve(row["label"], points, metric)


def of_picture(row: dict[str, Any], index: int, metric: str = "psnr_db") -> Curve:
    """The curve of one picture. Raises BenchError for too few points."""
    points = [(point["bits_per_pixel"][index], point[metric][index]) for point in row["points"]]
    return _curve(row["label"], points, metric)


def add_bd_rates(record: Record, anchor: str, psnr_range: Span, score_range: Span) -> None:
    """Add to every measured row ``bd_rate``, relative to the row ``anchor``, and to the record
    ``bd_rate_matrix``.

    * ``psnr``, ``ssimulacra2``: from averaged curves, over exactly ``psnr_range`` (dB) and ``score_range``:
      ``average``; or None, the reason ``why``, and ``shared``, the BD-rate over the part that both reach.
    * ``pictures`` (PSNR), ``pictures_ssimulacra2``: of single pictures, over the part of the range that both
      curves reach. It must be at least LEAST_SHARE; else the value is None.
    * ``ms_ssim`` and, if it was measured, ``features``: between the values that the anchor has at the ends of
      ``psnr_range``, over the part that both reach. It must be at least LEAST_SHARE_MS_SSIM.
    """
    rows = [row for row in record["rows"] if row["refused"] is None]
    base = next(row for row in rows if row["label"] == anchor)
    for row in rows:
        row["bd_rate"] = {
            "psnr": _over(base, row, psnr_range, "psnr_db"),
            "ssimulacra2": _over(base, row, score_range, "ssimulacra2"),
            "ms_ssim": _similarity(base, row, psnr_range, "ms_ssim"),
            "pictures": _pictures(base, row, psnr_range, len(record["pictures"]), "psnr_db"),
            "pictures_ssimulacra2": _pictures(base, row, score_range, len(record["pictures"]), "ssimulacra2"),
        }
        if record["config"].get("feature_distance") is not None:
            row["bd_rate"]["features"] = _similarity(base, row, psnr_range, "feature_distance")
    record["bd_rate_matrix"] = {
        row["label"]: {other["label"]: _over(other, row, psnr_range, "psnr_db")["average"] for other in rows}
        for row in rows
    }


def shared_by_all(
    rows: Sequence[dict[str, Any]], metric: str, span: Span
) -> tuple[dict[str, Curve], Span | None]:
    """The averaged curves that can be made, by label, and what all of them reach of ``span`` (dB), or None
    where that is less than LEAST_SHARE of it.
    """
    curves: dict[str, Curve] = {}
    for row in rows:
        with suppress(BenchError):
            curves[row["label"]] = averaged(row, metric)
    low = max(span[0], *(one.span[0] for one in curves.values()))
    high = min(span[1], *(one.span[1] for one in curves.values()))
    return curves, (low, high) if high - low >= LEAST_SHARE * (span[1] - span[0]) else None


def over_shared(base: dict[str, Any], row: dict[str, Any], metric: str) -> dict[str, Any]:
    """The BD-rate of averaged curves over all the dB that both reach, at least LEAST_SHARED_DB: ``average``,
    ``span_db``, ``rates`` (bits per pixel of ``row`` at its ends) and ``halves``, of its lower and upper
    half; or None and ``why``.
    """
    try:
        anchor, test = averaged(base, metric), averaged(row, metric)
        worst = max(anchor.span[0], _WORST.get(metric, anchor.span[0]))
        least = _LEAST_SHARED.get(metric, LEAST_SHARED_DB)
        low, high = common_span(anchor, test, (worst, anchor.span[1]), least)
    except BenchError as error:
        return {"average": None, "span_db": None, "rates": None, "halves": None, "why": str(error)}
    middle = (low + high) / 2
    return {
        "average": bd_rate(anchor, test, (low, high)),
        "span_db": [low, high],
        "rates": [test.rate_at(low), test.rate_at(high)],
        "halves": [bd_rate(anchor, test, (low, middle)), bd_rate(anchor, test, (middle, high))],
        "why": None,
    }


def of_pictures(
    base: dict[str, Any],
    row: dict[str, Any],
    indices: Sequence[int],
    span: Span | None = None,
    metric: str = "psnr_db",
) -> list[tuple[float, Span] | None]:
    """BD-rate in ``metric`` and its range for single pictures, over what both curves reach of ``span``, at
    least LEAST_SHARE of it; without one, over all that both reach, at least LEAST_SHARED_DB. None where they
    do not.
    """
    found: list[tuple[float, Span] | None] = []
    for index in indices:
        try:
            anchor, test = of_picture(base, index, metric), of_picture(row, index, metric)
            least = LEAST_SHARED_DB if span is None else LEAST_SHARE * (span[1] - span[0])
            common = common_span(anchor, test, span or anchor.span, least)
        except BenchError:
            found.append(None)
            continue
        found.append((bd_rate(anchor, test, common), common))
    return found


def _curve(label: str, points: list[tuple[float, float | None]], metric: str) -> Curve:
    there = [(rate, value) for rate, value in points if value is not None]
    scale, unit = _SCALES[metric]
    return curve(label, [rate for rate, _ in there], [scale(value) for _, value in there], unit)


def _over(base: dict[str, Any], row: dict[str, Any], span: Span, metric: str) -> dict[str, Any]:
    try:
        anchor, test = averaged(base, metric), averaged(row, metric)
    except BenchError as error:
        return _nothing(error)
    try:
        return {"average": bd_rate(anchor, test, span), "span_db": list(span), "why": None}
    except BenchError as error:
        return _over_less(error, anchor, test, span)


def _similarity(base: dict[str, Any], row: dict[str, Any], psnr_range: Span, metric: str) -> dict[str, Any]:
    try:
        quality, similarity = averaged(base, "psnr_db"), averaged(base, metric)
        low, high = (similarity.value_at(quality.rate_at(value)) for value in psnr_range)
        test = averaged(row, metric)
    except (BenchError, ValueError) as error:
        return _nothing(error)
    try:
        span = common_span(similarity, test, (low, high), LEAST_SHARE_MS_SSIM * (high - low))
        return {"average": bd_rate(similarity, test, span), "span_db": list(span), "why": None}
    except BenchError as error:
        return _over_less(error, similarity, test, (low, high))


def _over_less(error: Exception, anchor: Curve, test: Curve, span: Span) -> dict[str, Any]:
    """No BD-rate over ``span``, and why, but over what both curves reach of it, at least LEAST_SHARE."""
    found = _nothing(error)
    with suppress(BenchError):
        common = common_span(anchor, test, span, LEAST_SHARE * (span[1] - span[0]))
        found |= {"shared": bd_rate(anchor, test, common), "span_db": list(common)}
    return found


def _nothing(error: Exception) -> dict[str, Any]:
    return {"average": None, "span_db": None, "why": str(error), "shared": None}


def _pictures(
    base: dict[str, Any], row: dict[str, Any], span: Span, count: int, metric: str
) -> dict[str, Any]:
    found = of_pictures(base, row, range(count), span, metric)
    there = [one[0] for one in found if one is not None]
    return {
        "bd_rate": [one and one[0] for one in found],
        "span_db": [one and list(one[1]) for one in found],
        "count": len(there),
        "mean": float(np.mean(there)) if there else None,
        "lowest": min(there, default=None),
        "highest": max(there, default=None),
    }
