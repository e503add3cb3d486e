"""Decoding without a pause for minutes: what heat and limits of power leave of the first minute's speed."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from decant_bench.common import power
from decant_bench.common.cases import Case
from decant_bench.common.intervals import mean_interval
from decant_bench.common.record import Record
from decant_bench.common.tables import Table, number
from decant_bench.latency.case_process import CaseProcess, as_files

Say = Callable[[str], None]
_BLOCK = 5  # seconds resampled together


@dataclass(frozen=True)
class Options:
    """``workers`` decode for ``minutes``; a sample is about ``step_s`` of work."""

    minutes: float = 10.0
    workers: int = 1
    step_s: float = 1.0


def measure(
    case: Case, datas: Sequence[bytes], megapixels: float, options: Options, say: Say = lambda line: None
) -> Record:
    """A block of a latency record: lists with an entry a step: seconds since the start, nanoseconds a
    picture, clock, temperature, watts (None where the system does not tell).
    """
    lists: dict[str, list[Any]] = {
        name: [] for name in ("seconds", "ns_per_picture", "clock_mhz", "temperature_c", "watts")
    }
    with tempfile.TemporaryDirectory(prefix="decant-bench-") as place:
        files = as_files(Path(place), datas)
        say(f"sustained: {case.label} for {options.minutes:g} minutes")
        with CaseProcess(case, files) as process:
            quick = process.throughput(options.workers, 4 * options.workers)["ns"] / (4 * options.workers)
            count = max(1, round(options.step_s * 1e9 / quick))
            started = time.monotonic()
            while time.monotonic() - started < 60 * options.minutes:
                meter, begun = power.Energy(), time.monotonic()
                found = process.throughput(options.workers, count)
                joules, now = meter.joules(), time.monotonic()
                lists["seconds"].append(round(now - started, 3))
                lists["ns_per_picture"].append(found["ns"] / count)
                lists["clock_mhz"].append(power.clock_mhz())
                lists["temperature_c"].append(power.temperature_c())
                lists["watts"].append(None if joules is None else round(joules / (now - begun), 2))
            peak = process.throughput(options.workers, 1)["peak_memory_kib"]
    return {
        "label": case.label,
        "workers": options.workers,
        "minutes": options.minutes,
        "megapixels": megapixels,
        "peak_memory_kib": peak,
        **lists,
    }


def ends(block: Record) -> dict[str, float] | None:
    """The last minute's time a picture over the first's, with its interval: ``ratio``, ``low``, ``high``;
    blocks of seconds are resampled. Runs below two minutes are halved. None below four steps.
    """
    seconds, times = np.asarray(block["seconds"]), np.log(np.asarray(block["ns_per_picture"]))
    if len(seconds) < 4:
        return None
    span = min(60.0, float(seconds[-1]) / 2)
    first, last = times[seconds <= span], times[seconds > seconds[-1] - span]
    if not len(first) or not len(last):
        return None
    (low, low_reach), (high, high_reach) = (mean_interval(_blocks(part)) for part in (first, last))
    reach = float(np.hypot(low_reach, high_reach))
    return {
        "ratio": float(np.exp(high - low)),
        "low": float(np.exp(high - low - reach)),
        "high": float(np.exp(high - low + reach)),
        "span_s": span,
    }


def _blocks(values: np.ndarray) -> list[np.ndarray]:
    """Steps follow each other closely, so a few are one block; single steps where there are few."""
    size = _BLOCK if len(values) >= 4 * _BLOCK else 1
    return [values[i : i + size] for i in range(0, len(values) - size + 1, size)]


def table(block: Record) -> Table:
    """First and last minute."""
    found = ends(block)
    seconds = np.asarray(block["seconds"])
    span = found["span_s"] if found else float(seconds[-1])
    rows = []
    for name, chosen in (("first", seconds <= span), ("last", seconds > seconds[-1] - span)):
        per_picture = np.median(np.asarray(block["ns_per_picture"])[chosen]) / 1e6
        told = [
            _mean([value for value, use in zip(block[key], chosen, strict=True) if use])
            for key in ("clock_mhz", "temperature_c", "watts")
        ]
        rows.append(
            [name, number(float(per_picture)), number(1e3 * block["megapixels"] / per_picture), *told]
        )
    about = (
        f"{block['label']}, {block['workers']} workers, {block['minutes']:g} minutes without a pause; peak "
        f"memory {number((block['peak_memory_kib'] or 0) / 1024)} MiB."
    )
    if found:
        about += (
            f" Time a picture, last over first {found['span_s']:.0f} s: {found['ratio']:.3f} "
            f"({found['low']:.3f} to {found['high']:.3f})."
        )
    return Table(("", "ms a picture", "MP/s", "clock, MHz", "temperature, C", "W"), rows, "Sustained", about)


def _mean(values: Sequence[float | None]) -> str:
    there = [value for value in values if value is not None]
    return number(float(np.mean(there))) if there else "-"
