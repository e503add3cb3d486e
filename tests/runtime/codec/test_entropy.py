"""Entropy coding: exact counts, round trips of any symbols, and what is refused."""

from collections.abc import Callable
from typing import Any

import grid_tables
import numpy as np
import pytest
from decant.codec.entropy.counts import (
    TOTAL,
    Uniform,
    exact_model,
    integer_counts,
    recommended_runs,
    run_counts_of,
)
from decant.codec.entropy.rans import SCALES, AnsCoder, EntropyTables
from decant.errors import BundleError, FormatError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

RUNS = grid_tables.recommended() | {5: 3, 9: 1, 14: 5, 31: 1023}
DENSE = EntropyTables.from_tensors(grid_tables.entropy_tensors())
SPARSE = EntropyTables.from_tensors(grid_tables.entropy_tensors(RUNS))
FITTED = EntropyTables.from_tensors(grid_tables.entropy_tensors(grid_tables.recommended()))
BOTH = pytest.mark.parametrize("tables", [DENSE, SPARSE], ids=["dense", "runs"])
EITHER = pytest.mark.parametrize("tables", [DENSE, FITTED], ids=["dense", "recommended"])


def encode(tables: EntropyTables, symbols: np.ndarray, scale_indices: np.ndarray) -> bytes:
    """A stream of one part."""
    return tables.encode([(symbols, scale_indices)])


def decode(tables: EntropyTables, stream: bytes | memoryview, *parts: np.ndarray) -> Any:
    """The symbols of a stream: an array for one part's classes, else a list of them."""
    decoder = tables.decoder(stream, "x")
    symbols = [decoder.decode(scale_indices) for scale_indices in parts]
    decoder.finish()
    return symbols if len(parts) > 1 else symbols[0]


def rare(letters: int) -> np.ndarray:
    return np.array([1] * (letters - 1) + [TOTAL - letters + 1], np.uint32)


@pytest.mark.parametrize(
    "counts",
    [
        rare(2),
        rare(2)[::-1],
        rare(256),
        np.roll(rare(6562), 3000),
        np.full(256, TOTAL // 256, np.uint32),
        integer_counts(1 / np.arange(1, 257) ** 2.5),
        integer_counts(np.random.default_rng(0).random(244) ** 9),
        *(grid_tables.class_table(c)[1] for c in (1, 7, 19, 31)),
    ],
)
def test_constriction_takes_integer_counts_exactly(counts: np.ndarray):
    model = exact_model(counts)
    starts = np.cumsum(counts, dtype=np.int64) - counts
    high = 987654321
    for letter, (start, count) in enumerate(zip(starts.tolist(), counts.tolist(), strict=True)):
        for rest in (start, start + count - 1):
            state = high << 24 | rest
            coder = AnsCoder(np.array([7, state & 0xFFFFFFFF, state >> 32], np.uint32))
            assert coder.decode(model) == letter
            left = high * count + rest - start
            words = [7, left & 0xFFFFFFFF, left >> 32] if left >> 32 else [left & 0xFFFFFFFF, 7][::-1]
            assert coder.get_compressed().tolist() == words


def plain_tables(runs: bool) -> EntropyTables:
    """Radius 1 in all classes; -1, 0, 1 and escape an eighth, a half, a quarter and an eighth of the time, or
    in class 9, with runs of 0 and 1 and longer ones a half, a quarter and a quarter of the time, -1, 1 and
    escape a quarter, a half and a quarter.
    """
    dense = np.array([1 << 21, 1 << 23, 1 << 22, 1 << 21], np.uint32)
    sparse = np.array([1 << 22, 1 << 23, 1 << 22], np.uint32)
    return EntropyTables.from_tensors(
        {
            "entropy.radius": np.array([0] + [1] * 31, np.uint8),
            "entropy.runs": np.array([0] * 9 + [2 * runs] + [0] * 22, np.uint16),
            "entropy.counts": np.concatenate([sparse if runs and c == 9 else dense for c in range(1, 32)]),
            "entropy.run_counts": np.array([1 << 23, 1 << 22, 1 << 22] * runs, np.uint32),
        }
    )


@pytest.mark.parametrize(
    ("runs", "stream"), [(False, "0080aa2e 1407e90a 04000000"), (True, "00804a3a 3900f982 05020000")]
)
def test_a_stream_has_these_bytes(runs: bool, stream: str):
    scale_indices = np.array([[9, 0, 3, 31], [9, 9, 0, 20], [9, 9, 0, 0], [9, 9, 9, 9]], np.uint8)
    symbols = np.array([[1, 0, -2, 300], [0, -9, 0, -1], [1, -1, 0, 0], [0, 0, 1, 0]], np.int32)
    tables = plain_tables(runs)
    assert encode(tables, symbols, scale_indices).hex(" ", 4) == stream
    assert decode(tables, bytes.fromhex(stream), scale_indices).tolist() == symbols.tolist()


@BOTH
@given(st.data())
def test_any_symbols_of_any_classes_come_back(tables: EntropyTables, data: st.DataObject):
    shape = data.draw(array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=8))
    scale_indices = data.draw(arrays(np.uint8, shape, elements=st.integers(0, 31)))
    near = st.one_of(st.integers(-2, 2), st.integers(-130, 130), st.integers(-32767, 32767))
    symbols = data.draw(arrays(np.int32, shape, elements=near))
    decoded = decode(tables, encode(tables, symbols, scale_indices), scale_indices)
    assert decoded.dtype == np.float32
    assert decoded.shape == shape
    assert (decoded == np.where(scale_indices > 0, symbols, 0)).all()


@BOTH
@given(st.data())
def test_parts_of_one_stream_come_back_in_their_order(tables: EntropyTables, data: st.DataObject):
    near = st.one_of(st.integers(-2, 2), st.integers(-32767, 32767))
    parts = []
    for _ in range(data.draw(st.integers(2, 4))):
        shape = data.draw(array_shapes(min_dims=3, max_dims=3, min_side=0, max_side=5))
        scale_indices = data.draw(arrays(np.uint8, shape, elements=st.integers(0, 31)))
        symbols = data.draw(arrays(np.int32, shape, elements=near))
        parts.append((np.where(scale_indices > 0, symbols, 0), scale_indices))
    found = decode(tables, tables.encode(parts), *(scale_indices for _, scale_indices in parts))
    assert all((one == symbols).all() for one, (symbols, _) in zip(found, parts, strict=True))


def test_a_stream_of_two_parts_has_these_letters():
    """The first part's letters and escapes, and then the second's, in one state."""
    tables = plain_tables(True)
    tensors = tables.to_tensors()
    run, symbol = exact_model(tensors["entropy.run_counts"]), exact_model(tensors["entropy.counts"][32:35])
    dense = exact_model(tensors["entropy.counts"][:4])
    parts = [
        (np.array([0, 0, 0, 5, -1]), np.array([9, 9, 9, 9, 2], np.uint8)),
        (np.array([[1, 0], [7, -1]]), np.array([[2, 9], [0, 9]], np.uint8)),
    ]
    first = [(0, dense), (1, Uniform(8)), (2, run), (2, symbol)]
    escaped = [(1, Uniform(32)), (2, Uniform(32)), (0, Uniform(2)), (3, Uniform(4))]
    second = [(2, dense), (1, Uniform(4)), (1, run), (0, symbol)]
    stream = written(*first, *escaped, *second)
    assert stream == tables.encode(parts)
    found = decode(tables, stream, *(scale_indices for _, scale_indices in parts))
    assert [part.tolist() for part in found] == [[0, 0, 0, 5, -1], [[1, 0], [0, -1]]]


def test_symbols_are_put_where_they_are_wanted():
    scale_indices = np.array([[9, 3], [0, 9]], np.uint8)
    symbols = np.array([[4, -1], [0, 3]], np.int32)
    out = np.zeros((5, 2, 2), np.float32)
    decoder = DENSE.decoder(encode(DENSE, symbols, scale_indices), "x")
    assert np.shares_memory(decoder.decode(scale_indices, out[3]), out)
    decoder.finish()
    assert (out[3] == symbols).all()
    assert not out[[0, 1, 2, 4]].any()


def test_a_stream_ends_with_its_last_part():
    parts = [(np.array([5, -3]), np.array([9, 20], np.uint8))] * 2
    stream = DENSE.encode(parts)
    with pytest.raises(FormatError, match="x: the stream does not end with its last symbol"):
        decode(DENSE, stream, parts[0][1])


@BOTH
def test_many_likely_symbols_come_back(tables: EntropyTables):
    scale_indices = np.random.default_rng(3).integers(0, 32, (16, 40, 50)).astype(np.uint8)
    symbols = grid_tables.random_symbols(scale_indices, wild=200)
    stream = encode(tables, symbols, scale_indices)
    assert (decode(tables, memoryview(stream), scale_indices) == symbols).all()


@BOTH
@pytest.mark.parametrize("c", [1, 5, 9, 31])
def test_escapes_begin_beyond_the_radius(tables: EntropyTables, c: int):
    radius = int(tables.radius[c])
    sizes = np.array([radius, radius + 1, radius + 2, radius + 3, 255, 256, 16384, 32766, 32767])
    symbols = np.concatenate([-sizes, sizes, [0, 1, -1]])
    scale_indices = np.full(len(symbols), c, np.uint8)
    assert (decode(tables, encode(tables, symbols, scale_indices), scale_indices) == symbols).all()


def test_symbols_beyond_the_largest_are_clipped():
    scale_indices = np.array([4, 4, 0], np.uint8)
    stream = encode(DENSE, np.array([40000, -(2**31) + 1, 5]), scale_indices)
    assert decode(DENSE, stream, scale_indices).tolist() == [32767, -32767, 0]


def test_nothing_coded_is_an_empty_stream():
    scale_indices = np.zeros((3, 4, 4), np.uint8)
    assert encode(DENSE, np.ones((3, 4, 4), np.int32), scale_indices) == b""
    assert not decode(DENSE, b"", scale_indices).any()
    with pytest.raises(FormatError, match="x: the stream does not end with its last symbol"):
        decode(DENSE, bytes([1, 0, 0, 0]), scale_indices)


@BOTH
@given(st.binary(max_size=64), st.integers(0, 200), st.integers(0, 2**32))
def test_any_bytes_give_symbols_within_bounds_or_are_refused(
    tables: EntropyTables, stream: bytes, count: int, seed: int
):
    scale_indices = np.random.default_rng(seed).integers(0, 32, count).astype(np.uint8)
    try:
        symbols = decode(tables, stream, scale_indices)
    except FormatError:
        return
    assert np.abs(symbols).max(initial=0) <= 32767
    assert encode(tables, symbols, scale_indices) == stream


@BOTH
def test_changed_streams_never_give_the_same_symbols(tables: EntropyTables):
    random = np.random.default_rng(4)
    scale_indices = random.integers(0, 32, 400).astype(np.uint8)
    symbols = grid_tables.random_symbols(scale_indices, wild=4)
    stream = encode(tables, symbols, scale_indices)
    changed = [stream[:at] for at in range(len(stream))]
    changed += [stream + bytes([1, 0, 0, 0]), stream + bytes(4), stream[4:], stream + stream]
    for _ in range(300):
        flipped = bytearray(stream)
        flipped[random.integers(len(stream))] ^= 1 << random.integers(8)
        changed.append(bytes(flipped))
    refused = 0
    for damaged in changed:
        try:
            assert (decode(tables, damaged, scale_indices) != symbols).any()
        except FormatError:
            refused += 1
    assert refused > 0.9 * len(changed)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ("010000", "x: a stream of 3 bytes; a multiple of 4 expected"),
        ("0100000000000000", "x: a stream ends in a zero word"),
        ("00000000", "x: a stream ends in a zero word"),
    ],
)
def test_streams_that_no_encoder_writes(stream: str, message: str):
    with pytest.raises(FormatError, match=message):
        decode(DENSE, bytes.fromhex(stream), np.full(4, 9, np.uint8))


def test_an_escape_to_a_symbol_beyond_the_largest_is_refused():
    radius, counts = grid_tables.class_table(20)
    for size, fits in ((32767, True), (32768, False)):
        coder = AnsCoder()
        low_bits = 2 * (size - radius - 1) + 1 - (1 << 15)
        coder.encode_reverse(np.array([low_bits], np.int32), Uniform(1 << 15))
        coder.encode_reverse(np.array([15], np.int32), Uniform(32))
        coder.encode_reverse(np.array([2 * radius + 1], np.int32), exact_model(counts))
        stream, scale_indices = coder.get_compressed().astype("<u4").tobytes(), np.array([20], np.uint8)
        if fits:
            assert decode(DENSE, stream, scale_indices).tolist() == [size]
        else:
            with pytest.raises(FormatError, match="x: a symbol of size 32768; at most 32767 expected"):
                decode(DENSE, stream, scale_indices)


def written(*letters: tuple[int, Any]) -> bytes:
    """The stream of these letters and models."""
    coder = AnsCoder()
    for letter, model in reversed(letters):
        coder.encode_reverse(np.array([letter], np.int32), model)
    return coder.get_compressed().astype("<u4").tobytes()


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ([(1, 8), (1, "run"), (1, "symbol")], [0, 1, 0, 0, 0]),
        ([(2, 8), (0, "run"), (1, "run"), (1, "symbol"), (0, "symbol")], [1, 0, -1, 0, 0]),
        ([(1, 8), (2, "run"), (1, "symbol"), (1, 32), (1, 2)], [0, 0, 0, 0, 1]),
        ([(1, 8), (2, "run"), (1, "symbol"), (2, 32), (0, 4)], "reach 6; there are 5"),
        ([(1, 8), (2, "run"), (1, "symbol"), (31, 32), (32767, 32768), (65535, 65536)], "there are 5"),
        ([(3, 8), *[(1, "run")] * 3, *[(1, "symbol")] * 3], "symbols of scale index 9 reach 6; there are 5"),
        ([(5, 8), *[(0, "run")] * 5, *[(1, "symbol")] * 5], [1, 1, 1, 1, 1]),
        (
            [(6, 8), *[(0, "run")] * 6, *[(1, "symbol")] * 6],
            "6 symbols of scale index 9 are not 0; there are 5",
        ),
        ([(1, 8), (1, "run"), (2, "symbol"), (18, 32), (0, 4), (0, 65536)], "at most 32767 expected"),
        ([(1, 8), (1, "run"), (1, "symbol"), (1, 8)], "does not end with its last symbol"),
    ],
)
def test_runs_are_read_as_documented_or_refused(letters: list[tuple[int, Any]], expected: Any):
    tables = plain_tables(True)
    tensors = tables.to_tensors()
    models = {
        "run": exact_model(tensors["entropy.run_counts"]),
        "symbol": exact_model(tensors["entropy.counts"][32:35]),
    }
    stream = written(*((letter, models.get(m) or Uniform(m)) for letter, m in letters))
    scale_indices = np.full(5, 9, np.uint8)
    if isinstance(expected, list):
        assert decode(tables, stream, scale_indices).tolist() == expected
        assert encode(tables, np.array(expected), scale_indices) == stream
    else:
        with pytest.raises(FormatError, match=expected):
            decode(tables, stream, scale_indices)


@pytest.mark.parametrize("n", [1, 2, 65535, 65536, 65537, 200_000])
@pytest.mark.parametrize("first", [True, False])
def test_classes_of_any_size_hold_few_symbols_or_many(n: int, first: bool):
    scale_indices = np.full(n, 9, np.uint8)
    one = np.zeros(n, np.int32)
    one[0 if first else -1] = -3
    for symbols in (np.zeros(n, np.int32), one, np.ones(n, np.int32)):
        stream = encode(SPARSE, symbols, scale_indices)
        assert (decode(SPARSE, stream, scale_indices) == symbols).all()


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
