"""Tables of symbols (docs/format/grid.md): what is refused, what symbols cost, and integer counts."""

from collections.abc import Callable

import grid_tables
import numpy as np
import pytest
from decant.codec.entropy.counts import (
    TOTAL,
    integer_counts,
    recommended_runs,
    run_counts_of,
)
from decant.codec.entropy.rans import SCALES, EntropyTables
from decant.errors import BundleError
from entropy_streams import BOTH, DENSE, EITHER, RUNS, SPARSE, encode
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

Change = Callable[[dict[str, np.ndarray]], object]


def put(name: str, at: int, value: int) -> Change:
    return lambda tensors: tensors[name].__setitem__(at, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("entropy.radius"), r"entropy\.radius is not uint8 \(32,\)"),
        (lambda t: t.update({"entropy.radius": t["entropy.radius"][:31]}), r"entropy\.radius is not"),
        (lambda t: t.update({"entropy.runs": t["entropy.runs"].astype(int)}), r"entropy\.runs is not uint16"),
        (lambda t: t.pop("entropy.runs"), r"entropy\.runs is not uint16 \(32,\)"),
        (lambda t: t.pop("entropy.counts"), r"entropy\.counts is not uint32"),
        (lambda t: t.update({"entropy.counts": t["entropy.counts"][:-1]}), r"entropy\.counts is not"),
        (lambda t: t.pop("entropy.run_counts"), r"entropy\.run_counts is not uint32"),
        (lambda t: t.update({"entropy.counts": t["entropy.counts"][None]}), r"entropy\.counts is not"),
        (put("entropy.radius", 0, 1), r"entropy\.radius begins with 1; 0 expected"),
        (put("entropy.radius", 9, 200), r"entropy\.counts is not uint32"),
        (put("entropy.runs", 0, 1), r"entropy\.runs begins with 1; 0 expected"),
        (put("entropy.runs", 7, 1024), r"entropy\.runs holds 1024; at most 1023 expected"),
        (put("entropy.runs", 7, 0), r"entropy\.counts is not uint32"),
        (put("entropy.runs", 7, 2), r"entropy\.run_counts is not uint32"),
        (
            put("entropy.radius", 7, 0),
            r"entropy\.radius is 0 for a scale index with runs; at least 1 expected",
        ),
        (
            put("entropy.counts", 0, 0),
            r"entropy\.counts of scale index 1: counts of at least 1 and sum 2\^24",
        ),
        (put("entropy.counts", -1, 2**32 - 1), r"entropy\.counts of scale index 31: counts of at least 1"),
        (put("entropy.run_counts", 5, 0), r"entropy\.run_counts of scale index 1: counts of at least 1"),
    ],
)
def test_tables_that_are_refused(change: Change, message: str):
    tensors = grid_tables.entropy_tensors(RUNS)
    change(tensors)
    with pytest.raises(BundleError, match=message):
        EntropyTables.from_tensors(tensors)


@BOTH
def test_tables_come_back(tables: EntropyTables):
    again = tables.to_tensors()
    wanted = grid_tables.entropy_tensors(RUNS if tables is SPARSE else None)
    assert again.keys() == wanted.keys()
    assert all(again[name].dtype == wanted[name].dtype for name in wanted)
    assert all((again[name] == wanted[name]).all() for name in wanted)


@EITHER
@pytest.mark.parametrize("c", [1, 3, 5, 9, 14, 31])
def test_costs_are_the_lengths_of_streams(tables: EntropyTables, c: int):
    scale_indices = np.full(8000, c, np.uint8)
    symbols = grid_tables.random_symbols(scale_indices)
    largest = int(tables.radius.max())
    symbols = np.clip(symbols, -largest, largest)
    costs = tables.cost_bits()
    assert costs.shape == (SCALES, 2 * largest + 1)
    assert costs.dtype == np.float32
    stream = 8 * len(encode(tables, symbols, scale_indices))
    expected = costs[c, symbols + largest].sum()
    assert expected == pytest.approx(stream, rel=0.01, abs=64)


@EITHER
def test_the_cost_of_an_escape_is_the_length_of_its_stream(tables: EntropyTables):
    largest, radius = int(tables.radius.max()), int(tables.radius[5])
    scale_indices = np.full(3000, 5, np.uint8)
    symbols = grid_tables.random_symbols(scale_indices)
    others = np.flatnonzero(symbols)[:50]
    plain = 8 * len(encode(tables, symbols, scale_indices))
    costs = tables.cost_bits()[5]
    free = costs[symbols[others] + largest].sum()
    for symbol in (-radius - 1, 40, -127):
        symbols[others] = symbol
        extra = 50 * costs[symbol + largest] - free
        assert 8 * len(encode(tables, symbols, scale_indices)) - plain == pytest.approx(extra, abs=70)


def test_class_0_costs_nothing_and_holds_nothing_else():
    costs = DENSE.cost_bits()
    assert costs[0, 127] == 0
    assert np.isinf(np.delete(costs[0], 127)).all()
    assert np.isfinite(costs[1:]).all()


@given(arrays(np.float64, st.integers(1, 300), elements=st.floats(0, 1e6)), st.sampled_from([300, 2**24]))
def test_integer_counts_are_positive_and_sum_up(probabilities: np.ndarray, total: int):
    counts = integer_counts(probabilities, total)
    assert counts.dtype == np.uint32
    assert counts.min() >= 1
    assert counts.sum() == total


def test_integer_counts_round_to_the_nearest():
    assert integer_counts(np.array([0.5, 0.25, 0.25]), 8).tolist() == [4, 2, 2]
    assert integer_counts(np.array([3.0, 3.0, 1.0]), 10).tolist() == [4, 4, 2]
    assert integer_counts(np.array([1.0, 0.0, 1e-30]), 16).tolist() == [14, 1, 1]
    assert integer_counts(np.array([0.0, 0.0]), 6).tolist() == [3, 3]


def test_run_counts_are_those_of_independent_symbols():
    assert (run_counts_of(0.75, 3) / TOTAL).tolist() == [0.25, 0.1875, 0.140625, 0.421875]


@given(st.floats(0.01, 0.99999), st.integers(1, 1023))
def test_run_counts_have_the_form_of_tables(zero: float, length: int):
    counts = run_counts_of(zero, length)
    assert counts.dtype == np.uint32
    assert counts.shape == (length + 1,)
    assert counts.min() >= 1
    assert counts.sum() == TOTAL


@given(st.floats(0, 1))
def test_few_runs_are_left_to_escapes(zero: float):
    length = recommended_runs(zero)
    assert (length > 0) == (zero >= 0.6)
    assert 0 <= length <= 1023
    assert length in (0, 1023) or (zero**length < 1 / 511 and zero ** (length - 1) > 1 / 513)


@EITHER
@pytest.mark.parametrize("c", range(1, 16))
def test_streams_are_as_long_as_their_entropy(tables: EntropyTables, c: int):
    radius, counts = grid_tables.class_table(c)
    p = counts / TOTAL
    letters = np.random.default_rng(c).choice(len(p), 300_000, p=p)
    ideal = -np.log2(p)[letters].sum() / 8
    symbols = np.where(letters > 2 * radius, -radius - 1, letters - radius)
    stream = encode(tables, symbols, np.full(len(symbols), c, np.uint8))
    # Runs in classes of hardly any other symbol are longer than letters reach: 22 and 13 bytes too many.
    few = 24 if p[radius] > 0.997 else 0
    assert ideal - 8 <= len(stream) <= 1.003 * ideal + 8 + few
