"""Pictures per second with several workers: one process decodes the same files with each number of workers in
turn, and drops every picture when it is there.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decant_bench.common import power, stats
from decant_bench.common.cases import Case
from decant_bench.common.intervals import Ratio, paired
from decant_bench.common.record import Record
from decant_bench.common.schedule import shuffled_rounds
from decant_bench.common.tables import Table, number
from decant_bench.latency.case_process import CaseProcess, as_files

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """``workers`` at a time; ``pictures`` a round; ``processes`` one after another."""

    workers: tuple[int, ...] = (1, 2)
    pictures: int = 1000
    rounds: int = 3
    processes: int = 3
    seed: int = 0


def measure(
    case: Case, datas: Sequence[bytes], megapixels: float, options: Options, say: Say = lambda line: None
) -> Record:
    """A block of a latency record: ``ns`` by number of workers in rounds, processor time, peak memory, and
    joules where the processor tells. Raises RuntimeError where the case cannot run.
    """
    block: Record = {
        "label": case.label,
        "pictures": options.pictures,
        "megapixels": megapixels,
        "ns": {str(workers): [] for workers in options.workers},
        "cpu_ns": {str(workers): [] for workers in options.workers},
        "joules": {str(workers): [] for workers in options.workers},
        "processes": [],
        "peak_memory_kib": [],
    }
    with tempfile.TemporaryDirectory(prefix="decant-bench-") as place:
        files = as_files(Path(place), datas)
        orders = shuffled_rounds(options.workers, options.seed)
        for process_number in range(options.processes):
            say(f"throughput of {case.label}: process {process_number + 1} of {options.processes}")
            with CaseProcess(case, files) as process:
                for _ in range(options.rounds):
                    _round(process, block, next(orders), options.pictures)
                    block["processes"].append(process_number)
                block["peak_memory_kib"].append(block.pop("_peak"))
    return block


def _round(process: CaseProcess, block: Record, order: Sequence[int], pictures: int) -> None:
    for workers in order:
        meter = power.Energy()
        found = process.throughput(workers, pictures)
        joules = meter.joules()
        block["ns"][str(workers)].append([found["ns"]])
        block["cpu_ns"][str(workers)].append(found["cpu_ns"])
        if joules is not None:
            block["joules"][str(workers)].append(joules)
        block["_peak"] = found["peak_memory_kib"]


def gain(block: Record, workers: str) -> Ratio | None:
    """How many times as many pictures ``workers`` decode in a second as one does."""
    return paired(block["ns"][workers], block["ns"]["1"], block["processes"])


HEADERS = (
    "throughput", "workers", "pictures/s", "MP/s", "to one\nworker", "processor ms\na picture", "J a picture",
    "peak MiB",
)  # fmt: skip
NOTE = (
    "Pictures of one kind through so many workers of one process, each on one thread; rounds with each "
    "number of workers in turn. In brackets: 95 % interval. J: of all processor packages (RAPL), idle power "
    "included."
)


def table(blocks: Sequence[Record]) -> Table:
    """A row a decoder and number of workers."""
    rows: list[list[Any]] = []
    for block in blocks:
        for workers, rounds in block["ns"].items():
            seconds = stats.summarise(stats.flatten(rounds)).median / 1e9 / block["pictures"]
            joules, peaks = block["joules"][workers], [kib for kib in block["peak_memory_kib"] if kib]
            times = gain(block, workers) if "1" in block["ns"] else None
            rows.append(
                [
                    block["label"],
                    workers,
                    number(1 / seconds),
                    number(block["megapixels"] / seconds),
                    "-" if times is None else str(times),
                    number(stats.summarise(block["cpu_ns"][workers]).median / 1e6 / block["pictures"]),
                    number(stats.summarise(joules).median / block["pictures"]) if joules else "-",
                    number(max(peaks) / 1024 if peaks else None),
                ]
            )
    return Table(HEADERS, rows, "Throughput", NOTE)
