"""A case measured in a process of its own, from the start of its interpreter to as many decodes as asked.

In one process the cases would change each other's times: decant's decoders change how the allocator keeps
memory, and the threads of runtimes go on spinning for a while after each run.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from decant_bench.common import allocator as allocators
from decant_bench.common.cases import Case
from decant_bench.common.peer import elsewhere, end
from decant_bench.common.visits import Work

TIMEOUT_S = 300.0  # of one request


class CaseProcess(Work):
    """``case`` in a fresh interpreter; a context manager, whose process ends with it.

    ``cold`` has, after entering, import_ns, load_ns, first_decode_ns, peak_memory_kib, cache_left (see
    page_cache.drop) and cold_process_ns: from before the interpreter starts to the first pixels, without the
    time to drop the file cache. Every method raises RuntimeError with the process's last line where it fails.
    """

    def __init__(
        self,
        case: Case,
        files: Sequence[Path],
        dropped: Sequence[Path] = (),
        rounds_ns: list[list[int]] | None = None,
        timeout_s: float = TIMEOUT_S,
        allocator: str = allocators.ALLOCATORS[0],
    ) -> None:
        """``files``: the pictures; ``dropped``: what leaves the file cache just before the first load;
        ``allocator``: of common/allocator.py.
        """
        super().__init__(case.key, files, elsewhere, [] if rounds_ns is None else rounds_ns)
        self.case = case
        self.cold: dict[str, Any] = {}
        self._task = {
            "subject": case.as_dict(),
            "files": [str(path) for path in files],
            "cold": [str(path) for path in dropped],
        }
        self._timeout_s = timeout_s
        self._environment = os.environ | allocators.variables(allocator)
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[str] | None = None

    def __enter__(self) -> "CaseProcess":
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        started = time.monotonic_ns()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "decant_bench.latency.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=self._environment,
        )
        try:
            self.cold = self._exchange(self._task)
        except RuntimeError:
            self._end()
            raise
        # The monotonic clock is the system's: both processes read the same one.
        first = self.cold.pop("first_pixels_at")
        self.cold["cold_process_ns"] = first - started - self.cold.pop("dropping_ns")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def visit(self, number: int, count: int, repeats: int) -> list[int]:
        """See Work."""
        samples: list[int] = self._exchange(["visit", [number, count, repeats]])
        return samples

    def quickest(self, count: int) -> int:
        """See Work."""
        spent: int = self._exchange(["quickest", [count]])
        return spent

    def page_faults(self, count: int) -> float | None:
        """Page faults of a steady decode, mean of ``count`` pictures; None where the system counts none."""
        found: float | None = self._exchange(["page_faults", [count]])
        return found

    def load(self, number: int, dropped: Sequence[Path] = ()) -> int:
        """Nanoseconds of loading once more in that process."""
        spent: int = self._exchange(["load", [number, [str(path) for path in dropped]]])
        return spent

    def throughput(self, threads: int, count: int) -> dict[str, Any]:
        """``count`` pictures through ``threads`` workers: ns, cpu_ns, peak_memory_kib."""
        found: dict[str, Any] = self._exchange(["throughput", [threads, count]])
        return found

    def _exchange(self, request: Any) -> Any:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Timer(self._timeout_s, process.kill)
        late.start()
        try:
            with suppress(BrokenPipeError):  # it ended; its last line says why
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
            line = process.stdout.readline()
        finally:
            timed_out = not late.is_alive()
            late.cancel()
        if line:
            return json.loads(line)
        process.wait()
        if timed_out:
            raise RuntimeError(f"{self.key}: nothing after {self._timeout_s:.0f} s in a fresh process")
        raise RuntimeError(f"{self.key}: failed in a fresh process: {self._last_line(process.returncode)}")

    def _last_line(self, code: int) -> str:
        assert self._errors is not None
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return lines[-1] if lines else f"exit code {code}"

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            end(process)
        if self._errors is not None:
            self._errors.close()


def as_files(folder: Path, datas: Sequence[bytes]) -> list[Path]:
    """``datas`` as files of ``folder``, which is made, for a CaseProcess. Raises OSError."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:05}" for number in range(len(datas))]
    for path, data in zip(paths, datas, strict=True):
        path.write_bytes(data)
    return paths
