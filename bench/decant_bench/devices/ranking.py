"""Devices ranked by how many times JPEG's and AVIF's time a decode takes on each: tables and a page.

Milliseconds of different machines do not compare, for a slower machine is slower in everything. Ratios to
JPEG and AVIF of the same run say what the decoder costs where these are the alternative.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decant.formats.paths import takes_paths

from decant_bench.common import pages, published, record
from decant_bench.common.pages import Section
from decant_bench.common.record import Record
from decant_bench.common.tables import Table, number, ratio
from decant_bench.devices import summary
from decant_bench.errors import BenchError

TITLE = "Decode times by device"
NOTE = (
    "Steady decodes on one thread, ranked by the ratio to JPEG of the same run. In brackets: 95 % interval. "
    "Records with one process are of schema 1: their interval is of that process alone, and memory was not "
    "kept for JPEG, so their ratios are lower than the same machine would have now. Compare records of one "
    "schema."
)
_HEADERS = (
    "rank", "device", "precision", "runtime", "ms", "MP/s", "to JPEG", "to AVIF", "JPEG is", "processes",
    "measured",
)  # fmt: skip


@takes_paths
def read(folder: Path) -> list[Record]:
    """The records of kind ``device`` in ``folder``, by file name. Raises BenchError for one that is no such
    record, or where there is none.
    """
    found = [record.read(path, summary.KIND) for path in sorted(folder.glob("*.json"))]
    if not found:
        raise BenchError(f"{folder}: no device records (*.json); add one with --add LATENCY.json")
    return found


def tables(devices: Sequence[Record]) -> list[Table]:
    """A table a model, those of most devices first; the publication's laptops are among the devices."""
    entries: dict[str, list[_Entry]] = {}
    for device in devices:
        for row in device["rows"]:
            if row["kind"] == "model" and row["threads"] == 1:
                model, _, precision = row["label"].partition(" ")
                entries.setdefault(model, []).append(_measured(device, row, precision))
    given = published.latency()
    for found in published.ratios(given):
        model, _, precision = found["name"].partition(" ")
        for machine, times in zip(given["machines"], found["decode_ratio"], strict=True):
            if precision:  # without one it is JPEG
                mark = " (doubtful)" if machine in found["doubtful"] else ""
                cells = ["-", "-", "-", ratio(times) + mark, "-", "JPEG, as published", "-", "published"]
                entries.setdefault(model, []).append(_Entry(times, machine, precision, cells))
    names = sorted(entries, key=lambda name: (-len({one.device for one in entries[name]}), name))
    return [_table(name, entries[name]) for name in names]


@dataclass(frozen=True)
class _Entry:
    """A row without its rank; ``cells`` are those after the precision."""

    to_jpeg: float
    device: str
    precision: str
    cells: list[str]


def _table(model: str, entries: Sequence[_Entry]) -> Table:
    ranked = sorted(entries, key=lambda one: one.to_jpeg)
    rows = [[str(place), one.device, one.precision, *one.cells] for place, one in enumerate(ranked, start=1)]
    return Table(_HEADERS, rows, model, left=4)


def _measured(device: Record, row: dict[str, Any], precision: str) -> _Entry:
    machine = device["machine"]
    cells = [
        row["runtime"] or "-",
        number(row["ms"]),
        number(row["megapixels_per_s"]),
        _told(row["to_jpeg"]),
        _told(row["to_avif"]),
        str(device["config"]["reference"]),
        str(row["to_jpeg"][3] if row["to_jpeg"] else "-"),
        f"{device['created'][:10]}, decant {device['versions'].get('decant-codec', '-')}",
    ]
    placed = row["to_jpeg"][0] if row["to_jpeg"] else float("inf")
    return _Entry(placed, f"{machine['cpu']}, {machine['cores_usable']} cores", precision, cells)


def as_markdown(devices: Sequence[Record]) -> str:
    """The tables for a repository or an issue tracker."""
    parts = [f"# {TITLE}", f"{len(devices)} records, and the published laptops. {_note()}"]
    for table in tables(devices):
        parts += [f"## {table.title}", table.markdown()]
    parts += ["## Records", "\n".join(f"* {_origin(device)}" for device in devices)]
    return "\n\n".join(parts) + "\n"


def as_html(devices: Sequence[Record]) -> str:
    """One page that fetches nothing."""
    sections = [
        Section(table.title, tables=[Table(table.headers, table.rows, left=table.left)])
        for table in tables(devices)
    ]
    sections.insert(0, Section("How to read it", notes=[_note()]))
    origins = [(str(device["machine"]["cpu"]), device) for device in devices]
    return pages.sections_page(TITLE, "decant bench devices", sections, records=origins)


@takes_paths
def write(folder: Path) -> list[Path]:
    """Write ranking.md and ranking.html of the records in ``folder`` into it. Raises BenchError, OSError."""
    devices = read(folder)
    markdown = folder / "ranking.md"
    markdown.write_text(as_markdown(devices), encoding="utf-8")
    return [markdown, pages.write(as_html(devices), folder / "ranking.html")]


def _note() -> str:
    given = published.latency()
    return f"{NOTE} {given['source']}. {given['method']}"


def _origin(device: Record) -> str:
    return f"{device['machine']['cpu']}, {device['created']}: `{device['command']}`"


def _told(found: list[float] | None) -> str:
    if found is None:
        return "-"
    middle, low, high = found[:3]
    return ratio(middle) if low == high else f"{ratio(middle)} ({number(low)}-{number(high)})"
