"""Figures of the digit autoencoder: K-means' elbow, PSNR by colours, bytes against PSNR, and digits side by
side.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from decant_bench.common.plots import COLOURS, INK, as_svg, blank, dress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ZOOM = 3
_BYTES = (7, 14, 28, 50, 100, 200)  # marked across
_GAP = 3  # pixels of the sheet, between digits
_LABEL = 150  # pixels, for the names of the rows


def elbow_svg(elbow: dict[str, Any]) -> str:
    """Inertia against the number of colours, its bend marked."""
    figure = blank(5.2, 3.6)
    axes = figure.subplots()
    axes.plot(elbow["colours"], elbow["inertia"], marker="o", markersize=4, color=COLOURS[0])
    axes.axvline(elbow["bend"], color=COLOURS[1], linestyle="--")
    axes.annotate(
        f"bend at k = {elbow['bend']}",
        (elbow["bend"], 0.6 * max(elbow["inertia"])),
        xytext=(6, 0),
        textcoords="offset points",
        color=INK,
        fontsize=9,
    )
    dress(axes, "colours k", "inertia of a digit (squared grey levels)")
    return as_svg(figure, "elbow")


def colours_svg(elbow: dict[str, Any]) -> str:
    """PSNR of K-means against the number of colours."""
    figure = blank(5.2, 3.6)
    axes = figure.subplots()
    axes.plot(elbow["colours"], elbow["psnr_db"], marker="o", markersize=4, color=COLOURS[0])
    dress(axes, "colours k", "PSNR, dB")
    return as_svg(figure, "colours")


def rates_svg(found: dict[str, Any]) -> str:
    """Bytes of a digit against PSNR: the packed latent with and without the denoiser, PCA, K-means; and the
    bytes of PNG.
    """
    figure = blank(7.2, 4.6)
    axes = figure.subplots()
    swept, pca = found["swept"], found["pca_swept"]
    lines = {
        "decoder + denoiser": [(one["bytes"], one["denoised"]) for one in swept],
        "decoder": [(one["bytes"], one["decoder"]) for one in swept],
        "PCA, 28 components": [(one["bytes"], one["psnr_db"]) for one in pca],
        "K-means palette, whole files": [(one["bytes"], one["psnr_db"]) for one in found["palettes"]],
    }
    for (label, points), colour in zip(lines.items(), COLOURS, strict=False):
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, color=colour, label=label)
    axes.axvline(found["bytes"]["png"], color="#808080", linestyle=":", label="PNG, exact")
    axes.set_xscale("log")
    axes.set_xticks(_BYTES, [str(size) for size in _BYTES])
    axes.minorticks_off()
    dress(axes, "bytes of a digit, without the decoder", "PSNR, dB")
    legend = axes.legend(frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_color(INK)
    return as_svg(figure, "digit rates")


def labels_svg(by_label: dict[str, Any]) -> str:
    """Mean PSNR of each digit 0 to 9."""
    return as_svg(labels_figure(by_label), "digit labels")


def labels_figure(by_label: dict[str, Any]) -> "Figure":
    """The bars of ``labels_svg``; all of them are seen, whichever of the three is the highest."""
    figure = blank(7.2, 3.2)
    axes = figure.subplots()
    places = np.arange(len(by_label["labels"]))
    rows = {"PCA, 28 components": "pca", "decoder": "decoder", "decoder + denoiser": "denoised"}
    for index, (label, name) in enumerate(rows.items()):
        axes.bar(places + 0.28 * (index - 1), by_label[name], 0.26, color=COLOURS[2 - index], label=label)
    axes.set_xticks(places, [str(label) for label in by_label["labels"]])
    heights = [height for name in rows.values() for height in by_label[name]]
    lowest, highest = min(heights), max(heights)
    axes.set_ylim(min(0.8 * lowest, 1.2 * lowest), max(1.12 * highest, 0.88 * highest))
    dress(axes, "digit", "PSNR, dB")
    legend = axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper center")
    for text in legend.get_texts():
        text.set_color(INK)
    return figure


def save_sheet(rows: Sequence[tuple[str, np.ndarray]], path: Path) -> None:
    """Write digits side by side as PNG: each row has a name and pictures uint8 (n, 28, 28)."""
    from PIL import Image, ImageDraw, ImageFont

    count, height, width = rows[0][1].shape
    step = ZOOM * width + _GAP
    down = ZOOM * height + _GAP
    sheet = Image.new("RGB", (_LABEL + count * step - _GAP, len(rows) * down - _GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for line, (name, pictures) in enumerate(rows):
        draw.text((4, line * down + ZOOM * height // 2), name, "black", font, anchor="lm")
        for i, picture in enumerate(pictures):
            large = Image.fromarray(picture).resize((ZOOM * width, ZOOM * height), Image.Resampling.NEAREST)
            sheet.paste(large, (_LABEL + i * step, line * down))
    sheet.save(path)
