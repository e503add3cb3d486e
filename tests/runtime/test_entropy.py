"""Entropy coding: exact counts, round trips of any symbols, and what is refused."""

from collections.abc import Callable

import grid_tables
import numpy as np
import pytest
from decant.entropy import (
    CLASSES,
    TOTAL,
    AnsCoder,
    EntropyTables,
    Uniform,
    exact_model,
    integer_counts,
    joint_counts_of,
    recommended_joint,
)
from decant.errors import BundleError, FormatError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

JOINT = {1: 5, 2: 4, 3: 8, 5: 3, 9: 2, 14: 5}
SINGLE = EntropyTables.from_tensors(grid_tables.entropy_tensors())
JOINED = EntropyTables.from_tensors(grid_tables.entropy_tensors(JOINT))
BOTH = pytest.mark.parametrize("tables", [SINGLE, JOINED], ids=["single", "joint"])


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


def plain_tables(joined: bool) -> EntropyTables:
    """Radius 1 in all classes; -1, 0, 1 and escape an eighth, a half, a quarter and an eighth of the time.
    Class 9 is joined in pairs, or not.
    """
    g = np.ones(CLASSES, np.uint8)
    g[9] += joined
    counts = np.array([1 << 21, 1 << 23, 1 << 22, 1 << 21], np.uint32)
    pairs = np.outer(counts[:3] >> 12, counts[:3] >> 12).reshape(-1)
    joint_counts = np.append(pairs, TOTAL - pairs.sum()).astype(np.uint32)[: 10 * joined]
    return EntropyTables.from_tensors(
        {
            "entropy.radius": np.array([0] + [1] * 31, np.uint8),
            "entropy.counts": np.tile(counts, 31),
            "entropy.joint": g,
            "entropy.joint_counts": joint_counts,
        }
    )


@pytest.mark.parametrize(("joined", "stream"), [(False, "0080fa75 c1410904"), (True, "0080f67c 06903811")])
def test_a_stream_has_these_bytes(joined: bool, stream: str):
    classes = np.array([[9, 0, 3, 31], [9, 9, 0, 20], [9, 9, 0, 0]], np.uint8)
    symbols = np.array([[1, 0, -2, 300], [0, -9, 0, -1], [1, -1, 0, 0]], np.int32)
    tables = plain_tables(joined)
    assert tables.encode(symbols, classes).hex(" ", 4) == stream
    assert tables.decode(bytes.fromhex(stream), classes, "x").tolist() == symbols.tolist()


@BOTH
@given(st.data())
def test_any_symbols_of_any_classes_come_back(tables: EntropyTables, data: st.DataObject):
    shape = data.draw(array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=8))
    classes = data.draw(arrays(np.uint8, shape, elements=st.integers(0, 31)))
    near = st.one_of(st.integers(-2, 2), st.integers(-130, 130), st.integers(-32767, 32767))
    symbols = data.draw(arrays(np.int32, shape, elements=near))
    decoded = tables.decode(tables.encode(symbols, classes), classes, "x")
    assert decoded.dtype == np.float32
    assert decoded.shape == shape
    assert (decoded == np.where(classes > 0, symbols, 0)).all()


@BOTH
def test_many_likely_symbols_come_back(tables: EntropyTables):
    classes = np.random.default_rng(3).integers(0, 32, (16, 40, 50)).astype(np.uint8)
    symbols = grid_tables.random_symbols(classes, wild=200)
    stream = tables.encode(symbols, classes)
    assert (tables.decode(memoryview(stream), classes, "x") == symbols).all()


@BOTH
@pytest.mark.parametrize("c", [1, 5, 9, 31])
def test_escapes_begin_beyond_the_radius(tables: EntropyTables, c: int):
    radius = int(tables.radius[c])
    sizes = np.array([radius, radius + 1, radius + 2, radius + 3, 255, 256, 16384, 32766, 32767])
    symbols = np.concatenate([-sizes, sizes, [0, 1, -1]])
    classes = np.full(len(symbols), c, np.uint8)
    assert (tables.decode(tables.encode(symbols, classes), classes, "x") == symbols).all()


def test_symbols_beyond_the_largest_are_clipped():
    classes = np.array([4, 4, 0], np.uint8)
    stream = SINGLE.encode(np.array([40000, -(2**31) + 1, 5]), classes)
    assert SINGLE.decode(stream, classes, "x").tolist() == [32767, -32767, 0]


def test_nothing_coded_is_an_empty_stream():
    classes = np.zeros((3, 4, 4), np.uint8)
    assert SINGLE.encode(np.ones((3, 4, 4), np.int32), classes) == b""
    assert not SINGLE.decode(b"", classes, "x").any()
    with pytest.raises(FormatError, match="x: the stream does not end with its last symbol"):
        SINGLE.decode(bytes([1, 0, 0, 0]), classes, "x")


@BOTH
@given(st.binary(max_size=64), st.integers(0, 200), st.integers(0, 2**32))
def test_any_bytes_give_symbols_within_bounds_or_are_refused(
    tables: EntropyTables, stream: bytes, count: int, seed: int
):
    classes = np.random.default_rng(seed).integers(0, 32, count).astype(np.uint8)
    try:
        symbols = tables.decode(stream, classes, "x")
    except FormatError:
        return
    assert np.abs(symbols).max(initial=0) <= 32767
    again = tables.encode(symbols, classes)
    # Only the words of joint letters can be said in two ways, the longer of which no encoder writes.
    assert again == stream or tables is JOINED
    assert (tables.decode(again, classes, "x") == symbols).all()


@BOTH
def test_changed_streams_never_give_the_same_symbols(tables: EntropyTables):
    random = np.random.default_rng(4)
    classes = random.integers(0, 32, 400).astype(np.uint8)
    symbols = grid_tables.random_symbols(classes, wild=4)
    stream = tables.encode(symbols, classes)
    changed = [stream[:at] for at in range(len(stream))]
    changed += [stream + bytes([1, 0, 0, 0]), stream + bytes(4), stream[4:], stream + stream]
    for _ in range(300):
        flipped = bytearray(stream)
        flipped[random.integers(len(stream))] ^= 1 << random.integers(8)
        changed.append(bytes(flipped))
    refused = 0
    for damaged in changed:
        try:
            assert (tables.decode(damaged, classes, "x") != symbols).any()
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
        SINGLE.decode(bytes.fromhex(stream), np.full(4, 9, np.uint8), "x")


def test_an_escape_to_a_symbol_beyond_the_largest_is_refused():
    radius, counts = grid_tables.class_table(20)
    for size, fits in ((32767, True), (32768, False)):
        coder = AnsCoder()
        low_bits = 2 * (size - radius - 1) + 1 - (1 << 15)
        coder.encode_reverse(np.array([low_bits], np.int32), Uniform(1 << 15))
        coder.encode_reverse(np.array([15], np.int32), Uniform(16))
        coder.encode_reverse(np.array([2 * radius + 1], np.int32), exact_model(counts))
        stream, classes = coder.get_compressed().astype("<u4").tobytes(), np.array([20], np.uint8)
        if fits:
            assert SINGLE.decode(stream, classes, "x").tolist() == [size]
        else:
            with pytest.raises(FormatError, match="x: a symbol of size 32768; at most 32767 expected"):
                SINGLE.decode(stream, classes, "x")


Change = Callable[[dict[str, np.ndarray]], object]


def put(name: str, at: int, value: int) -> Change:
    return lambda tensors: tensors[name].__setitem__(at, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("entropy.radius"), r"entropy\.radius is not uint8 \(32,\)"),
        (lambda t: t.update({"entropy.radius": t["entropy.radius"][:31]}), r"entropy\.radius is not"),
        (lambda t: t.update({"entropy.joint": t["entropy.joint"].astype(int)}), r"entropy\.joint is not"),
        (lambda t: t.pop("entropy.counts"), r"entropy\.counts is not uint32"),
        (lambda t: t.update({"entropy.counts": t["entropy.counts"][:-1]}), r"entropy\.counts is not"),
        (lambda t: t.pop("entropy.joint_counts"), r"entropy\.joint_counts is not uint32"),
        (lambda t: t.update({"entropy.counts": t["entropy.counts"][None]}), r"entropy\.counts is not"),
        (put("entropy.radius", 0, 1), r"entropy\.radius begins with 1; 0 expected"),
        (put("entropy.radius", 9, 200), r"entropy\.counts is not uint32"),
        (put("entropy.joint", 7, 0), r"entropy\.joint holds a number outside 1\.\.8"),
        (put("entropy.joint", 7, 9), r"entropy\.joint holds a number outside 1\.\.8"),
        (put("entropy.joint", 0, 255), r"entropy\.joint holds a number outside 1\.\.8"),
        (put("entropy.joint", 7, 2), r"entropy\.joint_counts is not uint32"),
        (put("entropy.counts", 0, 0), r"entropy\.counts of class 1: counts of at least 1 and sum 2\^24"),
        (put("entropy.counts", -1, 2**32 - 1), r"entropy\.counts of class 31: counts of at least 1"),
        (put("entropy.joint_counts", 5, 0), r"entropy\.joint_counts of class 1: counts of at least 1"),
    ],
)
def test_tables_that_are_refused(change: Change, message: str):
    tensors = grid_tables.entropy_tensors(JOINT)
    change(tensors)
    with pytest.raises(BundleError, match=message):
        EntropyTables.from_tensors(tensors)


@BOTH
def test_tables_come_back(tables: EntropyTables):
    again = tables.to_tensors()
    wanted = grid_tables.entropy_tensors(JOINT if tables is JOINED else None)
    assert again.keys() == wanted.keys()
    assert all(again[name].dtype == wanted[name].dtype for name in wanted)
    assert all((again[name] == wanted[name]).all() for name in wanted)


@BOTH
@pytest.mark.parametrize("c", [1, 3, 5, 9, 14, 31])
def test_costs_are_the_lengths_of_streams(tables: EntropyTables, c: int):
    classes = np.full(8000, c, np.uint8)
    symbols = grid_tables.random_symbols(classes)
    largest = int(tables.radius.max())
    symbols = np.clip(symbols, -largest, largest)
    costs = tables.cost_bits()
    assert costs.shape == (CLASSES, 2 * largest + 1)
    assert costs.dtype == np.float32
    stream = 8 * len(tables.encode(symbols, classes))
    expected = costs[c, symbols + largest].sum()
    assert expected == pytest.approx(stream, rel=0.01, abs=64)


@BOTH
def test_the_cost_of_an_escape_is_the_length_of_its_stream(tables: EntropyTables):
    largest, radius = int(tables.radius.max()), int(tables.radius[5])
    for symbol in (-radius - 1, 40, -127):
        classes = np.full(3000, 5, np.uint8)
        symbols = np.zeros(3000, np.int32)
        symbols[::60] = symbol
        plain = 8 * len(tables.encode(np.zeros(3000, np.int32), classes))
        costs = tables.cost_bits()[5]
        extra = 50 * (costs[symbol + largest] - costs[largest])
        assert 8 * len(tables.encode(symbols, classes)) - plain == pytest.approx(extra, abs=70)


def test_class_0_costs_nothing_and_holds_nothing_else():
    costs = SINGLE.cost_bits()
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


def test_joint_counts_are_products_with_the_first_symbol_first():
    counts = integer_counts(np.array([0.1, 0.6, 0.2, 0.1]))
    assert (joint_counts_of(counts, 1, 1) == counts).all()
    joint = joint_counts_of(counts, 1, 2) / TOTAL
    assert joint[:-1].reshape(3, 3) == pytest.approx(np.outer([0.1, 0.6, 0.2], [0.1, 0.6, 0.2]), abs=1e-6)
    assert joint[-1] == pytest.approx(0.19, abs=1e-6)


@given(st.integers(1, 31), st.integers(1, 8))
def test_joint_counts_have_the_form_of_tables(c: int, g: int):
    radius, counts = grid_tables.class_table(c)
    joint = joint_counts_of(counts, radius, g)
    assert joint.dtype == np.uint32
    assert joint.shape == (3**g + 1,)
    assert joint.min() >= 1
    assert joint.sum() == TOTAL


def test_low_classes_are_joined_and_high_ones_are_not():
    recommended = [recommended_joint(counts, r) for r, counts in map(grid_tables.class_table, range(1, 32))]
    assert recommended[:5] == [5] * 5
    assert recommended[9:] == [1] * 22


@pytest.mark.parametrize("c", range(1, 10))
def test_joining_as_recommended_costs_half_a_percent_at_most(c: int):
    radius, counts = grid_tables.class_table(c)
    joined = EntropyTables.from_tensors(grid_tables.entropy_tensors({c: recommended_joint(counts, radius)}))
    classes = np.full(200_000, c, np.uint8)
    letters = np.random.default_rng(c).choice(
        len(counts) - 1, len(classes), p=counts[:-1] / counts[:-1].sum()
    )
    symbols = letters - radius
    assert len(joined.encode(symbols, classes)) <= 1.006 * len(SINGLE.encode(symbols, classes)) + 8
