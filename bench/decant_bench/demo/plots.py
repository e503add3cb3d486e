"""Figures of a demo's page."""

from collections.abc import Sequence

from decant_bench.common.plots import COLOURS, INK, as_svg, blank
from decant_bench.common.tables import number


def bars_svg(title: str, found: Sequence[tuple[str, float]]) -> str:
    """A horizontal bar a codec, the first at the top, with its value: (label, milliseconds)."""
    figure = blank(5.4, 0.42 * len(found) + 0.55)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    labels, values = zip(*found, strict=True)
    places = range(len(found), 0, -1)
    peers = {"JPEG", "AVIF"}
    colours = ["#808080" if label in peers else COLOURS[0] for label in labels]
    axes.barh(places, values, height=0.62, color=colours)
    for place, value in zip(places, values, strict=True):
        axes.annotate(
            number(value),
            (value, place),
            (4, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            fontsize=10,
        )
    axes.set_yticks(list(places), labels)
    axes.set_xlim(0, 1.16 * max(values))
    axes.set_xticks([])
    axes.tick_params(axis="y", colors=INK, labelsize=10, length=0)
    axes.set_title(title, color=INK, fontsize=10, loc="left")
    for spine in axes.spines.values():
        spine.set_visible(False)
    return as_svg(figure, title)
