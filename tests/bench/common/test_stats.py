"""Summaries and comparisons of samples whose answer is known."""

import numpy as np
import pytest
from decant_bench.common import stats


def test_summary_of_known_samples():
    summary = stats.summarise([5, 1, 3, 2, 4])
    assert (summary.count, summary.minimum, summary.median, summary.mean, summary.maximum) == (5, 1, 3, 3, 5)
    assert (summary.p90, summary.p95) == (None, None)


def test_percentiles_need_five_samples_beyond():
    assert stats.summarise(range(49)).p90 is None
    assert stats.summarise(range(51)).p90 == pytest.approx(45)  # linearly
    assert stats.summarise(range(99)).p95 is None
    assert stats.summarise(range(101)).p95 == pytest.approx(95)


def test_median_of_an_even_number_is_between_the_middle_two():
    assert stats.summarise([1, 2, 10, 20]).median == 6


def test_no_samples_are_an_error():
    with pytest.raises(ValueError, match="no samples"):
        stats.summarise([])


def test_samples_stay_in_the_order_of_rounds():
    assert stats.flatten([[3, 1], [], [2]]) == [3, 1, 2]


def test_a_doubling_is_found_with_an_interval_around_two():
    a = _rounds(seed=1, scale=1.0)
    b = _rounds(seed=2, scale=2.0)
    change = stats.compare(a, b)
    assert change.low < 2.0 < change.high
    assert change.low > 1.8
    assert change.high < 2.2
    assert change.ratio == pytest.approx(2.0, abs=0.1)
    assert change.p_value < 1e-6
    assert change.significant


def test_the_same_distribution_is_no_change():
    verdicts = [
        stats.compare(_rounds(seed=i, scale=1.0), _rounds(seed=100 + i, scale=1.0)).significant
        for i in range(20)
    ]
    assert sum(verdicts) <= 1


def test_one_disturbed_round_does_not_make_a_change():
    """All the slow samples sit in one round: resampling rounds knows that they are one event."""
    quiet = [[10.0, 10.1, 10.2, 9.9]] * 5
    disturbed = [*quiet[:3], [30.0, 31.0, 30.5, 30.2], [30.0, 31.0, 30.5, 30.2]]
    change = stats.compare(quiet, disturbed)
    assert change.low <= 1.05
    assert not change.significant


def test_the_interval_is_the_same_every_time():
    a, b = _rounds(seed=3, scale=1.0), _rounds(seed=4, scale=1.1)
    assert stats.compare(a, b) == stats.compare(a, b)


def test_a_single_round_is_resampled_sample_by_sample():
    random = np.random.default_rng(5)
    a, b = [list(random.normal(10, 0.1, 50))], [list(random.normal(15, 0.1, 50))]
    change = stats.compare(a, b)
    assert 1.4 < change.low < change.ratio < change.high < 1.6


def _rounds(seed: int, scale: float) -> list[list[float]]:
    random = np.random.default_rng(seed)
    return [list(scale * random.normal(10, 0.5, 6)) for _ in range(25)]
