"""What workers do, whichever engine runs them: a task is opened once in a worker and then does units."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Step:
    """One picture is done, or about to begin (``begun``): its number in the unit, and its bytes."""

    index: int
    bytes_in: int = 0
    bytes_out: int = 0
    failed: bool = False
    begun: bool = False


@dataclass
class UnitResult:
    """What became of a unit. ``pictures`` counts those that are done, ``failed`` those that are not;
    ``extra`` is the task's own.
    """

    unit: int
    pictures: int = 0
    failed: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


Tell = Callable[[Step], None]


class Task(Protocol):
    """Work that can be sent to another process or machine: picklable, and opened there."""

    def open(self) -> None:
        """Load what all units need. Raises DecantError, OSError."""

    def run(self, unit: int, tell: Tell, lethal: dict[int, str]) -> UnitResult:
        """Do a unit, and tell of each picture. ``lethal`` maps pictures that ended a worker, by their number
        in the unit, to what happened: they are failures and not tried again. Raises DecantError, OSError.
        """


class Progress:
    """What a run has done so far; ``total`` pictures, of which ``skipped`` were done by an earlier run."""

    def __init__(self, total: int, skipped: int = 0) -> None:
        self.total = total
        self.skipped = skipped
        self.pictures = self.failed = self.bytes_in = self.bytes_out = 0

    def add(self, step: Step) -> None:
        """Count a picture."""
        self.pictures += not step.failed
        self.failed += step.failed
        self.bytes_in += step.bytes_in
        self.bytes_out += step.bytes_out

    @property
    def done(self) -> int:
        """Pictures that are done or have failed, in this run and before."""
        return self.skipped + self.pictures + self.failed


Report = Callable[[Progress], None]
