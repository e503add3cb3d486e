"""What the colour system's page shows below its table, from what a reproduction left in its folder."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from decant.bundles.bundle import Bundle
from decant.layouts.levels import LevelsLayout
from decant_bench.common import pages
from decant_bench.common.pages import Section
from decant_bench.common.tables import Table

from decant_reproduce.color import figures
from decant_reproduce.color import measures as color_measures
from decant_reproduce.color.measures import KMEANS, LABELS, Measures

NAME = "color"  # of the bundle
MEASURED, LATENT_MAP, CLASSES = "measured.npz", "tsne.npz", "labels.npz"
ACCURACY = "colour values of the validation pictures that come back within 12 of 255 (5 % of the range)"


def sections(out: Path) -> list[Section]:
    """What the page shows below the table."""
    measures = color_measures.load(out / MEASURED)
    assert measures is not None
    bundle = Bundle.open(out / NAME)
    layout = bundle.layout
    assert isinstance(layout, LevelsLayout)
    labels, classes = labels_of(out)
    log, psnr, ssim = training_log(out), measures.psnr_db[0], measures.ssim[0]
    with np.load(out / LATENT_MAP) as stored:
        points, point_labels = stored["points"], stored["labels"]
    return [
        Section(
            "Training",
            notes=[
                f"Accuracy: {ACCURACY}. Loss: mean squared error of values in 0..1; what training lowers "
                "is that and the price of the bits, which follows the bits asked for."
            ],
            plots=[
                pages.plot(figures.losses_svg(log), "Training and validation loss over epochs"),
                pages.plot(figures.accuracy_svg(log), "Accuracy and loss over epochs"),
            ],
        ),
        Section(
            "Originals and reconstructions",
            notes=[_of_depths(layout, measures)],
            plots=[pages.plot(figures.examples_svg(measures, layout.depths), "Pictures and depth maps")],
        ),
        Section("At equal bits", tables=[comparison(measures, bundle.image[0] * bundle.image[1])]),
        Section(
            "Quality",
            plots=[
                pages.plot(figures.pie_svg(psnr), "Parts of poor, average and good pictures"),
                pages.plot(figures.classes_svg(psnr, labels, classes), "Mean PSNR of each class"),
                pages.plot(figures.histograms_svg(measures, "mse", "mean squared error"), "Errors"),
                pages.plot(figures.histograms_svg(measures, "ssim", "SSIM"), "SSIM"),
                pages.plot(figures.scatter_svg(psnr, ssim), "SSIM against PSNR"),
            ],
        ),
        Section(
            "Latents",
            notes=[f"t-SNE (scikit-learn) of the latents of {len(points)} pictures."],
            plots=[pages.plot(figures.tsne_svg(points, point_labels, classes), "t-SNE of latents")],
        ),
        Section(
            "Downloads",
            downloads=[pages.download("pictures.csv", as_csv(measures, labels, classes), "every picture")],
        ),
    ]


def comparison(measures: Measures, pixels: int) -> Table:
    """All contenders on the same pictures of ``pixels`` each."""
    headers = ("", "bits a pixel", "PSNR\ndB", "SSIM", "above K-means\n% of pictures")
    kmeans = measures.psnr_db[LABELS.index(KMEANS)]
    lines = [
        (
            label,
            f"{bits:.3f}",
            f"{psnr.mean():.2f}",
            f"{ssim.mean():.4f}",
            "" if label == KMEANS else f"{100 * (psnr > kmeans).mean():.1f}",
        )
        for label, bits, psnr, ssim in zip(
            LABELS, measures.bits_per_pixel(pixels), measures.psnr_db, measures.ssim, strict=True
        )
    ]
    note = f"{measures.count} pictures; whole files, headers and palettes counted."
    return Table(headers, lines, note=note)


def _of_depths(layout: LevelsLayout, measures: Measures) -> str:
    assert measures.maps is not None
    side = "x".join(str(size // count) for size, count in zip(_size(measures), layout.map_shape, strict=True))
    borders = ", ".join(f"{threshold:.1f}" for threshold in layout.thresholds)
    parts = ", ".join(
        f"{depth} bits in {100 * (measures.maps == i).mean():.1f} %" for i, depth in enumerate(layout.depths)
    )
    return (
        f"Every region of {side} pixels has its own colour depth, by its complexity (the mean difference of "
        f"neighbouring pixels; borders at {borders} of 255): {parts} "
        "of the regions. Smooth regions get the finer levels: an error shows most there, and their bits cost "
        "least."
    )


def _size(measures: Measures) -> tuple[int, int]:
    assert measures.shown is not None
    return int(measures.shown.shape[2]), int(measures.shown.shape[3])


def labels_of(out: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class indices (n,) of the pictures measured, and the classes' names."""
    with np.load(out / CLASSES) as stored:
        return stored["labels"], tuple(map(str, stored["classes"]))


def training_log(out: Path) -> list[dict[str, Any]]:
    """The rows of the training's log that hold an evaluation."""
    lines = (out / "checkpoint" / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "mse" in row]


def as_csv(measures: Measures, labels: np.ndarray, classes: Sequence[str]) -> str:
    """Bytes, PSNR and SSIM of every picture by every contender."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    columns = [f"{label} {what}" for label in LABELS for what in ("bytes", "PSNR", "SSIM")]
    writer.writerow(["picture", "class", *columns])
    for i in range(measures.count):
        values = [
            value
            for j in range(len(LABELS))
            for value in (measures.bytes[j, i], f"{measures.psnr_db[j, i]:.3f}", f"{measures.ssim[j, i]:.4f}")
        ]
        writer.writerow([measures.order[i], classes[labels[i]], *values])
    return stream.getvalue()
