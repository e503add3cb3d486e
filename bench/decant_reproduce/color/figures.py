"""Figures of the colour system's page, as SVG."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from decant_bench.common.plots import COLOURS, INK, as_svg, blank, dress

from decant_reproduce.color.measures import FLOAT, KMEANS, LABELS, MEDIAN_CUT, Measures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, Any]]
# Borders of the pie, dB: below the first a picture is poor, from the second on good.
POOR_BELOW, GOOD_FROM = 30.0, 35.0
_BINS = 40
_SHOWN = (FLOAT, KMEANS, MEDIAN_CUT)


def losses_svg(rows: Rows) -> str:
    """Mean squared error of training and validation pictures after each epoch."""
    figure = blank(5.6, 3.2)
    axes = figure.subplots()
    for name, label, colour in (
        ("training_mse", "training", COLOURS[0]),
        ("mse", "validation", COLOURS[1]),
    ):
        _line(axes, rows, name, label, colour)
    axes.set_yscale("log")
    dress(axes, "epoch", "mean squared error")
    _legend(axes)
    return as_svg(figure, "color losses")


def accuracy_svg(rows: Rows) -> str:
    """Accuracy and squared error of the validation pictures after each epoch, in one plot."""
    figure = blank(5.6, 3.2)
    axes = figure.subplots()
    _line(axes, rows, "accuracy", "accuracy", COLOURS[0], 100)
    dress(axes, "epoch", "accuracy, %")
    other = axes.twinx()
    _line(other, rows, "mse", "mean squared error (right)", COLOURS[1])
    dress(other, "", "mean squared error")
    other.grid(visible=False)
    _legend(axes, other)
    return as_svg(figure, "color accuracy")


def examples_svg(measures: Measures, depths: Sequence[int]) -> str:
    """Originals beside what the contenders made of them, and the depth map."""
    from matplotlib.colors import ListedColormap

    assert measures.shown is not None
    assert measures.maps is not None
    chosen = [0, *(1 + LABELS.index(label) for label in _SHOWN)]
    titles = ["original", *_SHOWN, "bits a latent"]
    count = measures.shown.shape[1]
    figure = blank(1.25 * len(titles), 1.25 * count + 0.4)
    places = figure.subplots(count, len(titles), squeeze=False)
    shades = ListedColormap([COLOURS[i % len(COLOURS)] for i in range(len(depths))])
    for row in range(count):
        for axes, index in zip(places[row], chosen, strict=False):
            axes.imshow(measures.shown[index, row], interpolation="nearest")
        axes = places[row, -1]
        axes.imshow(measures.maps[row], cmap=shades, vmin=-0.5, vmax=len(depths) - 0.5)
        for (y, x), index in np.ndenumerate(measures.maps[row]):
            axes.text(x, y, str(depths[index]), ha="center", va="center", fontsize=6, color="white")
        for index, axes in zip(chosen[1:], places[row, 1:], strict=False):
            axes.set_xlabel(f"{measures.psnr_db[index - 1, row]:.1f} dB", color=INK, fontsize=7, labelpad=1)
    for axes, title in zip(places[0], titles, strict=True):
        axes.set_title(title, color=INK, fontsize=8)
    for axes in places.ravel():
        axes.set_xticks([])
        axes.set_yticks([])
    return as_svg(figure, "color examples")


def histograms_svg(measures: Measures, name: str, label: str) -> str:
    """How ``name`` (mse, ssim) is distributed over the pictures, for three contenders; the last hundredth of
    errors, or the first of similarities, lies in the outermost bin.
    """
    values = getattr(measures, name)[[LABELS.index(one) for one in _SHOWN]]
    low, high = (0.0, np.quantile(values, 0.99)) if name == "mse" else (np.quantile(values, 0.01), 1.0)
    edges = np.linspace(low, high, _BINS + 1)
    figure = blank(5.6, 3.2)
    axes = figure.subplots()
    for i, (one, found) in enumerate(zip(_SHOWN, values, strict=True)):
        counts, _ = np.histogram(np.clip(found, low, high), edges)
        filled = one == FLOAT
        axes.stairs(
            counts,
            edges,
            fill=filled,
            alpha=0.6 if filled else 1,
            color=COLOURS[i],
            linewidth=1.5,
            label=one,
        )
    dress(axes, label, "pictures")
    _legend(axes)
    return as_svg(figure, f"color {name}")


def pie_svg(psnr_db: np.ndarray) -> str:
    """Parts of the pictures that are poor, average and good by their PSNR."""
    figure = blank(4.2, 3.0)
    axes = figure.subplots()
    names = (f"poor\n< {POOR_BELOW:g} dB", "average", f"good\n≥ {GOOD_FROM:g} dB")
    parts = quality_parts(psnr_db)
    axes.pie(
        parts,
        labels=names,
        autopct=lambda share: f"{share:.1f} %",
        colors=[COLOURS[1], COLOURS[4], COLOURS[2]],
        startangle=90,
        textprops={"color": INK, "fontsize": 9},
    )
    return as_svg(figure, "color quality")


def quality_parts(psnr_db: np.ndarray) -> tuple[float, float, float]:
    """Parts of poor, average and good pictures."""
    poor, good = float((psnr_db < POOR_BELOW).mean()), float((psnr_db >= GOOD_FROM).mean())
    return poor, 1 - poor - good, good


def classes_svg(psnr_db: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> str:
    """Mean PSNR of each class, highest first."""
    present = np.unique(labels)
    means = np.array([psnr_db[labels == label].mean() for label in present])
    order = np.argsort(-means)
    figure = blank(11.0, 3.4)
    axes = figure.subplots()
    axes.bar(range(len(order)), means[order], color=COLOURS[0], width=0.8)
    axes.set_xticks(range(len(order)), [classes[present[i]] for i in order], rotation=90)
    axes.set_xlim(-1, len(order))
    axes.set_ylim(max(0, means.min() - 3), means.max() + 1)
    dress(axes, "", "mean PSNR, dB")
    axes.tick_params(axis="x", labelsize=6)
    axes.grid(visible=False, axis="x")
    return as_svg(figure, "color classes")


def scatter_svg(psnr_db: np.ndarray, ssim: np.ndarray) -> str:
    """SSIM against PSNR of the pictures, with their correlation."""
    figure = blank(5.0, 4.0)
    axes = figure.subplots()
    # As a bitmap: thousands of circles would be most of the page.
    axes.scatter(psnr_db, ssim, s=3, alpha=0.3, color=COLOURS[0], linewidths=0, rasterized=True)
    axes.set_title(f"r = {correlation(psnr_db, ssim):.2f}", color=INK, fontsize=10)
    dress(axes, "PSNR, dB", "SSIM")
    return as_svg(figure, "color scatter")


def correlation(psnr_db: np.ndarray, ssim: np.ndarray) -> float:
    """Pearson's r of PSNR and SSIM over the pictures."""
    return float(np.corrcoef(psnr_db, ssim)[0, 1])


def tsne_svg(points: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> str:
    """t-SNE of latents, ``points`` (n, 2), by class."""
    figure = blank(6.4, 4.4)
    axes = figure.subplots()
    for i, label in enumerate(np.unique(labels)):
        chosen = points[labels == label]
        axes.scatter(
            chosen[:, 0], chosen[:, 1], s=7, alpha=0.8, color=f"C{i % 10}", linewidths=0, label=classes[label]
        )
    dress(axes, "", "")
    axes.set_xticks([])
    axes.set_yticks([])
    legend = figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_color(INK)
    return as_svg(figure, "color tsne")


def _line(axes: "Axes", rows: Rows, name: str, label: str, colour: str, times: float = 1) -> None:
    from matplotlib.ticker import MaxNLocator

    points = [(row["epoch"], times * row[name]) for row in rows if name in row]
    axes.plot(*zip(*points, strict=True), color=colour, marker=".", label=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _legend(*every: "Axes") -> None:
    lines = [line for axes in every for line in axes.get_legend_handles_labels()[0]]
    legend = every[-1].legend(handles=lines, frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_color(INK)
