"""Scale indices: equal to plain integers for any weights, everywhere in a picture, and what is refused."""

from itertools import product

import grid_tables
import numpy as np
import pytest
from decant.codec.entropy.scale_network import LARGEST_BIAS, LARGEST_INPUT, ScaleNetwork, exact_product
from decant.errors import BundleError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from reference_decoder import scale_hidden, scale_sums

LARGEST_OFFSET = 4 * 32767


def plain(tensors: dict[str, np.ndarray], v: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """The classes in Python's integers: uint8 (M, 4 hz, 4 wz). ``offset`` in units of 1/256 class."""
    shape = [range(size) for size in v.shape]
    inputs = {place: int(v[place]) for place in product(*shape)}
    tables = {name: tensor.reshape(-1).tolist() for name, tensor in tensors.items()}
    scale_indices = np.full((len(offset), 4 * v.shape[1], 4 * v.shape[2]), 255, np.uint8)
    for y, x in np.ndindex(scale_indices.shape[1:]):
        sums = scale_sums(scale_hidden(inputs, shape[0], y, x, tables), y, x, tables)
        scale_indices[:, y, x] = np.clip((np.array(sums) + 4 * offset.astype(int)) >> 10, 0, 31)
    return scale_indices


def network(tensors: dict[str, np.ndarray]) -> ScaleNetwork:
    hidden, hyper = tensors["scale.hidden_weight"].shape[:2]
    return ScaleNetwork.from_tensors(tensors, len(tensors["scale.out_weight"]) // 4, hyper, hidden // 4)


def whole(network: ScaleNetwork, v: np.ndarray, offset: np.ndarray) -> np.ndarray:
    return rectangle(network, v, offset, (0, 4 * v.shape[1]), (0, 4 * v.shape[2]))


def rectangle(
    network: ScaleNetwork, v: np.ndarray, offset: np.ndarray, rows: tuple[int, int], columns: tuple[int, int]
) -> np.ndarray:
    frame = network.frame(v, rows, columns)
    return network.scale_indices(frame, 4 * offset.astype(np.int32), slice(0, len(offset)))


@given(st.data())
def test_classes_are_those_of_plain_integers(data: st.DataObject):
    channels, hyper, width = (data.draw(st.integers(1, 3)) for _ in range(3))
    weights = st.one_of(st.integers(-128, 127), st.sampled_from([-128, 0, 127]))
    tensors = {
        "scale.hidden_weight": data.draw(arrays(np.int8, (4 * width, hyper, 3, 3), elements=weights)),
        "scale.hidden_bias": data.draw(
            arrays(np.int32, 4 * width, elements=st.integers(-LARGEST_BIAS, LARGEST_BIAS))
        ),
        "scale.out_weight": data.draw(arrays(np.int8, (4 * channels, width), elements=weights)),
    }
    limit = data.draw(st.sampled_from([1, 30, 2000, 30000, LARGEST_INPUT]))
    size = (hyper, data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3)))
    v = data.draw(arrays(np.int32, size, elements=st.integers(-limit, limit)))
    offset = data.draw(arrays(np.int16, channels, elements=st.integers(-32768, 32767)))
    assert (whole(network(tensors), v, offset) == plain(tensors, v, offset)).all()


@pytest.mark.parametrize("largest", [2, 300, 9000, 500_000, LARGEST_INPUT])
def test_classes_of_a_network_of_real_size(largest: int):
    tensors = grid_tables.scale_tensors(64, 64, 48)
    random = np.random.default_rng(largest)
    v = random.integers(-largest, largest + 1, (64, 2, 3)).astype(np.int32)
    v[::3] = 0
    offset = random.integers(-9000, 1500, 64).astype(np.int16)
    offset[::5] = -32768
    found = whole(network(tensors), v, offset)
    assert (found == plain(tensors, v, offset)).all()
    assert len(np.unique(found)) > 10


@pytest.mark.parametrize("largest", [50_000, 80_000, LARGEST_INPUT])
def test_large_sums_that_cancel_stay_exact(largest: int):
    # The hyperlatents' sum is 0 and the biases lie at the edges of 100 and 99; class 10 begins with the form
    # of 100. A sum that had been rounded on its way would be off by more than the one unit to an edge.
    hidden = np.zeros((4, 3, 3, 3), np.int8)
    hidden[:, :, 1, 1] = (101, -99, -2)
    v = np.random.default_rng(0).integers(largest // 2, largest, (1, 9, 9)).astype(np.int32)
    tensors = {
        "scale.hidden_weight": hidden,
        "scale.hidden_bias": np.array([0, -1, 0, -1], np.int32) + 64 * 100 - 32,
        "scale.out_weight": np.full((4, 1), 100, np.int8),
    }
    offset = np.array([(10 * 1024 - 100 * 100) // 4], np.int16)
    found = whole(network(tensors), np.repeat(v, 3, axis=0), offset)
    expected = np.repeat(np.repeat([[10, 9], [10, 9]], 2, axis=0), 2, axis=1)
    assert (found[0] == np.tile(expected, (9, 9))).all()


@given(st.data())
def test_classes_of_a_rectangle_are_the_whole_pictures(data: st.DataObject):
    tensors = grid_tables.scale_tensors(5, 4, 3)
    hz, wz = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    v = np.random.default_rng(hz * 8 + wz).integers(-90, 91, (4, hz, wz)).astype(np.int32)
    offset = np.array([900, -2000, 0, 400, -32768], np.int16)
    scales = network(tensors)
    y0, x0 = data.draw(st.integers(0, 4 * hz - 1)), data.draw(st.integers(0, 4 * wz - 1))
    y1, x1 = data.draw(st.integers(y0 + 1, 4 * hz)), data.draw(st.integers(x0 + 1, 4 * wz))
    found = rectangle(scales, v, offset, (y0, y1), (x0, x1))
    assert found.dtype == np.uint8
    assert found.shape == (5, y1 - y0, x1 - x0)
    assert (found == whole(scales, v, offset)[:, y0:y1, x0:x1]).all()


def test_offsets_at_their_ends_give_all_or_nothing():
    tensors = grid_tables.scale_tensors(3, 2, 2)
    v = np.random.default_rng(0).integers(-50, 51, (2, 3, 3)).astype(np.int32)
    scales = network(tensors)
    assert (whole(scales, v, np.full(3, 32767, np.int16)) == 31).all()
    assert (whole(scales, v, np.full(3, -32768, np.int16)) == 0).all()


def test_no_hyperlatents_but_zeros_leave_the_biases():
    tensors = grid_tables.scale_tensors(3, 2, 2)
    v = np.zeros((2, 2, 1), np.int32)
    offset = np.array([0, 500, -500], np.int16)
    found = whole(network(tensors), v, offset)
    assert (found == plain(tensors, v, offset)).all()
    assert found.any()


@pytest.mark.parametrize(
    ("m", "k", "n"),
    [
        (1, 1, 1),
        (3, 0, 5),
        (0, 49, 7),
        (1024, 96, 1),
        (57, 700, 97),
        (1021, 49, 193),
        (29, 95, 96),
        (43, 190, 192),
        (1, 400, 300),
    ],
)
@pytest.mark.parametrize("transposed", [False, True])
def test_exact_products_are_exact_and_too_small_for_threads(
    m: int, k: int, n: int, transposed: bool, monkeypatch: pytest.MonkeyPatch
):
    random = np.random.default_rng(m + k + n)
    left, right = random.integers(-128, 128, (m, k)), random.integers(0, 128, (k, n))
    expected = left @ right
    blocks = []
    multiply = np.matmul

    def watched(a: np.ndarray, b: np.ndarray, **options: np.ndarray) -> np.ndarray:
        blocks.append((*a.shape[-2:], b.shape[-1]))
        return multiply(a, b, **options)

    monkeypatch.setattr(np, "matmul", watched)
    floats = left.astype(np.float32, order="F" if transposed else "C")
    assert (exact_product(floats, right.astype(np.float32)) == expected).all()
    for rows, depth, columns in blocks:
        # The limits of OpenBLAS (interface/gemm.c and gemv.c) below which it takes one thread.
        assert rows * depth * columns <= (1 << 18 if min(rows, columns) > 1 else 9215)
    assert blocks or not m * k


def test_tensors_come_back():
    tensors = grid_tables.scale_tensors(3, 2, 2)
    again = network(tensors).to_tensors()
    assert again.keys() == tensors.keys()
    assert all(again[name] is tensors[name] for name in tensors)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("hidden_weight", lambda t: None, r"scale\.hidden_weight is not int8 \(8, 2, 3, 3\)"),
        ("hidden_weight", lambda t: t.astype(np.int16), r"scale\.hidden_weight is not int8"),
        ("hidden_weight", lambda t: t[:, :1], r"scale\.hidden_weight is not int8"),
        ("hidden_bias", lambda t: t[:-1], r"scale\.hidden_bias is not int32 \(8,\)"),
        ("hidden_bias", lambda t: t.astype(np.int64), r"scale\.hidden_bias is not int32"),
        ("out_weight", lambda t: t[:4], r"scale\.out_weight is not int8 \(12, 2\)"),
        ("out_weight", lambda t: t.astype(np.float32), r"scale\.out_weight is not int8"),
    ],
)
def test_tensors_that_are_refused(name: str, change: object, message: str):
    tensors = grid_tables.scale_tensors(3, 2, 2)
    changed = change(tensors[f"scale.{name}"])
    with pytest.raises(BundleError, match=message):
        ScaleNetwork.from_tensors({**tensors, f"scale.{name}": changed}, 3, 2, 2)


def test_sums_that_float32_cannot_hold_are_refused():
    tensors = grid_tables.scale_tensors(1, 1, 520)
    tensors["scale.out_weight"][:] = 0
    tensors["scale.out_weight"][1, :514] = 127
    assert ScaleNetwork.from_tensors(tensors, 1, 1, 520)
    tensors["scale.out_weight"][1, 514] = 1
    with pytest.raises(BundleError, match=r"the sums of scale\.out_weight can exceed 2\^24"):
        ScaleNetwork.from_tensors(tensors, 1, 1, 520)
