"""Interleaving: each round visits everything once, in an order of its own."""

import itertools
from collections import Counter

from decant_bench.common.schedule import Budget, shuffled_rounds
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.text(), unique=True, max_size=30), st.integers(0, 2**32))
def test_every_round_is_a_permutation(items, seed):
    for order in itertools.islice(shuffled_rounds(items, seed), 5):
        assert Counter(order) == Counter(items)


def test_rounds_differ_and_a_seed_repeats_them():
    first = list(itertools.islice(shuffled_rounds(range(20), 1), 6))
    assert len({tuple(order) for order in first}) == 6
    assert list(itertools.islice(shuffled_rounds(range(20), 1), 6)) == first
    assert list(itertools.islice(shuffled_rounds(range(20), 2), 6)) != first


def test_every_item_comes_early_and_late():
    """No subject is always measured after the same neighbour or at the same time of a round."""
    places: dict[int, set[int]] = {item: set() for item in range(5)}
    for order in itertools.islice(shuffled_rounds(range(5), 0), 100):
        for place, item in enumerate(order):
            places[item].add(place)
    assert all(seen == set(range(5)) for seen in places.values())


def test_a_budget_of_zero_never_ends():
    assert not Budget(0, started=-1e9).used_up(0.5)


def test_a_budget_is_handed_out_in_shares():
    budget = Budget(1.0)
    budget.started -= 30
    assert budget.used_up(0.3)
    assert not budget.used_up(0.9)
