"""One description of a table, and its forms: text, Markdown, CSV and JSON here, HTML by ``pages.table_html``;
and how numbers are written in cells.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """Cells under headers; a header may have two lines. The first ``left`` columns stand at the left, the
    others, numbers, at the right; with ``words`` all stand at the left.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    note: str = ""
    words: bool = False
    left: int = 1

    def text(self) -> str:
        """For the terminal: aligned columns, then the note."""
        rows = [[plainly(cell) for cell in row] for row in self.rows]
        tops = [header.split("\n") for header in self.headers]
        height = max(len(top) for top in tops)
        lines = [[([""] * (height - len(top)) + top)[i] for top in tops] for i in range(height)]
        widths = [max(len(line[i]) for line in [*lines, *rows]) for i in range(len(self.headers))]
        left = len(widths) if self.words else self.left
        aligned = [
            [cell.ljust(widths[i]) if i < left else cell.rjust(widths[i]) for i, cell in enumerate(line)]
            for line in [*lines, ["-" * width for width in widths], *rows]
        ]
        drawn = "\n".join("  ".join(line).rstrip() for line in aligned)
        return f"{drawn}\n{self.note}" if self.note else drawn

    def markdown(self) -> str:
        """Headers of two lines become one; the note is a paragraph."""
        lines = [self._flat_headers(), ["---"] * len(self.headers)]
        lines += [[plainly(cell) for cell in row] for row in self.rows]
        drawn = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{drawn}\n\n{self.note}" if self.note else drawn

    def csv(self) -> str:
        """Lines end with a line feed; None is an empty cell."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self._flat_headers())
        writer.writerows(self.rows)
        return stream.getvalue()

    def as_dict(self) -> dict[str, Any]:
        """For JSON: title, headers, rows, note."""
        rows = [list(row) for row in self.rows]
        return {"title": self.title, "headers": self._flat_headers(), "rows": rows, "note": self.note}

    def _flat_headers(self) -> list[str]:
        return [header.replace("\n", " ") for header in self.headers]


def plainly(value: Any) -> str:
    """Anything of a record as text."""
    if isinstance(value, list | tuple):
        return ", ".join(map(plainly, value))
    if isinstance(value, dict):
        told = {key: one for key, one in value.items() if one not in (None, [])}
        return ", ".join(f"{key.replace('_', ' ')} {plainly(one)}" for key, one in told.items()) or "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def number(value: float | None, digits: int = 3) -> str:
    """``digits`` significant digits without exponent; ``-`` for None."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    whole = len(str(int(abs(value))))
    decimals = max(0, digits - whole) if abs(value) >= 1 else digits
    return f"{value:,.{decimals}f}"


def fixed(value: float | None, decimals: int) -> str:
    """So many decimals; ``-`` for None."""
    return "-" if value is None else f"{value:,.{decimals}f}"


def ratio(value: float | None) -> str:
    """``12.3x``."""
    return "-" if value is None else f"{number(value)}x"


def percent(value: float | None) -> str:
    """0.123 as ``+12.3 %``."""
    return "-" if value is None else f"{100 * value:+.1f} %"


def images_told(described: dict[str, Any]) -> str:
    """``64 images of 256x256``, of what a record says of its pictures. Records of before have one size."""
    sizes = described.get("sizes") or [f"{described['width']}x{described['height']}"]
    shown = ", ".join(sizes) if len(sizes) <= 6 else f"{len(sizes)} sizes"
    return f"{described['count']} images of {shown}"
