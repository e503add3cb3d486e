"""Ratios of a latency record's times to JPEG's and AVIF's, with intervals: what compares between machines."""

from typing import Any

from decant_bench.common.intervals import Ratio, paired
from decant_bench.common.record import Record

REFERENCES = ("jpeg", "avif")
METRICS = ("decode", "load", "load_cold")  # whose samples are taken in common rounds


def measured(record: Record) -> list[dict[str, Any]]:
    """The rows with times."""
    return [row for row in record["rows"] if row["refused"] is None]


def reference_row(record: Record, reference: str, threads: int = 1) -> dict[str, Any] | None:
    """The row that ratios to ``reference`` are of: for jpeg the record's reference, which has one thread; for
    avif its first setting, on ``threads`` where it has such a row, else on one.
    """
    rows = measured(record)
    if reference == "jpeg":
        named = [row for row in rows if row["subject"]["name"] == record.get("reference")]
        return named[0] if named else None
    named = [row for row in rows if row["subject"]["name"].split("-q")[0] == reference]
    for wanted in (threads, 1):
        for row in named:
            if row["subject"]["threads"] == wanted:
                return row
    return None


def of(record: Record, reference: str, metric: str = "decode") -> dict[str, Ratio]:
    """By key of the row: its time over that of ``reference``. Rows without such samples are left out."""
    found = {}
    for row in measured(record):
        base = reference_row(record, reference, row["subject"]["threads"])
        if base is None:
            continue
        ratio = between(base, row, metric)
        if ratio is not None:
            found[row["key"]] = ratio
    return found


def between(below: dict[str, Any], above: dict[str, Any], metric: str = "decode") -> Ratio | None:
    """The ratio of two rows of one record. Records of schema 1 do not say which process a round is of."""
    name = "decode_processes" if metric == "decode" else "load_processes"
    return paired(below[f"{metric}_ns"], above[f"{metric}_ns"], above.get(name) or None)


def megapixels(record: Record) -> float | None:
    """Of a picture; None where the record's pictures have several sizes."""
    images = record["config"]["images"]
    sizes = images.get("sizes") or [f"{images['width']}x{images['height']}"]
    if len(sizes) != 1:
        return None
    width, height = map(int, sizes[0].split("x"))
    return width * height / 1e6
