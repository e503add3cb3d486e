"""Engines run a task's units: in this process, in local worker processes, or with Ray (ray_engine.py).

Results come in any order. A worker that vanishes (killed, out of memory) is replaced and its unit done again;
a picture at which two workers vanished is a failure of that picture.
"""

import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from typing import IO, Any, Protocol

from decant.archive.tasks import Step, Task, UnitResult
from decant.errors import DecantError
from decant.process.cores import usable_cores

# How often a unit may lose its worker before a picture has been tried; later, the run ends.
_LOST_AT_START = 3
_LOST_AT_PICTURE = 2
_TELL_INTERVAL_S = 0.02
_LONGEST_END_S = 30.0
_LENGTH = struct.Struct("<Q")

Watch = Callable[[Step], None]


class Engine(Protocol):
    """Runs units and gives their results as they come."""

    def run(self, task: Task, units: Iterable[int], watch: Watch) -> Iterator[UnitResult]:
        """Do ``units``; ``watch`` is told of every picture. Raises what the task raises."""


def engine_of(name: str, workers: int = 0) -> Engine:
    """``local`` (with 1 worker too), ``serial`` (this process alone) or ``ray``; ``workers`` 0 means all
    cores. Raises DecantError for another name, MissingExtraError.
    """
    if name == "serial":
        return SerialEngine()
    if name == "local":
        return LocalEngine(workers or usable_cores())
    if name == "ray":
        from decant.archive.ray_engine import RayEngine

        return RayEngine(workers)
    raise DecantError(f"engine {name!r}; local, serial or ray expected")


class SerialEngine:
    """Everything in this process, one unit after the other."""

    def run(self, task: Task, units: Iterable[int], watch: Watch) -> Iterator[UnitResult]:
        """Do ``units`` here."""
        task.open()
        for unit in units:
            yield task.run(unit, watch, {})


class LocalEngine:
    """Worker processes of this machine, each a fresh interpreter with one thread of work."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def run(self, task: Task, units: Iterable[int], watch: Watch) -> Iterator[UnitResult]:
        """Do ``units`` in worker processes."""
        todo = list(units)
        jobs: SimpleQueue[int | None] = SimpleQueue()
        results: SimpleQueue[UnitResult | BaseException | list[Step]] = SimpleQueue()
        for unit in todo:
            jobs.put(unit)
        count = min(self._workers, len(todo))
        keepers = [_Keeper(pickle.dumps(task), jobs, results) for _ in range(count)]
        for _ in keepers:
            jobs.put(None)
        for keeper in keepers:
            keeper.start()
        try:
            left = len(todo)
            while left:
                found = results.get()
                if isinstance(found, BaseException):
                    raise found
                if isinstance(found, list):
                    for step in found:
                        watch(step)
                    continue
                left -= 1
                yield found
        finally:
            while not jobs.empty():
                with suppress(Exception):
                    jobs.get_nowait()
            for keeper in keepers:
                keeper.stop()
            for keeper in keepers:
                keeper.wait()


class _Keeper:
    """Keeps one worker process busy, and replaces it when it vanishes."""

    def __init__(self, task: bytes, jobs: "SimpleQueue[int | None]", results: "SimpleQueue[Any]") -> None:
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._task = task
        self._jobs = jobs
        self._results = results
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def start(self) -> None:
        """Begin to take units."""
        self._thread.start()

    def _serve(self) -> None:
        try:
            while not self._stopped and (unit := self._jobs.get()) is not None:
                self._results.put(self._unit(unit))
        except BaseException as error:
            if not self._stopped:
                self._results.put(error)
        finally:
            self._end()

    def stop(self) -> None:
        """End the worker at once."""
        self._stopped = True
        self._end()

    def wait(self) -> None:
        """Until the worker has ended."""
        if self._thread.ident is not None:
            self._thread.join(_LONGEST_END_S)

    def _unit(self, unit: int) -> UnitResult:
        lethal: dict[int, str] = {}
        lost: dict[int, int] = {}
        told: set[int] = set()
        starts_lost, one_by_one = 0, False
        while True:
            begun = -1
            try:
                process = self._started()
                _send(process.stdin, (unit, lethal, one_by_one))
                while True:
                    message = _receive(process.stdout)
                    if isinstance(message, list):
                        begun = message[-1].index if message[-1].begun else begun
                        new = [step for step in message if not step.begun and step.index not in told]
                        told.update(step.index for step in new)
                        self._results.put(new)
                        continue
                    if isinstance(message, BaseException):
                        raise message
                    assert isinstance(message, UnitResult)
                    return message
            except (EOFError, BrokenPipeError):
                how = self._end()
                if self._stopped:
                    raise
                starts_lost += begun < 0
                if starts_lost >= _LOST_AT_START:
                    raise DecantError(
                        f"a worker process {how} {_LOST_AT_START} times before its first picture; "
                        "see its messages above"
                    ) from None
                if begun >= 0 and one_by_one:
                    lost[begun] = lost.get(begun, 0) + 1
                    if lost[begun] >= _LOST_AT_PICTURE:
                        lethal[begun] = f"the process that worked on it {how} whenever it was tried"
                one_by_one = True  # from now on it is known which picture ends the worker

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            # A session of its own: Ctrl-C on a terminal reaches this process, which ends its workers.
            process = subprocess.Popen(
                [sys.executable, "-m", "decant.archive.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                env=_environment(),
            )
            self._process = process
            if self._stopped:
                process.kill()
            _send(process.stdin, self._task)
        return self._process

    def _end(self) -> str:
        """End the worker; in words, how it ended before."""
        process, self._process = self._process, None
        if process is None:
            return "did not start"
        if self._stopped:
            process.kill()
        elif process.stdin is not None:
            with suppress(OSError):  # what was written last may find no reader
                process.stdin.close()
        process.wait()
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):
                if stream is not None:
                    stream.close()
        code = process.returncode
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _environment() -> dict[str, str]:
    """This process's environment; modules are found where they are found here."""
    path = os.pathsep.join(part for part in sys.path if part)
    return {**os.environ, "PYTHONPATH": path}


def _send(stream: IO[bytes] | None, value: Any) -> None:
    assert stream is not None
    data = value if isinstance(value, bytes) else pickle.dumps(value)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def _receive(stream: IO[bytes] | None) -> Any:
    """The next message. Raises EOFError where the other side has gone."""
    assert stream is not None
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return pickle.loads(data)


def serve(source: IO[bytes], target: IO[bytes]) -> None:
    """What a worker process does: open the task, then units until ``source`` ends. Messages go to ``target``;
    what the task raises ends the worker.
    """
    task: Task = _receive(source)
    trouble: Exception | None = None
    try:
        task.open()
    except Exception as error:  # said in answer to the first unit
        trouble = error
    try:
        while True:
            unit, lethal, one_by_one = _receive(source)
            if trouble is not None:
                raise trouble
            teller = _Teller(target, one_by_one=one_by_one)
            result = task.run(unit, teller.tell, lethal)
            teller.flush()
            _send(target, result)
    except (BrokenPipeError, EOFError):
        return
    except Exception as error:
        with suppress(BrokenPipeError):
            _send(target, _portable(error))


class _Teller:
    """Sends the steps of a worker, several in one message: at once where ``one_by_one``, so that it is known
    which picture ended the worker, and otherwise every few milliseconds.
    """

    def __init__(self, target: IO[bytes], *, one_by_one: bool) -> None:
        self._target = target
        self._interval = 0.0 if one_by_one else _TELL_INTERVAL_S
        self._waiting: list[Step] = []
        self._last = 0.0

    def tell(self, step: Step) -> None:
        """Take a step, and send those that wait when it is time."""
        first = not self._last
        if not step.begun or first or not self._interval:
            self._waiting.append(step)
        now = time.monotonic()
        if now - self._last >= self._interval and self._waiting:
            self._last = now
            self.flush()

    def flush(self) -> None:
        """Send what waits."""
        if self._waiting:
            _send(self._target, self._waiting)
            self._waiting = []


def _portable(error: Exception) -> Exception:
    """An error that survives being sent."""
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror or str(error), error.filename)
    if isinstance(error, DecantError):
        return type(error)(str(error))
    return DecantError(f"{type(error).__name__}: {error}")
