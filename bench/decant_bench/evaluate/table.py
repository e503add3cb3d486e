"""An evaluation as tables for a page and as CSV."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from decant_bench.common.measured import FIGURES
from decant_bench.common.record import Record
from decant_bench.common.tables import Table, fixed
from decant_bench.evaluate.measure import shown_point, worst

NAMES = {
    "bytes": "file\nbytes",
    "bits_per_pixel": "bits per\npixel",
    "psnr_db": "PSNR\ndB",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "ssimulacra2": "SSIMULACRA2",
    "feature_distance": "feature\ndistance",
}
_DIGITS = {"bytes": 0, "bits_per_pixel": 3, "psnr_db": 2, "ssimulacra2": 2}  # four for all else
_PARTS = (("lowest", 0), ("10 %", 10), ("median", 50), ("90 %", 90), ("highest", 100))


def measured(record: Record) -> tuple[str, ...]:
    """The figures that some picture has a value of."""
    points = [point for row in record["rows"] for point in row["points"]]
    return tuple(
        name for name in FIGURES if any(value is not None for point in points for value in point[name])
    )


def point_label(row: dict[str, Any], point: dict[str, Any]) -> str:
    """``lite int8 q50``, or without a quality the row's label."""
    return row["label"] if point["quality"] is None else f"{row['label']} q{point['quality']}"


def mean_headers(record: Record) -> tuple[str, ...]:
    """Over ``mean_rows``."""
    return ("means", *(NAMES[name] for name in measured(record)), "lowest\nPSNR, dB", "exact")


def mean_rows(record: Record) -> list[list[str]]:
    """A row a coder and quality."""
    rows = []
    for row in record["rows"]:
        for point in row["points"]:
            cells = [shown(name, point["mean"][name]) for name in measured(record)]
            there = [value for value in point["psnr_db"] if value is not None]
            lowest = shown("psnr_db", min(there, default=None))
            exact = str(len(point["psnr_db"]) - len(there))
            rows.append([point_label(row, point), *cells, lowest, exact])
    return rows


SPREAD_HEADERS = ("distribution", *(name for name, _ in _PARTS), "mean")


def spread_rows(record: Record) -> list[list[str]]:
    """Percentiles over the pictures, at the bundle's shown point; a row a figure."""
    point = shown_point(record["rows"][0])
    rows = []
    for name in measured(record):
        values = [value for value in point[name] if value is not None]
        if values:
            parts = [shown(name, float(np.percentile(values, share))) for _, share in _PARTS]
            rows.append([NAMES[name].replace("\n", " "), *parts, shown(name, point["mean"][name])])
    return rows


def worst_headers(record: Record) -> tuple[str, ...]:
    """Over ``worst_rows``."""
    return ("worst", *(NAMES[name] for name in measured(record)))


def worst_rows(record: Record) -> list[list[str]]:
    """The ten pictures of the lowest PSNR at the bundle's shown point."""
    point = shown_point(record["rows"][0])
    return [
        [
            record["pictures"][index]["name"],
            *(shown(name, point[name][index]) for name in measured(record)),
        ]
        for index in worst(point)
    ]


def shown(name: str, value: float | None) -> str:
    """A value of the figure ``name``."""
    return fixed(value, _DIGITS.get(name, 4))


def as_text(record: Record) -> str:
    """For the terminal."""
    return Table(mean_headers(record), mean_rows(record)).text()


def pictures_csv(record: Record) -> str:
    """Every picture at every quality of every coder."""
    rows: list[Sequence[Any]] = []
    for row in record["rows"]:
        for point in row["points"]:
            for index, picture in enumerate(record["pictures"]):
                where = [picture["name"], picture["width"], picture["height"]]
                figures = [point[name][index] for name in FIGURES]
                rows.append([*where, row["label"], point["quality"], *figures])
    return Table(("picture", "width", "height", "codec", "quality", *FIGURES), rows).csv()


def means_csv(record: Record) -> str:
    """A line a coder and quality."""
    rows = [
        [row["label"], point["quality"], *(point["mean"][name] for name in FIGURES)]
        for row in record["rows"]
        for point in row["points"]
    ]
    return Table(("codec", "quality", *FIGURES), rows).csv()
