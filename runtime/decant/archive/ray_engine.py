"""The engine ``ray``: units spread by Ray Data over all machines of a Ray cluster.

The archive, the sources and the output must be reachable from every machine: a shared folder, or addresses
such as ``s3://``. Files are the same as those of the local engine.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from decant.archive.tasks import Step, Task, UnitResult
from decant.errors import DecantError, MissingExtraError


class RayEngine:
    """Workers of Ray Data. ``workers`` 0 means one for each core of the cluster."""

    def __init__(self, workers: int = 0) -> None:
        """Raises MissingExtraError without Ray."""
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError(
                f"the engine ray needs Ray ({error}): pip install 'decant-codec[ray]'"
            ) from None
        self._ray: Any = ray
        self._workers = workers

    def run(self, task: Task, units: Iterable[int], watch: Any) -> Iterator[UnitResult]:
        """Do ``units`` on the cluster; pictures are told of unit by unit. Raises what the task raises."""
        from ray import data as ray_data

        data: Any = ray_data
        todo = list(units)
        if not todo:
            return
        if not self._ray.is_initialized():
            self._ray.init(include_dashboard=False, log_to_driver=False)
        cores = int(self._ray.cluster_resources().get("CPU", 1))
        count = max(1, min(self._workers or cores, len(todo)))
        data.DataContext.get_current().enable_progress_bars = False
        # A block for each unit: what is lost with a machine is one unit.
        rows = data.from_items([{"unit": unit} for unit in todo], override_num_blocks=len(todo))
        done = rows.map(
            _Worker,
            fn_constructor_args=(task,),
            concurrency=(1, count) if count > 1 else 1,
            num_cpus=1,
        )
        for row in done.iter_rows():
            if row["error"] is not None:
                raise DecantError(str(row["error"]))
            result: UnitResult = row["result"]
            for index in range(result.pictures + result.failed):
                share = index == 0
                watch(
                    Step(
                        index,
                        result.bytes_in * share,
                        result.bytes_out * share,
                        index >= result.pictures,
                    )
                )
            yield result


class _Worker:
    """One worker of Ray: opens the task once. An error is data, so that it comes back in one line."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._error: str | None = None
        try:
            task.open()
        except (DecantError, OSError) as error:
            self._error = str(error)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if self._error is not None:
            return {"result": None, "error": self._error}
        try:
            return {"result": self._task.run(int(row["unit"]), lambda step: None, {}), "error": None}
        except (DecantError, OSError) as error:
            return {"result": None, "error": str(error)}
