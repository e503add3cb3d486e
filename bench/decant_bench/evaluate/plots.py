"""Figures of an evaluation as SVG for a page: distributions over the pictures, rate against distortion."""

from typing import Any

import numpy as np

from decant_bench.common.plots import COLOURS, INK, as_svg, blank, dress, logarithmic
from decant_bench.common.record import Record
from decant_bench.evaluate.measure import shown_point
from decant_bench.evaluate.table import measured, point_label

_TITLES = {
    "bytes": "bytes of a file",
    "psnr_db": "PSNR, dB",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "ssimulacra2": "SSIMULACRA2",
    "feature_distance": "feature distance",
}
_BINS = 20


def distributions_svg(record: Record) -> str:
    """Histograms over the pictures: the bundle at its shown point, and JPEG at the quality whose mean PSNR is
    nearest.
    """
    row = record["rows"][0]
    point = shown_point(row)
    shown = [(point_label(row, point), point, COLOURS[0], "stepfilled")]
    if beside := nearest(record, point):
        shown.append((point_label(record["rows"][1], beside), beside, COLOURS[1], "step"))
    names = [name for name in ("psnr_db", "ssim", "bytes") if name in measured(record)]
    figure = blank(3.8 * len(names), 3.1)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        values = [[v for v in one[name] if v is not None] for _, one, _, _ in shown]
        edges = np.histogram_bin_edges(np.concatenate(values), _BINS)
        for (label, _, colour, kind), found in zip(shown, values, strict=True):
            filled = kind == "stepfilled"
            axes.hist(
                found,
                edges,
                histtype=kind,
                color=colour,
                alpha=0.6 if filled else 1,
                linewidth=1.6,
                label=label,
            )
        dress(axes, _TITLES[name], "pictures")
    _legend(figure, axes)
    return as_svg(figure, "distributions")


def rates_svg(record: Record) -> str:
    """Bits per pixel against each metric, means over the pictures at each quality."""
    names = [name for name in measured(record) if name not in ("bytes", "bits_per_pixel")]
    across = 2 if len(names) > 3 else len(names)
    down = -(-len(names) // across)
    figure = blank(4.4 * across, 3.3 * down)
    places = figure.subplots(down, across, squeeze=False).ravel()
    for axes in places[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(places, names, strict=False):
        for index, row in enumerate(record["rows"]):
            points = [
                (point["mean"]["bits_per_pixel"], point["mean"][name])
                for point in row["points"]
                if point["mean"][name] is not None
            ]
            if not points:
                continue
            colour = COLOURS[index % len(COLOURS)]
            axes.plot(
                *zip(*sorted(points), strict=True), marker="o", markersize=5, color=colour, label=row["label"]
            )
        logarithmic(axes, "x")
        dress(axes, "bits per pixel, whole files, without the decoder", _TITLES[name])
    _legend(figure, places[0])
    return as_svg(figure, "rates")


def nearest(record: Record, point: dict[str, Any]) -> dict[str, Any] | None:
    """The second row's point nearest to ``point`` in mean PSNR."""
    there = [
        one for row in record["rows"][1:2] for one in row["points"] if one["mean"]["psnr_db"] is not None
    ]
    wanted = point["mean"]["psnr_db"]
    if wanted is None or not there:
        return None
    found: dict[str, Any] = min(there, key=lambda one: abs(one["mean"]["psnr_db"] - wanted))
    return found


def _legend(figure: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_color(INK)
