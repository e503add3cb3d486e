"""Plain text tables for the terminal, tables of Markdown, and how numbers are written in them."""

from collections.abc import Sequence


def text_table(headers: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Aligned columns under ``headers``: the first ``left`` to the left, the others to the right. A header
    may have two lines.
    """
    tops = [header.split("\n") for header in headers]
    height = max(len(top) for top in tops)
    lines = [[([""] * (height - len(top)) + top)[i] for top in tops] for i in range(height)]
    widths = [max(len(line[i]) for line in [*lines, *rows]) for i in range(len(headers))]
    rule = ["-" * width for width in widths]
    aligned = [
        [cell.ljust(widths[i]) if i < left else cell.rjust(widths[i]) for i, cell in enumerate(line)]
        for line in [*lines, rule, *rows]
    ]
    return "\n".join("  ".join(line).rstrip() for line in aligned)


def number(value: float | None, digits: int = 3) -> str:
    """``digits`` significant digits without exponent; ``-`` for None."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    whole = len(str(int(abs(value))))
    decimals = max(0, digits - whole) if abs(value) >= 1 else digits
    return f"{value:,.{decimals}f}"


def ratio(value: float | None) -> str:
    """``12.3x``."""
    return "-" if value is None else f"{number(value)}x"


def percent(value: float | None) -> str:
    """0.123 as ``+12.3 %``."""
    return "-" if value is None else f"{100 * value:+.1f} %"


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown; headers of two lines become one."""
    lines = [[header.replace("\n", " ") for header in headers], ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
