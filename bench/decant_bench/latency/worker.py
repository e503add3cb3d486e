"""One case in a process of its own: import, load, first decode, peak memory; then whatever is asked.

``python -m decant_bench.latency.worker`` reads a JSON object a line from stdin, the case first, and writes
one a line to stdout; ``case_process.CaseProcess`` is the other side. Only what the interpreter has loaded
anyway is imported at the top, since the time of imports and the memory they take are what is measured.
"""

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from decant_bench.common.cases import Case, Decode

DECODES = 4  # pictures decoded before the peak of memory is read


class _Server:
    """The case after its first decode; each method answers a request of the same name."""

    def __init__(self, case: "Case", files: "list[Path]", datas: list[bytes], decode: "Decode") -> None:
        from decant_bench.common.visits import Work

        self._case, self._files, self._datas = case, files, datas
        self._work = Work(case.key, datas, decode)

    def visit(self, number: int, count: int, repeats: int) -> list[int]:
        """Steady decodes; see visits.Work."""
        return self._work.visit(number, count, repeats)

    def quickest(self, count: int) -> int:
        """See visits.Work."""
        return self._work.quickest(count)

    def page_faults(self, count: int) -> float | None:
        """Page faults of a decode: the mean of the first ``count`` pictures, each decoded once before."""
        from decant_bench.common import machine

        datas = self._datas[:count]
        for data in datas:
            self._work.run(data)
        before = machine.page_faults()
        for data in datas:
            self._work.run(data)
        after = machine.page_faults()
        return None if before is None or after is None else (after - before) / len(datas)

    def load(self, number: int, cold: list[str]) -> int:
        """Nanoseconds of loading once more; the files ``cold`` are dropped from the file cache before, the
        others read.
        """
        from pathlib import Path

        from decant_bench.common.visits import timed
        from decant_bench.latency import page_cache

        file = self._files[number % len(self._files)]
        if cold:
            page_cache.drop(Path(path) for path in cold)
        else:
            file.read_bytes()
        return timed(self._case.load, file)

    def throughput(self, threads: int, count: int) -> dict[str, Any]:
        """``count`` pictures one after another through ``threads`` workers, each dropped when it is there:
        nanoseconds, processor time, peak memory.
        """
        from decant_bench.common import machine

        pictures = [self._datas[i % len(self._datas)] for i in range(count)]
        decoded = self._case.streaming(threads)
        for _ in decoded(pictures[: 2 * threads]):
            pass
        used, before = time.process_time_ns(), time.perf_counter_ns()
        for _ in decoded(pictures):
            pass
        after = time.perf_counter_ns()
        return {
            "ns": after - before,
            "cpu_ns": time.process_time_ns() - used,
            "peak_memory_kib": machine.peak_memory_kib(),
        }


def _begin(task: dict[str, Any]) -> tuple[dict[str, Any], _Server]:
    started = time.perf_counter_ns()
    from decant_bench.common.cases import from_dict

    case = from_dict(task["subject"])
    case.prepare()
    imported = time.perf_counter_ns()

    from pathlib import Path

    from decant_bench.common import machine
    from decant_bench.latency import page_cache

    files = [Path(path) for path in task["files"]]
    datas = [path.read_bytes() for path in files]
    cache_left = page_cache.drop(Path(path) for path in task["cold"]) if task["cold"] else None

    dropped = time.perf_counter_ns()
    before_load = time.perf_counter_ns()
    decode = case.load(files[0])
    loaded = time.perf_counter_ns()
    decode(datas[0])
    decoded = time.perf_counter_ns()
    first_pixels_at = time.monotonic_ns()
    for data in datas[1:DECODES]:
        decode(data)
    cold = {
        "first_pixels_at": first_pixels_at,
        "dropping_ns": dropped - imported,
        "import_ns": imported - started,
        "load_ns": loaded - before_load,
        "first_decode_ns": decoded - loaded,
        "peak_memory_kib": machine.peak_memory_kib(),
        "cache_left": cache_left,
    }
    return cold, _Server(case, files, datas, decode)


def _serve() -> None:
    """Answer requests until stdin ends. Whatever a library prints goes to stderr: it is no answer."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    cold, server = _begin(json.loads(sys.stdin.readline()))
    answer: Any = cold
    while True:
        print(json.dumps(answer), file=answers, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        what, arguments = json.loads(line)
        answer = getattr(server, what)(*arguments)


if __name__ == "__main__":
    _serve()
