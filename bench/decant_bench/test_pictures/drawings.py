"""Plots and flat drawings by matplotlib: lines, even colours, small text."""

import io
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = (512, 384)
_DPI = 100


def lines(seed: int) -> Image.Image:
    """Curves and points with a legend and a grid."""
    random = np.random.default_rng(seed)
    figure = _figure()
    axes = figure.subplots()
    along = np.linspace(0, 10, 120)
    for index in range(4):
        noise = np.cumsum(random.normal(0, 0.12, along.size))
        axes.plot(along, np.sin(along + index) + noise, label=f"run {index + 1}", linewidth=1.2)
    axes.scatter(random.uniform(0, 10, 60), random.normal(0, 1.5, 60), s=9, color="black", label="samples")
    axes.set_xlabel("time, s")
    axes.set_ylabel("voltage, mV")
    axes.grid(alpha=0.4)
    axes.legend(fontsize=7)
    return _drawn(figure)


def contours(seed: int) -> Image.Image:
    """A map of heights in bands of colour, with labelled contour lines."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(seed)
    figure = _figure()
    axes = figure.subplots()
    heights = gaussian_filter(random.normal(size=(96, 128)), 9, mode="wrap")
    filled = axes.contourf(heights, levels=12, cmap="terrain")
    axes.clabel(axes.contour(heights, levels=12, colors="black", linewidths=0.5), fontsize=5)
    figure.colorbar(filled)
    return _drawn(figure)


def bars(seed: int) -> Image.Image:
    """Bars with numbers and a pie, dark."""
    random = np.random.default_rng(seed)
    figure = _figure("#101418")
    left, right = figure.subplots(1, 2)
    values = random.uniform(2, 9, 7)
    left.bar(range(7), values, color=[f"C{index}" for index in range(7)])
    for index, value in enumerate(values):
        left.text(index, value, f"{value:.1f}", color="white", fontsize=7, ha="center", va="bottom")
    left.set_facecolor("#101418")
    left.tick_params(colors="white", labelsize=7)
    right.pie(values, labels=[f"part {index}" for index in range(7)], textprops={"color": "w", "fontsize": 7})
    return _drawn(figure)


def cartoon(seed: int) -> Image.Image:
    """Hills, a sun and houses: flat colours with outlines."""
    from matplotlib.patches import Circle, Polygon, Rectangle

    random = np.random.default_rng(seed)
    figure = _figure("#8fd3ff", layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, 4)
    axes.set_ylim(0, 3)
    axes.add_patch(Circle((3.3, 2.5), 0.3, facecolor="#ffd93b", edgecolor="black"))
    along = np.linspace(0, 4, 80)
    for index, colour in enumerate(("#5b8c5a", "#7fb069", "#a3c76d")):
        top = 1.5 - 0.4 * index + 0.2 * np.sin(2 * along + random.uniform(0, 6))
        outline = [(0, 0), *zip(along, top, strict=True), (4, 0)]
        axes.add_patch(Polygon(outline, facecolor=colour, edgecolor="black", linewidth=1.2))
    for index in range(4):
        x, wall = 0.3 + 0.95 * index, f"C{index}"
        axes.add_patch(Rectangle((x, 0.2), 0.6, 0.5, facecolor=wall, edgecolor="black"))
        roof = [(x - 0.08, 0.7), (x + 0.3, 1.05), (x + 0.68, 0.7)]
        axes.add_patch(Polygon(roof, facecolor="#8c2f39", edgecolor="black"))
        axes.add_patch(Rectangle((x + 0.2, 0.2), 0.16, 0.3, facecolor="#40241a", edgecolor="black"))
    return _drawn(figure)


_DRAWINGS: dict[str, Callable[[int], Image.Image]] = {
    "bars": bars,
    "cartoon": cartoon,
    "contours": contours,
    "lines": lines,
}


def drawings() -> dict[str, Callable[[int], Image.Image]]:
    """By name: a function from a seed to a picture, RGB, whatever the user's own style of matplotlib is."""
    return {name: _in_default_style(draw) for name, draw in _DRAWINGS.items()}


def _in_default_style(draw: Callable[[int], Image.Image]) -> Callable[[int], Image.Image]:
    @wraps(draw)
    def styled(seed: int) -> Image.Image:
        from matplotlib import style

        with style.context("default"):
            return draw(seed)

    return styled


def _figure(face: str = "white", layout: Literal["constrained"] | None = "constrained") -> "Figure":
    from matplotlib.figure import Figure

    size = (SIZE[0] / _DPI, SIZE[1] / _DPI)
    return Figure(figsize=size, dpi=_DPI, facecolor=face, layout=layout)


def _drawn(figure: "Figure") -> Image.Image:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI)
    return Image.open(stream).convert("RGB")
