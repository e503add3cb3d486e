"""Rate and distortion by content: each folder of pictures is a group with its own averaged curves.

The PSNR of drawings and text lies above or below that of photographs, so a group has no fixed range. Two
curves are compared over all that both reach, and the range is given with the figure.
"""

from typing import Any

import numpy as np

from decant_bench.common.baselines import CODECS
from decant_bench.common.measured import mean
from decant_bench.common.pictures import PictureSet
from decant_bench.common.record import Record
from decant_bench.errors import BenchError
from decant_bench.rate_distortion import curves as rd_curves

_LOSSLESS = "png"
_COLUMNS = ("bits_per_pixel", *rd_curves.METRICS)


def members(pictures: PictureSet) -> dict[str, list[int]]:
    """Which pictures lie in which folder, in order of appearance. Raises BenchError for one in none."""
    found: dict[str, list[int]] = {}
    for index, picture in enumerate(pictures.pictures):
        folder, slash, _ = picture.name.partition("/")
        if not slash:
            raise BenchError(f"{picture.name} lies in no folder; each group is a folder of pictures")
        found.setdefault(folder, []).append(index)
    return found


def add(record: Record, anchor: str, groups: dict[str, list[int]], pictures: PictureSet) -> None:
    """Add ``groups`` to a measured record: name, pictures, what PNG takes, and a row a codec with its
    BD-rates to ``anchor``.

    ``psnr``, ``ssimulacra2`` and ``ms_ssim`` are those of rd_curves.over_shared; ``pictures``: single
    pictures' BD-rates in PSNR.
    """
    rows = [row for row in record["rows"] if row["refused"] is None]
    base = next(row for row in rows if row["label"] == anchor)
    record["groups"] = [
        {
            "group": group,
            "pictures": [record["pictures"][index]["name"] for index in indices],
            "png_bits_per_pixel": _png(pictures, indices),
            "rows": [_row(base, row, indices) for row in rows if row is not base],
        }
        for group, indices in groups.items()
    ]


def worse(record: Record, label: str, metric: str) -> list[str]:
    """The groups in which ``label`` costs more than the anchor. ``metric``: psnr, ssimulacra2 or ms_ssim."""
    found = []
    for group in record["groups"]:
        row = next(row for row in group["rows"] if row["label"] == label)
        average = row[metric]["average"]
        if average is not None and average > 0:
            found.append(group["group"])
    return found


def _row(base: dict[str, Any], row: dict[str, Any], indices: list[int]) -> dict[str, Any]:
    anchor, test = _part(base, indices), _part(row, indices)
    single = rd_curves.of_pictures(base, row, indices)
    return {
        "label": row["label"],
        "psnr": rd_curves.over_shared(anchor, test, "psnr_db"),
        "ssimulacra2": rd_curves.over_shared(anchor, test, "ssimulacra2"),
        "ms_ssim": rd_curves.over_shared(anchor, test, "ms_ssim"),
        "pictures": [one and one[0] for one in single],
    }


def _part(row: dict[str, Any], indices: list[int]) -> dict[str, Any]:
    """A row of some of its pictures only."""
    points = []
    for point in row["points"]:
        columns = {name: [point[name][index] for index in indices] for name in _COLUMNS}
        points.append(columns | {"mean": {name: mean(values) for name, values in columns.items()}})
    return {"label": row["label"], "points": points}


def _png(pictures: PictureSet, indices: list[int]) -> float:
    """Bits per pixel without loss, the mean over the pictures."""
    chosen = [pictures.pictures[index] for index in indices]
    rates = [8 * len(CODECS[_LOSSLESS].encode(one.pixels, None)) / one.pixel_count for one in chosen]
    return float(np.mean(rates))
