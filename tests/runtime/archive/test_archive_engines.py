"""The local engine: every unit once, whatever happens to its workers."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from decant.archive.engines import LocalEngine, SerialEngine, engine_of
from decant.archive.tasks import Step
from decant.errors import DecantError, FormatError
from lethal_task import LethalTask


def run(task: LethalTask, workers: int = 2, units: int = 6) -> tuple[list, list[Step]]:
    """Results by unit, and the steps that were told."""
    steps: list[Step] = []
    results = LocalEngine(workers).run(task, range(units), steps.append)
    return sorted(results, key=lambda result: result.unit), steps


def test_a_worker_that_vanishes_is_replaced(tmp_path: Path):
    results, steps = run(LethalTask(2, 1, str(tmp_path / "seen"), always=False))
    assert [(r.unit, r.pictures, r.failed) for r in results] == [(unit, 4, 0) for unit in range(6)]
    assert sum(not step.begun for step in steps) == 24  # the picture done before the end is told once
    assert (tmp_path / "seen").exists()


def test_a_picture_that_ends_every_worker_fails_alone(tmp_path: Path):
    results, _ = run(LethalTask(2, 1, str(tmp_path / "seen"), always=True))
    assert [(r.pictures, r.failed) for r in results] == [(4, 0), (4, 0), (3, 1), (4, 0), (4, 0), (4, 0)]
    assert results[2].extra["lethal"] == {
        1: "the process that worked on it was killed by SIGKILL whenever it was tried"
    }


def test_what_the_task_raises_ends_the_run(tmp_path: Path):
    with pytest.raises(FormatError, match="cannot be opened"):
        run(LethalTask(-1, 0, str(tmp_path / "seen"), always=False))
    with pytest.raises(DecantError, match=r"killed by SIGKILL 3 times before its first picture"):
        run(LethalTask(-2, 0, str(tmp_path / "seen"), always=False))


def test_one_process_does_the_same(tmp_path: Path):
    results = list(SerialEngine().run(LethalTask(99, 0, "", always=False), range(3), lambda step: None))
    assert [(r.unit, r.pictures) for r in results] == [(0, 4), (1, 4), (2, 4)]


def test_an_unknown_engine_is_refused():
    with pytest.raises(DecantError, match="engine 'cloud'"):
        engine_of("cloud")


_PARENT = """
import subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-m", "decant.archive.worker"], stdin=int(sys.argv[1]))
print(worker.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends workers")
def test_a_worker_ends_with_the_process_that_started_it() -> None:
    """Even where its standard input stays open and it is busy."""
    reading, writing = os.pipe()
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(reading)], stdout=subprocess.PIPE, pass_fds=[reading]
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    time.sleep(2)  # its imports
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 20
    while _runs(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.close(reading)
    os.close(writing)
    assert not _runs(worker)


def _runs(pid: int) -> bool:
    """Whether a process runs; one that waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
