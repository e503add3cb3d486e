"""One run of a task: on which engine, and who is told of its pictures."""

from collections.abc import Iterable, Iterator

from decant.archive.engines import Engine, engine_of
from decant.archive.tasks import Progress, Report, Step, Task, UnitResult


def run_units(
    task: Task,
    units: Iterable[int],
    progress: Progress,
    report: Report | None,
    engine: str | Engine,
    workers: int,
) -> Iterator[UnitResult]:
    """Do ``units`` on ``engine``, an Engine or the name of one with ``workers``; results as they come.

    Pictures are counted in ``progress``, and ``report`` is called after each. Raises what ``engine_of`` and
    the task raise.
    """

    def watch(step: Step) -> None:
        if not step.begun:
            progress.add(step)
            if report is not None:
                report(progress)

    runner = engine_of(engine, workers) if isinstance(engine, str) else engine
    return runner.run(task, units, watch)
