"""Streams of symbols (docs/format/grid.md): bytes, what comes back, and what is refused."""

from typing import Any

import grid_tables
import numpy as np
import pytest
from decant.codec.entropy.counts import (
    TOTAL,
    Uniform,
    exact_model,
    integer_counts,
)
from decant.codec.entropy.rans import AnsCoder, EntropyTables
from decant.errors import FormatError
from entropy_streams import BOTH, DENSE, SPARSE, decode, encode
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays


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
