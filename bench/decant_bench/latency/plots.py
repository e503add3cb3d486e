"""Figures of a latency record as SVG for a page."""

from decant_bench.common import stats
from decant_bench.common.plots import COLOURS, INK, as_svg, blank, dress, logarithmic
from decant_bench.common.record import Record
from decant_bench.latency import table as latency_table

_STAGES = ("imports", "fresh_load", "first_decode")


def of(title: str, found: Record) -> str | None:
    """The figure that belongs to the table ``title``; None where there is none."""
    if title == "Load and cold process":
        return cold_svg(found)
    return sweep_svg(found) if title == "Picture sizes" else None


def cold_svg(found: Record) -> str | None:
    """A bar a decoder on one thread: imports, load and first decode of a cold process, one after another."""
    figures = [
        one
        for one in latency_table.figures(found)
        if one.row["subject"]["threads"] == 1 and all(getattr(one, stage) is not None for stage in _STAGES)
    ]
    if not figures:
        return None
    figure = blank(7.0, 0.34 * len(figures) + 1.1)
    axes = figure.subplots()
    places = range(len(figures), 0, -1)
    start = [0.0] * len(figures)
    names = {"imports": "imports", "fresh_load": "load, cold file cache", "first_decode": "first decode"}
    for colour, stage in zip(COLOURS, _STAGES, strict=False):
        widths = [float(getattr(one, stage)) for one in figures]
        axes.barh(places, widths, left=start, height=0.66, color=colour, label=names[stage])
        start = [left + width for left, width in zip(start, widths, strict=True)]
    dress(axes, "ms, without the interpreter's start", "")
    axes.set_yticks(list(places), [one.row["label"] for one in figures])
    legend = figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_color(INK)
    return as_svg(figure, "cold process")


def sweep_svg(found: Record) -> str | None:
    """Megapixels per second against megapixels of the picture, a line a decoder."""
    rows = found.get("sweep") or []
    if not rows:
        return None
    figure = blank(7.0, 4.2)
    axes = figure.subplots()
    for index, label in enumerate(dict.fromkeys(row["label"] for row in rows)):
        points = sorted(
            (
                row["megapixels"],
                1e9 * row["megapixels"] / stats.summarise(stats.flatten(row["decode_ns"])).median,
            )
            for row in rows
            if row["label"] == label
        )
        axes.plot(*zip(*points, strict=True), marker="o", color=COLOURS[index % len(COLOURS)], label=label)
    logarithmic(axes, "x")
    logarithmic(axes, "y")
    dress(axes, "megapixels of a picture", "megapixels decoded per second")
    legend = figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_color(INK)
    return as_svg(figure, "sweep")
