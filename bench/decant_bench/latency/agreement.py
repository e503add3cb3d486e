"""Ratios of several latency records side by side: do runs of one machine agree, how do machines differ?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from decant_bench.common import machine
from decant_bench.common.intervals import Ratio
from decant_bench.common.record import Record
from decant_bench.common.tables import Table
from decant_bench.errors import BenchError
from decant_bench.latency import ratios
from decant_bench.latency.table import with_interval


@dataclass(frozen=True)
class Line:
    """One case against one reference in every record; None where a record has no such ratio."""

    key: str
    reference: str
    found: tuple[Ratio | None, ...]

    @property
    def agree(self) -> bool | None:
        """Do all intervals share a value pairwise? None where fewer than two records have the ratio."""
        there = [one for one in self.found if one is not None]
        if len(there) < 2:
            return None
        return all(a.overlaps(b) for i, a in enumerate(there) for b in there[i + 1 :])


@dataclass(frozen=True)
class Agreement:
    """``one_machine``: all records are of the same one, so that ratios should agree."""

    names: tuple[str, ...]
    one_machine: bool
    lines: tuple[Line, ...]
    busy: tuple[str, ...] = ()  # names of records whose machine was not quiet before or after

    @property
    def differing(self) -> list[Line]:
        """Where two records' intervals share no value."""
        return [line for line in self.lines if line.agree is False]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "names": list(self.names),
            "one_machine": self.one_machine,
            "busy": list(self.busy),
            "lines": [
                {
                    "key": line.key,
                    "reference": line.reference,
                    "agree": line.agree,
                    "ratios": [one and [one.ratio, one.low, one.high, one.processes] for one in line.found],
                }
                for line in self.lines
            ],
        }


def compare(records: Sequence[Record], names: Sequence[str], metric: str = "decode") -> Agreement:
    """The ratios to JPEG and AVIF of two or more latency records, of any machines. ``metric`` is one of
    ratios.METRICS. Raises BenchError where no case is in two of them.
    """
    lines = []
    for reference in ratios.REFERENCES:
        tables = [ratios.of(found, reference, metric) for found in records]
        for key in dict.fromkeys(key for table in tables for key in table):
            found = tuple(table.get(key) for table in tables)
            if sum(one is not None for one in found) > 1 and not _is_reference(records, key, reference):
                lines.append(Line(key, reference, found))
    if not lines:
        raise BenchError("no decoder has ratios in two of the records; measure the same bundles and codecs")
    identities = {tuple(str(one["machine"].get(name)) for name in machine.IDENTITY) for one in records}
    busy = tuple(name for name, one in zip(names, records, strict=True) if not _quiet(one))
    return Agreement(tuple(names), len(identities) == 1, tuple(lines), busy)


def _quiet(found: Record) -> bool:
    checks = [found["machine"].get(name) for name in ("quiet_before", "quiet_after")]
    return all(check is None or check["quiet"] for check in checks)


def _is_reference(records: Sequence[Record], key: str, reference: str) -> bool:
    row = ratios.reference_row(records[0], reference)
    return row is not None and row["key"] == key


def table(found: Agreement) -> Table:
    """A row a case and reference, a column a record."""
    rows = [
        [line.key, f"to {line.reference}", *(with_interval(one) for one in line.found), _verdict(line)]
        for line in found.lines
    ]
    note = (
        "Ratios of steady decodes with 95 % intervals. agree: the intervals of all records share a value "
        "pairwise."
    )
    if not found.one_machine:
        note += " The records are of different machines: where ratios differ, the machines do."
    if found.busy:
        note += (
            f" The machine was not quiet in {', '.join(found.busy)}: long decodes are interrupted more often "
            "than short ones, and ratios are too high."
        )
    return Table(("decoder", "ratio", *found.names, ""), rows, "Ratios of several records", note, left=2)


def _verdict(line: Line) -> str:
    return {True: "agree", False: "differ", None: "-"}[line.agree]
