"""Figures of the report as SVG to put into a page: text stays text, and ink follows the page's colour."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decant.formats.paths import takes_paths

from decant_bench.errors import BenchError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from decant_bench.common.record import Record

# Told apart in both colour schemes and by people who see few colours (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
# By runtime: the same variant lies almost on itself, so one is a cross.
_MARKERS = {"native": "s", "onnxruntime": "o", "openvino": "x"}
_MENDED = " + denoiser"
INK = "#010203"  # drawn in this, then replaced by the page's colour

# What a training log may hold, and what it is called.
_CURVES = (("loss", "loss"), ("psnr", "PSNR, dB"), ("ssim", "SSIM"), ("score", "validation score"))


def training_svg(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The losses and metrics of a run's metrics.jsonl, each against its epoch or step; None where the log has
    none of them.
    """
    panels = [(name, label) for name, label in _CURVES if any(name in row for row in rows)]
    if not panels:
        return None
    figure = blank(3.6 * len(panels), 2.8)
    across = "epoch" if "epoch" in rows[0] else "step"
    for axes, (name, label) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        points = [(row[across], row[name]) for row in rows if name in row]
        axes.plot(*zip(*points, strict=True), color=COLOURS[0], marker="." if len(points) < 60 else "")
        dress(axes, across, label)
        if name == "loss":
            axes.set_yscale("log")
    return as_svg(figure, f"training {across} {len(rows)}")


def quality_svg(record: "Record") -> str | None:
    """Published ratio against Q: codecs as lines through their qualities, variants of bundles as points. None
    where no row has a Q.
    """
    figure = _quality_figure(record)
    return None if figure is None else as_svg(figure, "quality")


@takes_paths
def save_quality(record: "Record", path: Path) -> None:
    """The figure of ``quality_svg``, black on white, as a file of the kind that the suffix says (.svg, .png,
    .pdf). Raises BenchError where no row has a Q or the suffix is none that matplotlib knows.
    """
    figure = _quality_figure(record)
    if figure is None:
        raise BenchError("no point has a Q score: nothing to draw")
    figure.patch.set_alpha(1)
    try:
        figure.savefig(path, dpi=150)
    except ValueError as error:
        raise BenchError(f"{path}: {error}") from None


def _quality_figure(record: "Record") -> "Figure | None":
    rows = [row for row in record["rows"] if row["refused"] is None and row["q"] is not None]
    if not rows:
        return None
    figure = blank(7.0, 5.6)
    axes = figure.subplots()
    colours: dict[str, str] = {}
    for (label, group), points in _series(rows).items():
        ratios, scores = zip(*points, strict=True)
        codec = group not in _MARKERS
        base = label.removesuffix(_MENDED)  # the denoiser's variant: the same colour, hollow
        colour = INK if codec else colours.setdefault(base, COLOURS[len(colours) % len(COLOURS)])
        axes.plot(
            ratios,
            scores,
            "--" if codec and group else "-",
            label=f"{label}, {group}" if group else label,
            color=colour,
            marker="." if codec else _MARKERS[group],
            markersize=7,
            markerfacecolor="none" if base != label else colour,
            linewidth=1.2,
        )
    logarithmic(axes, "x")
    dress(axes, "compression ratio as published (lower is smaller)", "Q (higher is better)")
    # Below, where it has room whatever font the reader's browser takes.
    legend = figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_color(INK)
    return figure


def _series(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """(ratio, Q) by what is measured and its group: a model's runtime, or the images of a codec's sample. A
    codec's qualities form one line.
    """
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in rows:
        label, group = row["label"], row["subject"]["runtime"]
        if row["subject"]["kind"] == "codec":
            label = re.sub(r"-[a-z]\d+$", "", label)
            group = f"{len(row['ssim'])} random images" if row["pictures"] == "sample" else ""
        found.setdefault((label, group), []).append((row["ratio"], row["q"]))
    return {name: sorted(points) for name, points in found.items()}


def blank(width: float, height: float) -> "Figure":
    """An empty figure of so many inches, through which the page shows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    return figure


def dress(axes: "Axes", across: str, up: str) -> None:
    """Label ``axes``, with a grid, in the page's ink."""
    axes.patch.set_alpha(0)
    axes.set_xlabel(across, color=INK, fontsize=9)
    axes.set_ylabel(up, color=INK, fontsize=9)
    axes.tick_params(which="both", colors=INK, labelsize=8)
    axes.grid(alpha=0.25, color="#808080")
    for spine in axes.spines.values():
        spine.set_color("#808080")


def logarithmic(axes: "Axes", which: str) -> None:
    """A logarithmic axis, ``x`` or ``y``, marked at 1, 2, 5, 10 ..., in plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_formatter(NullFormatter())


def as_svg(figure: "Figure", salt: str) -> str:
    """``figure`` as an <svg> element without prolog, name spaces or ids that another figure of the page could
    have; ``salt`` is different for each figure of a page.
    """
    from matplotlib import rc_context

    stream = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "font.family": "sans-serif"}):
        figure.savefig(stream, format="svg", metadata=nothing)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return text.replace(INK, "currentColor").replace("xlink:href", "href")
