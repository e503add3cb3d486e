"""Averaged rate-distortion curves of a record as figures, each codec named at its curve."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from decant.formats.paths import takes_paths

from decant_bench.common.plots import COLOURS, INK, as_svg, blank, dress
from decant_bench.common.record import Record
from decant_bench.errors import BenchError
from decant_bench.rate_distortion.bd_rate import Curve
from decant_bench.rate_distortion.curves import averaged

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {
    "psnr_db": "PSNR, dB",
    "ssimulacra2": "SSIMULACRA2",
    "ms_ssim": "MS-SSIM, dB: -10 log10(1 - MS-SSIM)",
    "feature_distance": "Features, dB: -10 log10 of their distance",
}
SUFFIXES = (".png", ".svg")
_LOWEST_SCORE = -20.0
_BASELINE = "#7a7a7a"  # codecs are grey and told apart by dashes; bundles have colours
_DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)))
_LABEL_GAP = 0.034  # of the height of the axes, between the middles of two labels


@takes_paths
def save(record: Record, folder: Path) -> list[Path]:
    """Write ``rd_`` and the metric's name as PNG and SVG, a pair a metric of TITLES; gives the paths. What
    the pictures are too small for, and what was not measured, is left out.
    """
    written = []
    for metric in TITLES:
        figure = draw(record, metric)
        if figure is None:
            continue
        figure.patch.set_alpha(1)
        for suffix in SUFFIXES:
            written.append(folder / f"rd_{metric}{suffix}")
            figure.savefig(written[-1], dpi=150)
    return written


def svg(record: Record, metric: str) -> str | None:
    """The figure of ``draw`` for a page, narrow enough for a phone; None where there is none."""
    figure = draw(record, metric, (5.6, 4.4))
    return None if figure is None else as_svg(figure, f"rd {metric}")


def draw(record: Record, metric: str, size: tuple[float, float] = (8.2, 5.6)) -> "Figure | None":
    """The averaged curves, from no bits to where the anchor ends the PSNR range or a curve ends. None where
    no two curves can be drawn. ``size``: width and height in inches.
    """
    curves = _curves(record, metric)
    if len(curves) < 2:
        return None
    last = _last_rate(record, curves)
    first = max(one.rates[0] for one in curves)
    figure = blank(*size)
    axes = figure.subplots()
    looks = _looks(record, curves)
    ends = []
    for one in curves:
        colour, style, width = looks[one.label]
        rates = np.geomspace(one.rates[0], min(last, one.rates[-1]), 200)
        values = [one.value_at(rate) for rate in np.clip(rates, one.rates[0], one.rates[-1])]
        axes.plot(rates, values, linestyle=style, color=colour, linewidth=width)
        shown = [(rate, value) for rate, value in zip(one.rates, one.values, strict=True) if rate <= last]
        axes.plot(*zip(*shown, strict=True), linestyle="", marker="o", markersize=3.5, color=colour)
        ends.append((values[-1], one.label, colour))
    bottom = _bottom_of(curves, first, metric)
    top = max(value for value, _, _ in ends)
    axes.set_xlim(0, last)
    axes.set_ylim(bottom - 0.03 * (top - bottom), top + 0.04 * (top - bottom))
    gap = _LABEL_GAP * 5.6 / size[1] * 1.07
    places = spread([value for value, _, _ in ends], gap * (top - bottom))
    for (value, label, colour), place in zip(ends, places, strict=True):
        axes.annotate(
            label,
            xy=(last, value),
            xytext=(1.03 * last, place),
            color=colour,
            fontsize=9,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
        )
    images = record["config"]["images"]
    dress(axes, "bits per pixel, whole files", TITLES[metric])
    axes.set_title(
        f"Means over {images['count']} pictures at each quality", fontsize=10, loc="left", color=INK
    )
    return figure


def _bottom_of(curves: list[Curve], first: float, metric: str) -> float:
    """The lowest value shown; scores of SSIMULACRA2 far below 0 tell nothing."""
    bottom = min(one.value_at(max(first, one.rates[0])) for one in curves)
    return max(bottom, _LOWEST_SCORE) if metric == "ssimulacra2" else bottom


def spread(values: list[float], gap: float) -> list[float]:
    """Places for labels as near to ``values`` as they can be with ``gap`` between them, in the same order."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    # Labels that would touch form a block around the mean of their values.
    blocks: list[list[int]] = []
    for index in order:
        blocks.append([index])
        while len(blocks) > 1 and _bottom(blocks[-1], values, gap) < _top(blocks[-2], values, gap) + gap:
            last = blocks.pop()
            blocks[-1] += last
    places = [0.0] * len(values)
    for block in blocks:
        for step, index in enumerate(block):
            places[index] = _bottom(block, values, gap) + step * gap
    return places


def _bottom(block: list[int], values: list[float], gap: float) -> float:
    return float(np.mean([values[index] for index in block])) - gap * (len(block) - 1) / 2


def _top(block: list[int], values: list[float], gap: float) -> float:
    return _bottom(block, values, gap) + gap * (len(block) - 1)


def _curves(record: Record, metric: str) -> list[Curve]:
    found = []
    for row in record["rows"]:
        try:
            found.append(averaged(row, metric))
        except BenchError:
            continue
    return found


def _last_rate(record: Record, curves: list[Curve]) -> float:
    """Where the anchor reaches the top of the PSNR range, or the first curve ends."""
    ends = min(one.rates[-1] for one in curves)
    options = record["config"]["options"]
    anchor = next(row for row in record["rows"] if row["label"] == options["anchor"])
    try:
        return min(ends, averaged(anchor, "psnr_db").rate_at(options["psnr_range"][1]))
    except (BenchError, ValueError):
        return ends


def _looks(record: Record, curves: list[Curve]) -> dict[str, tuple[str, Any, float]]:
    """Colour, dashes and width by label: a colour a bundle, dashes for its second precision; codecs grey."""
    bundles = {row["label"]: row["label"].rsplit(" ", 1)[0] for row in record["rows"] if row["facts"]}
    names = list(dict.fromkeys(bundles.values()))
    seen: dict[str, int] = {}
    looks: dict[str, tuple[str, Any, float]] = {}
    for one in curves:
        name = bundles.get(one.label, "")
        count = seen[name] = seen.get(name, -1) + 1
        colour = COLOURS[names.index(name) % len(COLOURS)] if name else _BASELINE
        looks[one.label] = colour, _DASHES[count % len(_DASHES)], 2.0 if name else 1.3
    return looks
