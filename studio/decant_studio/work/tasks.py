"""The tasks of the worker processes by name."""

from collections.abc import Callable

from decant_studio.work.compare import compare, restore
from decant_studio.work.result import Result

TASKS: dict[str, Callable[..., Result]] = {
    "compare": compare,
    "restore": restore,
}
