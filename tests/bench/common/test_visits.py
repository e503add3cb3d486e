"""The order of visits, without clocks: what is run, how often, and when it ends."""

from dataclasses import dataclass

from decant_bench.common.visits import MANY_ROUNDS, Work, interleave


@dataclass(frozen=True)
class Pace:
    rounds: int = 3
    images_per_visit: int = 2
    visit_ms: float = 0.0
    min_samples: int = 0
    min_seconds: float = 0.0


def test_visits_of_one_round_run_the_same_items():
    seen: dict[str, list[int]] = {"quick": [], "slow": []}
    for name, repeats in (("quick", 3), ("slow", 1)):
        samples = Work(name, [0, 1, 2, 3, 4], seen[name].append).visit(1, 2, repeats)
        assert len(samples) == 2 * repeats
    # One untimed item first, then the round's two, as often as fits.
    assert seen["slow"] == [1, 2, 3]
    assert seen["quick"] == [1, *[2, 3] * 3]


def test_all_works_are_visited_in_every_round():
    works = [Work(name, [1, 2, 3], lambda item: item) for name in "abc"]
    interleave(works, Pace(), 0)
    assert [[len(samples) for samples in work.rounds_ns] for work in works] == [[2, 2, 2]] * 3


def test_rounds_go_on_until_there_are_samples_enough_but_not_for_ever():
    work = Work("a", [1, 2], lambda item: item)
    interleave([work], Pace(min_samples=9), 0)
    assert len(work.rounds_ns) == 5
    work = Work("a", [1, 2], lambda item: item)
    interleave([work], Pace(rounds=1, min_seconds=1e9), 0)
    assert len(work.rounds_ns) == MANY_ROUNDS


def test_a_run_out_of_time_has_one_round():
    work = Work("a", [1, 2], lambda item: item)
    interleave([work], Pace(), 0, lambda: True)
    assert len(work.rounds_ns) == 1
