"""Steady times of several pieces of work, taken in turns: what disturbs the machine for a while disturbs all.

A round visits every piece once, in a new random order. A visit does one item untimed, to wake threads and
fill caches, and then the round's items, timed one by one; quick work goes through them more often.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from decant_bench.common.schedule import shuffled_rounds

LONGEST_VISIT = 64  # times that a visit goes through its items, at most
MANY_ROUNDS = 20  # times the rounds asked for, at most, on the way to samples and seconds


@dataclass(frozen=True)
class Pace:
    """How long to go on: ``rounds``, and then until each piece of work has its samples and seconds."""

    rounds: int
    images_per_visit: int = 4
    visit_ms: float = 20.0  # a visit repeats its items until it should last so long
    min_samples: int = 0
    min_seconds: float = 0.0


@dataclass
class Work:
    """``run`` on ``items``; ``rounds_ns`` gets a list of nanoseconds a round."""

    key: str
    items: Sequence[Any]
    run: Callable[[Any], object]
    rounds_ns: list[list[int]] = field(default_factory=list)

    def visit(self, number: int, count: int, repeats: int) -> list[int]:
        """Round ``number``: one item untimed, then ``count`` items, ``repeats`` times over; in
        nanoseconds.
        """
        turns = turns_of(number, count, len(self.items))
        chosen = [self.items[turn] for turn in turns]
        run, clock = self.run, time.perf_counter_ns
        run(self.items[turns[0] - 1])
        samples = []
        for item in chosen * repeats:
            before = clock()
            run(item)
            samples.append(clock() - before)
        return samples

    def quickest(self, count: int) -> int:
        """Nanoseconds of the quickest of the first ``count`` items, after one untimed."""
        self.run(self.items[0])
        return min(timed(self.run, item) for item in self.items[:count])


def interleave(
    works: Sequence[Work], pace: Pace, seed: int, ended: Callable[[], bool] = lambda: False
) -> None:
    """Time ``works`` in rounds until all have enough, or ``ended`` after a round."""
    repeats = {work.key: _repeats(work, pace) for work in works}
    taken = {work.key: [0, 0] for work in works}  # samples, nanoseconds
    rounds = shuffled_rounds(works, seed)
    for number in range(pace.rounds * MANY_ROUNDS):
        enough = number >= pace.rounds and all(
            count >= pace.min_samples and spent >= 1e9 * pace.min_seconds for count, spent in taken.values()
        )
        if enough or (number and ended()):
            return
        for work in next(rounds):
            samples = work.visit(number, pace.images_per_visit, repeats[work.key])
            work.rounds_ns.append(samples)
            taken[work.key][0] += len(samples)
            taken[work.key][1] += sum(samples)


def turns_of(number: int, count: int, items: int) -> list[int]:
    """Which of so many items round ``number`` does, ``count`` a visit. The samples of the round are of these
    in order, over and over.
    """
    count = min(count, items)
    return [(number * count + i) % items for i in range(count)]


def timed(work: Callable[..., object], *arguments: Any) -> int:
    """Nanoseconds that ``work`` takes."""
    before = time.perf_counter_ns()
    result = work(*arguments)
    spent = time.perf_counter_ns() - before
    del result  # after the clock: freeing a session is not loading it
    return spent


def _repeats(work: Work, pace: Pace) -> int:
    count = min(pace.images_per_visit, len(work.items))
    quickest = work.quickest(count)
    return max(1, min(LONGEST_VISIT, round(1e6 * pace.visit_ms / (quickest * count))))
