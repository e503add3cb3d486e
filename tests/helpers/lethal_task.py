"""A task for the engines that ends its own process at chosen pictures."""

import os
import signal

from decant.archive.tasks import Step, UnitResult
from decant.errors import FormatError


class LethalTask:
    """Units of 4 pictures; picture ``at`` of unit ``unit`` ends the process, unless it is said to be lethal.
    Without ``always`` it does so once, until the file ``marker`` is there.
    """

    def __init__(self, unit: int, at: int, marker: str, *, always: bool) -> None:
        self.unit, self.at, self.marker, self.always = unit, at, marker, always

    def open(self) -> None:
        """Nothing to load; a unit of -1 cannot be opened at all."""
        if self.unit == -1:
            raise FormatError("cannot be opened")
        if self.unit == -2:
            os.kill(os.getpid(), signal.SIGKILL)

    def run(self, unit: int, tell, lethal) -> UnitResult:
        """Count pictures."""
        result = UnitResult(unit, extra={"lethal": dict(lethal)})
        for index in range(4):
            tell(Step(index, begun=True))
            if unit == self.unit and index == self.at and index not in lethal:
                seen = os.path.exists(self.marker)
                with open(self.marker, "w"):
                    pass
                if self.always or not seen:
                    os.kill(os.getpid(), signal.SIGKILL)
            result.pictures += index not in lethal
            result.failed += index in lethal
            tell(Step(index, bytes_in=1, failed=index in lethal))
        return result
