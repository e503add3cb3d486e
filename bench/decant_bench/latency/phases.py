"""The four phases of a latency run; each adds samples, in nanoseconds, to the rows of its cases."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decant_bench.common.baselines import CODECS, setting
from decant_bench.common.cases import Case, Decode
from decant_bench.common.peer import PeerWork
from decant_bench.common.schedule import Budget, shuffled_rounds
from decant_bench.common.visits import Work, interleave, timed
from decant_bench.errors import BenchError
from decant_bench.latency import page_cache, worker

if TYPE_CHECKING:
    from decant.decoder import Decoder

    from decant_bench.latency.measure import Options


@dataclass
class State:
    """A case ready to be measured: its row, its files and their bytes, and what loading it reads."""

    case: Case
    row: dict[str, Any]
    files: list[Path]
    datas: list[bytes]
    cold: list[Path]
    decode: Decode
    decoder: "Decoder | None"
    failed: bool = False


def run_all(states: list[State], options: "Options", budget: Budget, say: Callable[[str], None]) -> None:
    """All phases; each may use the time up to its share of ``budget``."""
    fresh(states, options, budget, 0.3, say)
    alive = [state for state in states if not state.failed]
    if not alive:
        raise BenchError("nothing could be measured: every case failed in a fresh process")
    loads(alive, options, budget, 0.5, say)
    decodes(alive, options, budget, 0.9, say)
    batches(alive, options, budget, 1.0, say)


def fresh(
    states: list[State], options: "Options", budget: Budget, share: float, say: Callable[[str], None]
) -> None:
    """Cold process, import, first load from a cold file cache, first decode, peak memory: one process a
    sample.
    """
    rounds = shuffled_rounds(states, options.seed)
    for number in range(options.fresh_rounds):
        say(f"fresh processes: round {number + 1} of {options.fresh_rounds}")
        for state in next(rounds):
            if state.failed:
                continue
            try:
                found = worker.measure(state.case, state.files, state.cold)
            except RuntimeError as error:
                state.failed = True
                state.row["refused"] = str(error)
                continue
            state.row["cold_process_ns"].append(found["cold_process_ns"])
            state.row["import_ns"].append(found["import_ns"])
            state.row["fresh_load_ns"].append(found["load_ns"])
            state.row["first_decode_ns"].append(found["first_decode_ns"])
            state.row["peak_memory_kib"].append(found["peak_memory_kib"])
        if budget.used_up(share):
            return


def loads(
    states: list[State], options: "Options", budget: Budget, share: float, say: Callable[[str], None]
) -> None:
    """Load again and again in this process: once with the files in the system's cache, once without."""
    say(f"loads: {options.load_rounds} rounds")
    rounds = shuffled_rounds(states, options.seed + 1)
    for number in range(options.load_rounds):
        for state in next(rounds):
            file = state.files[number % len(state.files)]
            cold_files = state.cold if state.decoder is not None else [file]
            left = page_cache.drop(cold_files)
            if left is not None:
                state.row["load_cold_ns"].append([timed(state.case.load, file)])
                state.row["cache_left"] = max(left, state.row["cache_left"] or 0.0)
            for path in cold_files:
                path.read_bytes()
            state.row["load_ns"].append([timed(state.case.load, file)])
        if budget.used_up(share):
            return


def decodes(
    states: list[State], options: "Options", budget: Budget, share: float, say: Callable[[str], None]
) -> None:
    """Steady decodes. Every case of a round decodes the same pictures; quick ones go through them more
    often.
    """
    say(f"decodes: at least {options.rounds} rounds")
    with ExitStack() as peers:
        works = [_decoding(state, peers) for state in states]
        interleave(works, options, options.seed + 2, lambda: budget.used_up(share))


def _decoding(state: State, peers: ExitStack) -> Work:
    """The steady decodes of a case: a bundle's in this process, a codec's in one of its own."""
    case, samples = state.case, state.row["decode_ns"]
    if state.decoder is not None:
        return Work(case.key, state.datas, state.decode, samples)
    codec = CODECS[setting(case.name).codec]
    return peers.enter_context(PeerWork(case.key, codec, case.threads, state.datas, samples))


def batches(
    states: list[State], options: "Options", budget: Budget, share: float, say: Callable[[str], None]
) -> None:
    """The whole set at once: decode_batch for a bundle, as many workers for a codec."""
    say(f"whole sets: {options.batch_rounds} rounds")
    jobs = [(state, count) for state in states for count in _batch_threads(state, options)]
    rounds = shuffled_rounds(jobs, options.seed + 3)
    for number in range(options.batch_rounds):
        for state, count in next(rounds):
            if number and budget.used_up(share):
                return
            spent = timed(_decode_all, state, count)
            state.row["batch_ns_per_image"].setdefault(str(count), []).append(spent / len(state.datas))


def _batch_threads(state: State, options: "Options") -> tuple[int, ...]:
    """A bundle's decoder has its threads; a codec with one row gets all counts."""
    if state.decoder is not None:
        return (state.case.threads,)
    threaded = CODECS[setting(state.case.name).codec].threaded
    return (state.case.threads,) if threaded else options.threads


def _decode_all(state: State, threads: int) -> None:
    if state.decoder is not None:
        state.decoder.decode_batch(state.datas)
        return
    decode = setting(state.case.name).decoder(1)
    if threads == 1:
        for data in state.datas:
            decode(data)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(decode, state.datas):
            pass
