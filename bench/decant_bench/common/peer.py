"""A codec's decodes timed in a process of its own.

In the benchmark's process a codec's times depend on what else lives there: the runtimes' threads go on
spinning for a while after each run, and memory is laid out otherwise. So each codec has a process of its own,
renewed every few rounds.

``python -m decant_bench.common.peer`` is the other side: it reads pickled requests from stdin and writes
pickled answers to stdout. Both ends are this program.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any

from decant_bench.common import allocator as allocators
from decant_bench.common.codecs import Codec
from decant_bench.common.visits import Work
from decant_bench.errors import BenchError

# Rounds between new processes: the figures are then of several layouts of memory, not of one.
RENEWED = 5


class PeerWork(Work):
    """The decodes of ``codec`` (a codecs.Codec that can be pickled), timed in another process. A context
    manager: the process ends with it.
    """

    def __init__(
        self,
        key: str,
        codec: Codec,
        threads: int,
        datas: Sequence[bytes],
        rounds_ns: list[list[int]] | None = None,
        *,
        allocator: str = allocators.ALLOCATORS[0],
    ) -> None:
        """``allocator``: of common/allocator.py."""
        super().__init__(key, datas, elsewhere, [] if rounds_ns is None else rounds_ns)
        self._task = (key, codec, threads, list(datas))
        self._environment = os.environ | allocators.variables(allocator)
        self._process: subprocess.Popen[bytes] | None = None
        self._visits = 0

    def __enter__(self) -> "PeerWork":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def visit(self, number: int, count: int, repeats: int) -> list[int]:
        """See Work. Raises BenchError when the process fails."""
        if self._visits % RENEWED == 0:
            self._end()
        self._visits += 1
        samples: list[int] = self._ask(("visit", number, count, repeats))
        return samples

    def quickest(self, count: int) -> int:
        """See Work. Raises BenchError when the process fails."""
        spent: int = self._ask(("quickest", count))
        return spent

    def _ask(self, request: tuple[Any, ...]) -> Any:
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump(request, process.stdin)
            process.stdin.flush()
            return pickle.load(process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            code = self._end()
            raise BenchError(f"{self.key}: its process ended with code {code}") from None

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-P", "-m", "decant_bench.common.peer"]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment
        )
        self._process = process
        if self._ask(self._task) != "ready":
            raise BenchError(f"{self.key}: its process did not start")
        return process

    def _end(self) -> int | None:
        """End the process, if there is one; its exit code."""
        process, self._process = self._process, None
        return None if process is None else end(process)


def end(process: subprocess.Popen[Any]) -> int:
    """Close the pipes of ``process``, which ends with its stdin; its exit code."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(BrokenPipeError):  # what it did not read
                stream.close()
    return process.wait()


def elsewhere(item: Any) -> None:
    """The ``run`` of work that another process does."""
    raise AssertionError("this work is done in a process of its own")


def _serve() -> None:
    """Answer requests until stdin ends."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # whatever a library prints is no answer
    key, codec, threads, datas = pickle.load(requests)
    work = Work(key, datas, partial(codec.decode, threads=threads))
    answer: Any = "ready"
    while True:
        pickle.dump(answer, answers)
        answers.flush()
        try:
            what, *arguments = pickle.load(requests)
        except EOFError:
            return
        answer = getattr(work, what)(*arguments)


if __name__ == "__main__":
    _serve()
