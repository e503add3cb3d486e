"""The phases of a latency run; each adds samples, in nanoseconds, to the rows of its cases.

The processes come first. Each of ``fresh_rounds`` times every case starts in a process of its own, which
gives the cold times and then loads and steady decodes, interleaved with all other cases. What differs between
processes is so in the samples, and the intervals of ratios know of it (common/intervals.py).
"""

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decant_bench.common.baselines import CODECS, setting
from decant_bench.common.cases import Case
from decant_bench.common.schedule import Budget, shuffled_rounds
from decant_bench.common.visits import Pace, interleave
from decant_bench.errors import BenchError
from decant_bench.latency import page_cache
from decant_bench.latency.case_process import CaseProcess

if TYPE_CHECKING:
    from decant_bench.latency.measure import Options

_COLD = ("cold_process_ns", "import_ns", "first_decode_ns", "peak_memory_kib")


@dataclass
class State:
    """A case ready to be measured: its row, its files, and what loading it reads."""

    case: Case
    row: dict[str, Any]
    files: list[Path]
    cold: list[Path]
    failed: bool = False

    def refuse(self, reason: str) -> None:
        """Measure it no more, and say why."""
        self.failed = True
        self.row["refused"] = reason


def run_all(states: list[State], options: "Options", budget: Budget, say: Callable[[str], None]) -> None:
    """All phases; each may use the time up to its share of ``budget``."""
    processes(states, options, budget, 0.9, say)
    alive = [state for state in states if not state.failed]
    if not alive:
        reasons = "; ".join(str(state.row["refused"]) for state in states[:3])
        raise BenchError(f"nothing could be measured: every case failed in a fresh process ({reasons})")
    whole_sets(alive, options, budget, 1.0, say)


def processes(
    states: list[State], options: "Options", budget: Budget, share: float, say: Callable[[str], None]
) -> None:
    """Cold processes, each with its share of loads and steady decodes."""
    count = options.fresh_rounds
    pace = Pace(  # of one process
        math.ceil(options.rounds / count),
        options.images_per_visit,
        options.visit_ms,
        math.ceil(options.min_samples / count),
        options.min_seconds / count,
    )
    orders = shuffled_rounds(states, options.seed)
    for number in range(count):
        say(f"processes: {number + 1} of {count}")
        with ExitStack() as stack:
            started = _start([state for state in next(orders) if not state.failed], stack, options.allocator)
            try:
                _loads(started, math.ceil(options.load_rounds / count), number)
                interleave(
                    [process for _, process in started],
                    pace,
                    options.seed + 2 + number,
                    lambda: budget.used_up(share),
                )
            except RuntimeError as error:  # it has decoded before
                raise BenchError(str(error)) from None
            for state, process in started:
                state.row["decode_ns"] += process.rounds_ns
                state.row["decode_processes"] += [number] * len(process.rounds_ns)
                state.row["page_faults"].append(process.page_faults(options.images_per_visit))
        if budget.used_up(share):
            return


def _start(states: list[State], stack: ExitStack, allocator: str) -> list[tuple[State, CaseProcess]]:
    """A process for each case, one after another, while those that are there wait for requests."""
    started = []
    for state in states:
        try:
            process = stack.enter_context(
                CaseProcess(state.case, state.files, state.cold, allocator=allocator)
            )
        except RuntimeError as error:
            state.refuse(str(error))
            continue
        for name in _COLD:
            state.row[name].append(process.cold[name])
        state.row["fresh_load_ns"].append(process.cold["load_ns"])
        started.append((state, process))
    return started


def _loads(started: list[tuple[State, CaseProcess]], rounds: int, process_number: int) -> None:
    """Load again in each process: once with the files in the system's cache, once without."""
    for number in range(rounds):
        for state, process in started:
            file = state.files[number % len(state.files)]
            files = state.cold if state.case.kind == "model" else [file]
            left = page_cache.drop(files)
            if left is not None:
                state.row["load_cold_ns"].append([process.load(number, files)])
                state.row["cache_left"] = max(left, state.row["cache_left"] or 0.0)
            for path in files:
                path.read_bytes()
            state.row["load_ns"].append([process.load(number)])
            state.row["load_processes"].append(process_number)


def whole_sets(
    states: list[State], options: "Options", budget: Budget, share: float, say: Callable[[str], None]
) -> None:
    """All pictures through as many workers as threads."""
    say(f"whole sets: {options.batch_rounds} rounds")
    jobs = [(state, count) for state in states for count in _batch_threads(state, options)]
    rounds = shuffled_rounds(jobs, options.seed + 3)
    with ExitStack() as stack:
        running = {
            state.case.key: stack.enter_context(
                CaseProcess(state.case, state.files, allocator=options.allocator)
            )
            for state in states
        }
        for number in range(options.batch_rounds):
            for state, count in next(rounds):
                if number and budget.used_up(share):
                    return
                spent = running[state.case.key].throughput(count, len(state.files))["ns"]
                state.row["batch_ns_per_image"].setdefault(str(count), []).append(spent / len(state.files))


def _batch_threads(state: State, options: "Options") -> tuple[int, ...]:
    """A bundle's decoder has its threads; a codec with one row gets all counts."""
    if state.case.kind == "model":
        return (state.case.threads,)
    threaded = CODECS[setting(state.case.name).codec].threaded
    return (state.case.threads,) if threaded else options.threads
