"""``python -m decant_bench.archives.plot MEASURED.json OUT.svg``: memory, and time for each picture, by count
of pictures, as an SVG that a browser shows and a text editor reads.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 300, 170, 56, 26, 90
_COLOURS = {"pack": "#1f77b4", "verify": "#2ca02c", "unpack": "#d62728"}


def chart(rows: list[dict[str, Any]], key: str, title: str, left: int, scale: float = 1.0) -> str:
    """One chart, counts on a logarithmic axis and values from 0 on: lines of pack, verify and unpack."""
    counts = [row["pictures"] for row in rows]
    series = {name: [row[f"{name}_{key}"] * scale for row in rows] for name in _COLOURS}
    if key == "cpu_s":
        series = {name: [v / n * 1e3 for v, n in zip(vs, counts, strict=True)] for name, vs in series.items()}
    top: float = 1.15 * max(max(values) for values in series.values())
    low, high = math.log10(counts[0]), math.log10(counts[-1])

    def x(count: int) -> float:
        return left + (math.log10(count) - low) / max(high - low, 1e-9) * _WIDTH

    def y(value: float) -> float:
        return _TOP + _HEIGHT * (1 - value / top)

    parts = [f'<text x="{left}" y="16" font-weight="bold">{title}</text>']
    parts += [f'<path d="M{left} {_TOP}V{_TOP + _HEIGHT}H{left + _WIDTH}" stroke="#888" fill="none"/>']
    for count in counts:
        parts.append(
            f'<text x="{x(count):.0f}" y="{_TOP + _HEIGHT + 16}" text-anchor="middle">{count:,}</text>'
        )
    for share in (0, 0.5, 1):
        value = share * top / 1.15
        parts.append(f'<text x="{left - 6}" y="{y(value) + 4:.0f}" text-anchor="end">{value:.3g}</text>')
    for number, (name, values) in enumerate(series.items()):
        points = " ".join(f"{x(c):.0f},{y(v):.1f}" for c, v in zip(counts, values, strict=True))
        colour = _COLOURS[name]
        parts.append(f'<polyline points="{points}" stroke="{colour}" fill="none" stroke-width="2"/>')
        parts.append(
            f'<text x="{left + 60 * number}" y="{_TOP + _HEIGHT + 34}" fill="{colour}">{name}</text>'
        )
    return "\n".join(parts)


def drawing(rows: list[dict[str, Any]]) -> str:
    """Both charts beside each other."""
    memory = chart(rows, "largest_process_mib", "largest process, MiB", _LEFT)
    seconds = chart(rows, "cpu_s", "CPU ms for each picture", _LEFT + _WIDTH + _GAP)
    width, height = 2 * _WIDTH + _LEFT + _GAP + 30, _HEIGHT + _TOP + 46
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12">\n{memory}\n{seconds}\n</svg>\n'
    )


if __name__ == "__main__":
    found = json.loads(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(drawing(found["stored"]))
