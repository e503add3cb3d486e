"""A quality record as the tables that the terminal and the report show, beside the published figures."""

import json
from importlib import resources
from typing import Any

from decant_bench.common.record import Record
from decant_bench.common.tables import Table, images_told, number

HEADERS = (
    "quality", "runtime", "images", "PSNR\ndB", "SSIM", "MS-SSIM", "payload\nbytes", "file\nbytes",
    "model\nMB", "ratio,\npublished", "ratio,\nall files", "Q",
)  # fmt: skip
PUBLISHED_HEADERS = ("published", "PSNR\ndB", "SSIM", "ratio", "Q", "remark")
NOTE = (
    "Means over the images. Ratio as published: (graph bytes / images + payload bytes) / (H * W * 3); with "
    "all files: everything a client reads, and whole files. Lower is smaller. Q spans the PSNR of the points "
    "here."
)


def published() -> dict[str, Any]:
    """``reference/published_quality.json``."""
    text = resources.files("decant_bench").joinpath("reference/published_quality.json").read_text()
    table: dict[str, Any] = json.loads(text)
    return table


def quality_rows(record: Record) -> list[list[str]]:
    """Cells under HEADERS, for the rows that were measured; those of the sample last."""
    rows = []
    for row in sorted(record["rows"], key=lambda row: row["pictures"] == "sample"):
        if row["refused"] is not None:
            continue
        mean = row["mean"]
        rows.append(
            [
                row["label"],
                row["subject"]["runtime"] or "-",
                str(len(row["ssim"])),
                # null: every picture came out to the bit
                "exact" if mean["psnr_db"] is None else f"{mean['psnr_db']:.2f}",
                _fixed(mean["ssim"]),
                _fixed(mean["ms_ssim"]),
                f"{mean['payload_bytes']:,.0f}",
                f"{mean['file_bytes']:,.0f}",
                number(row["model_bytes"] / 1e6) if row["model_bytes"] else "-",
                _fixed(row["ratio"]),
                _fixed(row["ratio_files"]),
                _fixed(row["q"]),
            ]
        )
    return rows


def published_rows() -> list[list[str]]:
    """Cells under PUBLISHED_HEADERS."""
    keys = ("psnr_db", "ssim", "ratio", "q")
    return [
        [row["name"], *(str(row.get(key, "-")) for key in keys), row.get("note", "")]
        for row in published()["rows"]
    ]


def refused(record: Record) -> list[tuple[str, str]]:
    """(what, why) of every variant that could not be measured."""
    return [
        (f"{row['label']} ({row['subject']['runtime']})", row["refused"])
        for row in record["rows"]
        if row["refused"] is not None
    ]


def as_text(record: Record) -> str:
    """The whole record for the terminal."""
    images = record["config"]["images"]
    parts = [
        f"{images_told(images)} ({images['source']})",
        Table(HEADERS, quality_rows(record), note=NOTE, left=2).text(),
        Table(PUBLISHED_HEADERS, published_rows(), note=" ".join(published()["statements"])).text(),
    ]
    if gone := refused(record):
        parts.append("refused\n" + "\n".join(f"  {what}: {why}" for what, why in gone))
    return "\n\n".join(parts)


def _fixed(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
