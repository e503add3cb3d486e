"""Statistics of timing samples: summaries, and whether two sets of samples differ."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Rounds = Sequence[Sequence[float]]  # samples grouped by the round in which they were taken
BEYOND = 5  # samples beyond a percentile that it needs: 50 samples for p90, 100 for p95


@dataclass(frozen=True)
class Summary:
    """Of samples in one unit; ``p90`` and ``p95`` are percentiles, linearly interpolated, or None where
    fewer than BEYOND samples would lie beyond.
    """

    count: int
    minimum: float
    median: float
    p90: float | None
    p95: float | None
    mean: float
    maximum: float


@dataclass(frozen=True)
class Change:
    """B against A. ``ratio`` of medians, its bootstrap interval, and the two-sided p of Mann-Whitney's U."""

    ratio: float
    low: float
    high: float
    p_value: float

    @property
    def significant(self) -> bool:
        """The interval leaves out 1 and the rank test agrees at 1 %."""
        return (self.low > 1 or self.high < 1) and self.p_value < 0.01


def flatten(rounds: Rounds) -> list[float]:
    """All samples, in the order in which they were taken."""
    return [sample for taken in rounds for sample in taken]


def summarise(samples: Sequence[float]) -> Summary:
    """Raises ValueError when there is no sample."""
    if not len(samples):
        raise ValueError("no samples to summarise")
    values = np.asarray(samples, np.float64)
    median, p90, p95 = (
        float(found) if percent == 50 or len(values) * (100 - percent) >= 100 * BEYOND else None
        for percent, found in zip((50, 90, 95), np.percentile(values, [50, 90, 95]), strict=True)
    )
    assert median is not None
    return Summary(
        len(values), float(values.min()), median, p90, p95, float(values.mean()), float(values.max())
    )


def compare(
    a: Rounds, b: Rounds, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Change:
    """How the samples ``b`` differ from ``a``.

    Whole rounds are resampled, not single samples: what disturbs a machine lasts longer than one decode, so
    samples of one round resemble each other and single ones would promise too narrow an interval. With one
    round only, single samples have to do. Raises ValueError when a side has no sample.
    """
    flat_a, flat_b = flatten(a), flatten(b)
    ratio = summarise(flat_b).median / summarise(flat_a).median
    low, high = ratio_interval(a, b, confidence=confidence, resamples=resamples, seed=seed)
    return Change(ratio, low, high, _mann_whitney_p(flat_a, flat_b))


def ratio_interval(
    a: Rounds, b: Rounds, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The bootstrap interval of the median of ``b`` over that of ``a``, with rounds resampled as a whole."""
    random = np.random.default_rng(seed)
    ratios = _medians(b, random, resamples) / _medians(a, random, resamples)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(ratios, [tail, 100 - tail])
    return float(low), float(high)


def _medians(rounds: Rounds, random: np.random.Generator, resamples: int) -> np.ndarray:
    """Medians of bootstrap resamples."""
    blocks = [np.asarray(block, np.float64) for block in rounds if len(block)]
    if len(blocks) == 1:
        blocks = [np.asarray([sample]) for sample in blocks[0]]
    drawn = random.integers(0, len(blocks), (resamples, len(blocks)))
    return np.array([np.median(np.concatenate([blocks[i] for i in draw])) for draw in drawn])


def _mann_whitney_p(a: Sequence[float], b: Sequence[float]) -> float:
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(a, b, alternative="two-sided").pvalue)
