"""Ratios of times, with intervals that say where a second run on the same machine would lie.

Times differ between processes, because addresses, pages and clocks differ: by 30 % for a decoder that takes a
millisecond. Intervals from single samples, or from rounds of one process, are therefore too narrow. Here a
run has several processes for each decoder. A round measures all decoders within about a second, so that a
slowdown of the whole machine cancels in its ratios. The steps, all on logarithms:

1. A round gives the median of one decoder over the median of the other.
2. A process gives the median over its rounds.
3. The ratio is the mean over processes.
4. Its standard error is that of a two-stage bootstrap (processes, then rounds in them; Davison and Hinkley,
   "Bootstrap Methods and their Application", 1997, section 3.8).
5. The interval has Student's quantile for the number of processes, and the factor sqrt(n / (n - 1)) that a
   bootstrap of few units needs (Hesterberg, "What Teachers Should Know about the Bootstrap", 2014,
   arXiv:1411.5279).
6. If the machine drifts, a process resembles the one before. n processes then carry less information than n
   independent ones, so the lag-1 correlation widens the interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from decant_bench.common import tables
from decant_bench.common.stats import Rounds

CONFIDENCE = 0.95
_POOL = 200  # bootstrapped medians of each process
_STRONGEST = 0.6  # correlation of neighbouring processes that is believed, at most


@dataclass(frozen=True)
class Ratio:
    """``ratio`` with its interval. ``blocks``: processes, or rounds where ``processes`` is 1."""

    ratio: float
    low: float
    high: float
    processes: int
    blocks: int

    def overlaps(self, other: "Ratio") -> bool:
        """Do the two intervals share a value? Two runs then agree."""
        return self.low <= other.high and other.low <= self.high

    def __str__(self) -> str:
        """``9.80x (9.51-10.1)``; without an interval where it has no width, as that of a thing to itself."""
        if self.low == self.high:
            return tables.ratio(self.ratio)
        return f"{tables.ratio(self.ratio)} ({tables.number(self.low)}-{tables.number(self.high)})"

    def inverse(self) -> "Ratio":
        """The ratio the other way round."""
        return Ratio(1 / self.ratio, 1 / self.high, 1 / self.low, self.processes, self.blocks)


def paired(
    below: Rounds,
    above: Rounds,
    processes: Sequence[int] | None = None,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = 2000,
    seed: int = 0,
) -> Ratio | None:
    """``above`` over ``below``: samples by round, where round i of both was taken together.

    ``processes`` has the number of the process of each round; without it, or with one process, rounds are
    resampled, and the interval is of that process alone. None without a common round; an interval without
    width where there is one block.
    """
    count = min(len(below), len(above))
    numbers = [0] * count if processes is None else list(processes[:count])
    logs: dict[int, list[float]] = {}
    for number, a, b in zip(numbers, below[:count], above[:count], strict=True):
        if len(a) and len(b):
            logs.setdefault(number, []).append(float(np.log(np.median(b)) - np.log(np.median(a))))
    if not logs:
        return None
    groups = [np.asarray(values) for _, values in sorted(logs.items())]
    if len(groups) == 1:
        groups = [np.asarray([value]) for value in groups[0]]
    centre, reach = mean_interval(groups, confidence=confidence, resamples=resamples, seed=seed)
    return Ratio(
        float(np.exp(centre)),
        float(np.exp(centre - reach)),
        float(np.exp(centre + reach)),
        len(logs),
        len(groups),
    )


def mean_interval(
    groups: Sequence[np.ndarray],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """The mean over ``groups`` of the median in each, and half the width of its interval (0 for one group).
    The groups are in the order in which they were taken.
    """
    from scipy.stats import t

    middles = np.array([np.median(group) for group in groups])
    count = len(groups)
    if count < 2:
        return float(middles.mean()), 0.0
    random = np.random.default_rng(seed)
    pools = np.stack([_medians(group, random) for group in groups])  # (groups, _POOL)
    drawn = random.integers(0, count, (resamples, count))
    means = pools[drawn, random.integers(0, _POOL, (resamples, count))].mean(axis=1)
    error = float(means.std()) * np.sqrt(count / (count - 1) * _inflation(middles))
    return float(middles.mean()), float(t.ppf(0.5 + confidence / 2, count - 1) * error)


def _medians(group: np.ndarray, random: np.random.Generator) -> np.ndarray:
    drawn = random.integers(0, len(group), (_POOL, len(group)))
    medians: np.ndarray = np.median(group[drawn], axis=1)
    return medians


def _inflation(middles: np.ndarray) -> float:
    """Variance of the mean over that of independent blocks, for the lag-1 correlation (the sample
    correlation of so few is biased down by about 1/n, which is added). Strong correlations of few processes
    stay underestimated.
    """
    apart = middles - middles.mean()
    total = float((apart**2).sum())
    if len(middles) < 4 or total <= 0:
        return 1.0
    found = float((apart[1:] * apart[:-1]).sum()) / total + 1 / len(middles)
    believed = min(max(found, 0.0), _STRONGEST)
    return (1 + believed) / (1 - believed)
