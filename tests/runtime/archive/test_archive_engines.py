"""The local engine: every unit once, whatever happens to its workers."""

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
