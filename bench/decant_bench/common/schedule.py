"""In which order and for how long subjects are visited: interleaved, so that what disturbs the machine for a
while disturbs all of them alike.
"""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


def shuffled_rounds(items: Sequence[T], seed: int) -> Iterator[list[T]]:
    """Without end: every item once a round, in a new random order each round."""
    order = random.Random(seed)
    while True:
        yield order.sample(items, len(items))


@dataclass
class Budget:
    """Wall-clock time for a run, handed out in shares. ``minutes`` 0 means no limit."""

    minutes: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def used_up(self, share: float) -> bool:
        """Is more than ``share`` (0..1) of the time gone?"""
        return self.minutes > 0 and time.monotonic() - self.started > share * 60 * self.minutes
