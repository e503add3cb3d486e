"""Figures of a latency record as SVG for a page."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from decant_bench.common import stats
from decant_bench.common.plots import COLOURS, INK, as_svg, blank, dress, logarithmic
from decant_bench.common.record import Record
from decant_bench.latency import breakdown, equal
from decant_bench.latency import table as latency_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of a name from its point, in typographic points, the nearest first.
_PLACES = [(across, up) for up in (3, -10, 13, -20, 23, -30, 33, -40) for across in (5, -5)]
_COLD = {"imports": "imports", "fresh_load": "load, cold file cache", "first_decode": "first decode"}


def of(title: str, found: Record) -> list[tuple[str, str]]:
    """(what it shows, <svg>) of the figures that belong to the table ``title``."""
    drawn: dict[str, Sequence[tuple[str, Callable[[Record], str | None]]]] = {
        "Decode": (("Load against decode", load_svg),),
        "Load and cold process": (("Cold process by stage", cold_svg),),
        "Picture sizes": (("Megapixels per second by picture size", sweep_svg),),
        breakdown.TITLE: (("Milliseconds of each stage", stages_svg),),
        equal.TITLES["score"]: (("Bits per pixel against decode time", pareto_svg),),
        "Sustained": (("Time a picture over minutes", sustained_svg),),
    }
    figures = [(label, draw(found)) for label, draw in drawn.get(title, ())]
    return [(label, svg) for label, svg in figures if svg is not None]


def cold_svg(found: Record) -> str | None:
    """A bar a decoder on one thread: imports, load and first decode of a cold process, one after another."""
    figures = [
        one
        for one in latency_table.figures(found)
        if one.row["subject"]["threads"] == 1 and all(getattr(one, stage) is not None for stage in _COLD)
    ]
    if not figures:
        return None
    parts = {name: [float(getattr(one, stage)) for one in figures] for stage, name in _COLD.items()}
    labels = [one.row["label"] for one in figures]
    return _bars(labels, parts, "ms, without the interpreter's start", "cold process")


def stages_svg(found: Record) -> str | None:
    """A bar a decoder: the stages of a decode, one after another."""
    rows = [row for row in found.get("stages") or [] if row["refused"] is None]
    if not rows:
        return None
    parts = {
        stage: [stats.summarise(row["stages_ns"][stage]).median / 1e6 for row in rows]
        for stage in breakdown.STAGES
    }
    return _bars([row["label"] for row in rows], parts, "ms, one thread", "stages")


def load_svg(found: Record) -> str | None:
    """A point a decoder on one thread: load from a warm file cache against a steady decode."""
    figures = [
        one
        for one in latency_table.figures(found)
        if one.row["subject"]["threads"] == 1 and one.load and one.decode
    ]
    if not figures:
        return None
    figure = blank(7.0, 4.2)
    axes = figure.subplots()
    points = [(one.decode.median, one.load, one.row["label"]) for one in figures if one.decode and one.load]
    kinds = [one.row["subject"]["kind"] == "model" for one in figures]
    logarithmic(axes, "x")
    logarithmic(axes, "y")
    dress(axes, "ms a decode", "ms to load, files in the cache (a codec: reading the picture)")
    _points(figure, points, [COLOURS[0] if model else COLOURS[1] for model in kinds])
    return as_svg(figure, "load against decode")


def pareto_svg(found: Record) -> str | None:
    """A point a decoder at equal SSIMULACRA2: bits per pixel against milliseconds; the line is the Pareto
    front, what no other decoder beats in both.
    """
    rows = [row for row in found.get("equal") or [] if row["equal"] == "score"]
    if not rows:
        return None
    figure = blank(7.0, 4.2)
    axes = figure.subplots()
    points = [(equal.median_ms(row), row["bits_per_pixel"], row["label"]) for row in rows]
    best = front([(ms, rate) for ms, rate, _ in points])
    axes.plot(*zip(*best, strict=True), color="#808080", linewidth=1, drawstyle="steps-post", zorder=1)
    on = [(ms, rate) in best for ms, rate, _ in points]
    logarithmic(axes, "x")
    dress(axes, "ms a decode", "bits per pixel (lower is smaller)")
    _points(figure, points, [COLOURS[0] if is_best else COLOURS[1] for is_best in on])
    return as_svg(figure, "pareto")


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other one beats or equals in both coordinates, by the first."""
    best: list[tuple[float, float]] = []
    for point in sorted(points):
        if not best or point[1] < best[-1][1]:
            best.append(point)
    return best


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
    _legend(figure)
    return as_svg(figure, "sweep")


def sustained_svg(found: Record) -> str | None:
    """Milliseconds a picture over minutes; below them clock and temperature where the system tells."""
    block = found.get("sustained")
    if not block or len(block["seconds"]) < 2:
        return None
    told = [
        (name, label)
        for name, label in (("clock_mhz", "MHz"), ("temperature_c", "C"), ("watts", "W"))
        if any(value is not None for value in block[name])
    ]
    minutes = np.asarray(block["seconds"]) / 60
    figure = blank(7.0, 2.6 + 1.2 * len(told))
    heights = [2.6] + [1.2] * len(told)
    panels = figure.subplots(1 + len(told), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    times = np.asarray(block["ns_per_picture"]) / 1e6
    panels[0].plot(minutes, times, color=COLOURS[0], linewidth=1)
    panels[0].set_ylim(0, 1.15 * float(times.max()))
    dress(panels[0], "", "ms a picture")
    for axes, colour, (name, label) in zip(panels[1:], COLOURS[1:], told, strict=False):
        values = [float("nan") if value is None else value for value in block[name]]
        axes.plot(minutes, values, color=colour, linewidth=1)
        dress(axes, "", label)
    panels[-1].set_xlabel("minutes", color=INK, fontsize=9)
    return as_svg(figure, "sustained")


def _bars(labels: Sequence[str], parts: dict[str, list[float]], across: str, salt: str) -> str:
    """Stacked bars, one a label."""
    figure = blank(7.0, 0.34 * len(labels) + 1.1)
    axes = figure.subplots()
    places = range(len(labels), 0, -1)
    start = [0.0] * len(labels)
    for colour, (name, widths) in zip(COLOURS, parts.items(), strict=False):
        axes.barh(places, widths, left=start, height=0.66, color=colour, label=name)
        start = [left + width for left, width in zip(start, widths, strict=True)]
    dress(axes, across, "")
    axes.set_yticks(list(places), list(labels))
    _legend(figure)
    return as_svg(figure, salt)


def _points(figure: "Figure", points: Sequence[tuple[float, float, str]], colours: Sequence[str]) -> None:
    """Points, and beside each its name at the first place where it covers no point and no other name. Scales
    and labels of the axes are set before.
    """
    from matplotlib.transforms import Bbox

    (axes,) = figure.axes
    for (x, y, _), colour in zip(points, colours, strict=True):
        axes.plot([x], [y], "o", color=colour, markersize=6)
    axes.margins(x=0.18, y=0.15)
    figure.draw_without_rendering()  # the layout, on which places in pixels depend
    taken = [Bbox(axes.transData.transform([(x, y)] * 2)).padded(4) for x, y, _ in points]
    for x, y, label in points:
        for across, up in _PLACES:
            side = "left" if across > 0 else "right"
            name = axes.annotate(
                label, (x, y), (across, up), textcoords="offset points", ha=side, color=INK, fontsize=8
            )
            box = name.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
            name.remove()
        else:
            axes.add_artist(name)
        taken.append(box)


def _legend(figure: "Figure") -> None:
    legend: Any = figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_color(INK)
