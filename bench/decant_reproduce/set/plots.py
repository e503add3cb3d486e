"""The publication's figures of ratio against quality, redrawn with ours, and where codecs pass JPEG."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from decant_bench.common.plots import COLOURS, INK, as_svg, blank, dress, logarithmic

from decant_reproduce.set.points import Passing, Point, Series, q_bounds, q_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COUNT_DASHES = {64: ":", 256: "-.", 1024: "--", 4096: "-"}
_ACROSS = "compression ratio: (decoder / pictures + file) / raw, lower is smaller"
_PUBLISHED = "#808080"


def q_svg(series: Sequence[Series], span: tuple[float, float], published: Sequence[Mapping[str, Any]]) -> str:
    """Ratio against Q. Published points whose Q is not known stand as the range that their SSIM leaves."""
    figure = blank(7.6, 6.4)
    axes = figure.subplots()
    _draw(axes, series, lambda point: q_of(point, span))
    first = True
    for entry in published:
        if "q" in entry:
            axes.plot(
                [entry["ratio"]],
                [entry["q"]],
                "^",
                color=_PUBLISHED,
                markersize=9,
                label="published: JPEG, Q > 0.99",
            )
            continue
        low, high = q_bounds(entry["ssim"])
        axes.plot(
            [entry["ratio"]] * 2, [low, high], color=_PUBLISHED, linewidth=4, alpha=0.45,
            label="published models: what their SSIM leaves open" if first else None,
        )  # fmt: skip
        _name(axes, entry, low)
        first = False
    return _finished(figure, axes, "Q (higher is better)", "ratio and Q")


def ssim_svg(series: Sequence[Series], published: Sequence[Mapping[str, Any]]) -> str:
    """Ratio against SSIM, which is what was published of the models."""
    figure = blank(7.6, 6.4)
    axes = figure.subplots()
    _draw(axes, series, lambda point: point.mean_ssim)
    first = True
    for entry in published:
        if "ssim" in entry:
            axes.plot(
                [entry["ratio"]],
                [entry["ssim"]],
                "D",
                color=_PUBLISHED,
                markersize=6,
                label="published models" if first else None,
            )
            _name(axes, entry, entry["ssim"])
            first = False
    return _finished(figure, axes, "SSIM", "ratio and SSIM")


def passing_svg(found: Mapping[str, Sequence[Passing]], across: str) -> str | None:
    """From how many pictures on each codec passes JPEG, at each quality; None where none does."""
    lines = {label: [(p.level, p.pictures) for p in line if p.pictures] for label, line in found.items()}
    if not any(lines.values()):
        return None
    figure = blank(7.0, 4.2)
    axes = figure.subplots()
    for index, (label, points) in enumerate(lines.items()):
        if points:
            axes.plot(
                *zip(*points, strict=True),
                marker="o",
                markersize=4,
                color=COLOURS[index % len(COLOURS)],
                label=label,
            )
    logarithmic(axes, "y")
    dress(axes, across, "pictures of 256x256 from which on\nthe codec takes fewer bytes than JPEG")
    _legend(figure, axes)
    return as_svg(figure, f"passing {across}")


def _draw(axes: "Axes", series: Sequence[Series], height: Callable[[Point], float]) -> None:
    colours: dict[str, str] = {}
    for one in series:
        points = [(point.ratio, height(point)) for point in one.points]
        jpeg = one.label.startswith("JPEG")
        colour = INK if jpeg else colours.setdefault(one.label, COLOURS[len(colours) % len(COLOURS)])
        dashes = _COUNT_DASHES.get(one.count, "-" if one.label in ("JPEG", "") else (0, (1, 1)))
        label = f"{one.label}, decoder shared by {one.count:,}" if one.count else one.label
        axes.plot(
            *zip(*points, strict=True), linestyle=dashes, color=colour, label=label, linewidth=1.3,
            marker="o" if len(points) == 1 else ".", markersize=8 if len(points) == 1 else 5,
        )  # fmt: skip


def _name(axes: "Axes", entry: Mapping[str, Any], height: float) -> None:
    crowded = 0.3 < entry["ratio"] < 0.4 or entry["ratio"] > 1  # int8 stands right of it, or the frame
    axes.annotate(
        entry["name"],
        (entry["ratio"], height),
        xytext=(-5 if crowded else 5, -9),
        textcoords="offset points",
        ha="right" if crowded else "left",
        fontsize=7,
        color=INK,
    )


def _finished(figure: "Figure", axes: "Axes", up: str, salt: str) -> str:
    logarithmic(axes, "x")
    dress(axes, _ACROSS, up)
    _legend(figure, axes)
    return as_svg(figure, salt)


def _legend(figure: "Figure", axes: "Axes") -> None:
    legend = figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=7)
    for text in legend.get_texts():
        text.set_color(INK)
