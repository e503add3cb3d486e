"""Two latency records side by side: what became slower or quicker, and how sure that is.

Times from different machines, or of different work, do not compare; ``compare`` refuses them unless told
otherwise, and then says what differs.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from decant_bench.common import machine, stats
from decant_bench.common.record import Record
from decant_bench.common.tables import Table, number
from decant_bench.errors import BenchError

METRICS = ("decode", "load", "load_cold", "first_decode", "import")
_GROUPED = ("decode_ns", "load_ns", "load_cold_ns")  # samples by round; the others are one list


@dataclass(frozen=True)
class Line:
    """One subject in both records; medians in ms. B against A."""

    key: str
    label: str
    a_ms: float
    b_ms: float
    change: stats.Change


@dataclass(frozen=True)
class Comparison:
    """``differences``: machine and configuration fields that differ, one sentence each."""

    metric: str
    lines: tuple[Line, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    differences: tuple[str, ...]
    remarks: tuple[str, ...]

    def slower_than(self, ratio: float) -> list[Line]:
        """The lines whose median grew by more than ``ratio``, where chance does not explain it."""
        return [line for line in self.lines if line.change.ratio > ratio and line.change.significant]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        described = asdict(self)
        for line, shown in zip(self.lines, described["lines"], strict=True):
            shown["change"]["significant"] = line.change.significant
        return described


def compare(a: Record, b: Record, metric: str = "decode", *, force: bool = False) -> Comparison:
    """``b`` against ``a``. ``metric`` is one of METRICS.

    Raises BenchError when they come from different machines or configurations and ``force`` is not given, or
    have no subject in common.
    """
    if metric not in METRICS:
        raise ValueError(f"no metric {metric!r}; known: {', '.join(METRICS)}")
    found = differences(a, b)
    if found and not force:
        raise BenchError(f"the records cannot be compared: {'; '.join(found)}; --force compares them")
    rows_a, rows_b = _rows(a, metric), _rows(b, metric)
    shared = [key for key in rows_a if key in rows_b]
    if not shared:
        raise BenchError(f"no benchmark case has {metric} times in both records")
    return Comparison(
        metric=metric,
        lines=tuple(_line(key, rows_a[key], rows_b[key], metric) for key in shared),
        only_a=tuple(key for key in rows_a if key not in rows_b),
        only_b=tuple(key for key in rows_b if key not in rows_a),
        differences=tuple(found),
        remarks=tuple(_remarks(a, b)),
    )


def differences(a: Record, b: Record) -> list[str]:
    """What makes two records no pair: the machine's identity, then the configuration, field by field."""
    found = [
        f"machine {name}: {_short(a['machine'].get(name))} and {_short(b['machine'].get(name))}"
        for name in machine.IDENTITY
        if a["machine"].get(name) != b["machine"].get(name)
    ]
    if a["config_hash"] != b["config_hash"]:
        found += _differing("", a["config"], b["config"])
    return found


def as_text(found: Comparison) -> str:
    """For the terminal."""
    headers = (f"{found.metric}, median ms", "A", "B", "B / A", "95 % interval", "p", "")
    rows = [
        [
            line.key,
            number(line.a_ms),
            number(line.b_ms),
            f"{line.change.ratio:.3f}",
            f"{line.change.low:.3f} .. {line.change.high:.3f}",
            f"{line.change.p_value:.3f}",
            _verdict(line.change),
        ]
        for line in found.lines
    ]
    parts = [Table(headers, rows).text()]
    for name, keys in (("A", found.only_a), ("B", found.only_b)):
        if keys:
            parts.append(f"only in {name}: {', '.join(keys)}")
    parts += [f"differs: {what}" for what in found.differences]
    parts += [f"note: {what}" for what in found.remarks]
    return "\n".join(parts)


def _verdict(change: stats.Change) -> str:
    if not change.significant:
        return "no clear change"
    return "slower" if change.ratio > 1 else "quicker"


def _rows(record: Record, metric: str) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in record["rows"] if row["refused"] is None and row[f"{metric}_ns"]}


def _line(key: str, a: dict[str, Any], b: dict[str, Any], metric: str) -> Line:
    samples_a, samples_b = _samples(a, metric), _samples(b, metric)
    medians = [stats.summarise(stats.flatten(samples)).median / 1e6 for samples in (samples_a, samples_b)]
    return Line(key, a["label"], medians[0], medians[1], stats.compare(samples_a, samples_b))


def _samples(row: dict[str, Any], metric: str) -> stats.Rounds:
    name = f"{metric}_ns"
    return row[name] if name in _GROUPED else [[value] for value in row[name]]


def _remarks(a: Record, b: Record) -> list[str]:
    """Differences that one would want to know of, and that do not forbid comparing."""
    found = [
        f"{name}: {a['versions'].get(name)} and {b['versions'].get(name)}"
        for name in sorted({*a["versions"], *b["versions"]})
        if a["versions"].get(name) != b["versions"].get(name)
    ]
    for name in ("kernel", "governor"):
        if a["machine"].get(name) != b["machine"].get(name):
            found.append(f"{name}: {a['machine'].get(name)} and {b['machine'].get(name)}")
    for label, record in (("A", a), ("B", b)):
        described = record["machine"]
        if machine.busy(described.get("load_average"), described.get("cores_usable") or 1):
            found.append(f"the machine was busy when {label} began (load {described['load_average'][0]})")
    return found


def _differing(path: str, a: object, b: object) -> list[str]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return [
            line
            for key in sorted({*a, *b})
            if a.get(key) != b.get(key)
            for line in _differing(f"{path}.{key}" if path else str(key), a.get(key), b.get(key))
        ]
    return [f"{path}: {_short(a)} and {_short(b)}"]


def _short(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
