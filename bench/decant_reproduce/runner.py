"""The published systems, each reproduced by one call: its rows "published / ours", its table and its page.

A system is a module with ``reproduce(data, out, max_minutes, report) -> list[Row]``, which keeps what it
makes in ``out`` and goes on with that when called again, and ``sections(out)``, what its page shows below the
table.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from decant.errors import MissingExtraError
from decant.formats.paths import takes_paths
from decant_bench.common import pages, record
from decant_bench.common.pages import Section
from decant_bench.common.tables import Table
from decant_bench.errors import BenchError

from decant_reproduce.rows import Row

SYSTEMS = {name: f"decant_reproduce.{name}.reproduce" for name in ("set", "perceptual", "color", "digits")}
# What a system's function takes beyond the common arguments.
OPTIONS = {"set": ("records",), "perceptual": ("features", "encoder_weights")}
HEADERS = ("figure", "published", "ours", "remark")

Report = Callable[[str], None]


@takes_paths
def run(
    system: str, data: Path | None, out: Path, max_minutes: float, report: Report, **options: Any
) -> list[Row]:
    """Reproduce ``system`` and write table.md, table.json and report.html into ``out``; its rows.

    Raises BenchError for a system that is not known, MissingExtraError where what trains it is not installed,
    and what the system raises.
    """
    if system not in SYSTEMS:
        raise BenchError(f"no published system {system!r}; known: {', '.join(SYSTEMS)}")
    config = {"system": system, "data": data, "max_minutes": max_minutes, **options}
    found = record.new("reproduction", {name: _told(value) for name, value in config.items()})
    out.mkdir(parents=True, exist_ok=True)
    try:
        module = import_module(SYSTEMS[system])
        rows: list[Row] = module.reproduce(data, out, max_minutes, report, **options)
        sections: Sequence[Section] = module.sections(out)
    except (ValueError, FloatingPointError) as error:
        raise BenchError(str(error)) from None
    except ImportError as error:
        raise MissingExtraError(
            f"reproducing {system} trains and exports ({error}): pip install 'decant-codec[demo]'"
        ) from None
    found["rows"] = [asdict(row) for row in rows]
    record.write(found, out / "table.json")
    pages.write(_page_of_text(found, rows), out / "table.md")
    pages.write(page(found, rows, sections), out / "report.html")
    return rows


def as_markdown(rows: Sequence[Row]) -> str:
    """The table "published / ours"."""
    lines = [HEADERS, ("---",) * len(HEADERS), *(_cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def page(found: record.Record, rows: Sequence[Row], sections: Sequence[Section]) -> str:
    """The page: the table, then ``sections``."""
    table = Section("Published and ours", tables=[Table(HEADERS, [_cells(row) for row in rows], words=True)])
    title = f"decant: the published system {found['config']['system']!r}"
    records = [("Reproduction", found)]
    return pages.sections_page(title, found["command"], [table, *sections], records=records)


def _page_of_text(found: record.Record, rows: Sequence[Row]) -> str:
    machine, versions = found["machine"], found["versions"]
    parts = [
        f"# The published system `{found['config']['system']}`: published / ours",
        as_markdown(rows),
        f"```sh\n{found['command']}\n```",
        f"{found['created']}, {machine['cpu']}, {machine['cores_usable']} cores usable, load "
        f"{machine['load_average']}",
        ", ".join(f"{name} {version}" for name, version in versions.items() if version),
    ]
    return "\n\n".join(parts) + "\n"


def _told(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [str(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def _cells(row: Row) -> tuple[str, str, str, str]:
    return row.figure, row.published, row.ours, row.remark
