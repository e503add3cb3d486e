"""Intervals of ratios on samples of known truth: how often they hold it, and how often two runs agree."""

import numpy as np
import pytest
from decant_bench.common import intervals, stats

TRUTH = 10.0
PROCESSES, ROUNDS, SAMPLES = 8, 6, 4


def run(random, *, layout=0.1, drift=0.0, walk=0.0):
    """(JPEG's rounds, the decoder's rounds, processes): each process has its own speed (``layout``), the
    machine's speed changes from round to round (``drift``) for both, and the decoder's wanders (``walk``).
    """
    jpeg, ours, processes = [], [], []
    wander = 0.0
    for process in range(PROCESSES):
        wander = 0.4 * wander + random.normal(0, walk) if walk else 0.0
        fast, slow = np.exp(random.normal(0, layout, 2))
        for _ in range(ROUNDS):
            machine = np.exp(random.normal(0, drift))
            noise = np.exp(random.normal(0, 0.03, (2, SAMPLES)))
            jpeg.append(list(1e6 * fast * machine * noise[0]))
            ours.append(list(TRUTH * 1e6 * slow * machine * np.exp(wander) * noise[1]))
            processes.append(process)
    return jpeg, ours, processes


def ratio_of(found, **options):
    jpeg, ours, processes = found
    return intervals.paired(jpeg, ours, processes, resamples=400, **options)


def holding(runs):
    return np.mean([one.low <= TRUTH <= one.high for one in runs])


@pytest.fixture(scope="module")
def runs():
    random = np.random.default_rng(1)
    return [run(random) for _ in range(150)]


def test_intervals_hold_the_truth_as_often_as_they_say(runs):
    assert 0.92 <= holding([ratio_of(found) for found in runs]) <= 0.995


def test_intervals_of_rounds_alone_promise_too_much(runs):
    """What processes differ in is no noise of samples: resampling rounds misses it."""
    naive = [stats.ratio_interval(jpeg, ours, resamples=200) for jpeg, ours, _ in runs[:60]]
    assert np.mean([low <= TRUTH <= high for low, high in naive]) < 0.8


def test_two_runs_agree_in_every_ratio():
    random = np.random.default_rng(2)
    pairs = [(ratio_of(run(random)), ratio_of(run(random))) for _ in range(100)]
    assert np.mean([a.overlaps(b) for a, b in pairs]) >= 0.97


def test_what_slows_the_whole_machine_widens_nothing():
    quiet = ratio_of(run(np.random.default_rng(3), layout=0.01))
    shaken = ratio_of(run(np.random.default_rng(3), layout=0.01, drift=0.3))
    assert shaken.high / shaken.low == pytest.approx(quiet.high / quiet.low, rel=0.02)
    assert shaken.ratio == pytest.approx(TRUTH, rel=0.03)


def test_a_speed_that_wanders_widens_the_interval(monkeypatch):
    random = np.random.default_rng(4)
    wandering = [run(random, layout=0.02, walk=0.1) for _ in range(150)]
    aware = holding([ratio_of(found) for found in wandering])
    monkeypatch.setattr(intervals, "_STRONGEST", 0.0)
    blind = holding([ratio_of(found) for found in wandering])
    assert aware > blind + 0.02
    assert aware >= 0.86


def test_one_disturbed_process_is_in_the_interval_and_hardly_moves_a_round():
    jpeg, ours, processes = run(np.random.default_rng(5), layout=0.0)
    ours[3] = [5 * value for value in ours[3]]  # one round of six
    found = intervals.paired(jpeg, ours, processes)
    assert found.ratio == pytest.approx(TRUTH, rel=0.02)


def test_one_process_resamples_its_rounds():
    jpeg, ours, _ = run(np.random.default_rng(6))
    found = intervals.paired(jpeg[:ROUNDS], ours[:ROUNDS])
    assert (found.processes, found.blocks) == (1, ROUNDS)
    assert found.low < found.ratio < found.high


def test_one_round_has_no_width_and_none_has_no_ratio():
    found = intervals.paired([[1.0, 1.0]], [[3.0, 3.0]])
    assert (found.ratio, found.low, found.high) == pytest.approx((3, 3, 3))
    assert intervals.paired([], [[1.0]]) is None
    assert intervals.paired([[]], [[1.0]]) is None


def test_the_same_samples_give_the_same_interval_and_its_inverse(runs):
    assert ratio_of(runs[0]) == ratio_of(runs[0])
    found = ratio_of(runs[0])
    assert found.inverse().ratio == pytest.approx(1 / found.ratio)
    assert found.inverse().low == pytest.approx(1 / found.high)
    assert not found.overlaps(intervals.Ratio(99, 98, 100, 8, 8))
