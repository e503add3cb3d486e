"""Cutting pictures into the tiles of a static graph: what is covered, what is masked, what is refused."""

from collections.abc import Sequence

import numpy as np
import pytest
from decant.backends.tiling import Tiling, is_static, is_tile
from decant.errors import BundleError
from decant.formats.manifest import Graph, TensorSpec
from hypothesis import given
from hypothesis import strategies as st

SIDE, FINER, SCALE = 8, 2, 4


def graph(side: int = SIDE, mask: int = SIDE * FINER, rows: int = SIDE * SCALE) -> Graph:
    inputs = (
        TensorSpec("x", "float32", (1, 2, side, side)),
        TensorSpec("step", "float32", (1, 2, 1, 1)),
        TensorSpec("inside", "float32", (1, 1, mask, mask)),
    )
    outputs = (TensorSpec("y", "float32", (1, 2, rows, rows)),)
    return Graph("synthesis", "float16", "onnxruntime", (), inputs, outputs)


def blurred(x: np.ndarray, radius: int) -> np.ndarray:
    """The sum of ``x`` (1, C, rows, columns) over squares that reach ``radius`` places, zero outside."""
    wide = np.pad(x, ((0, 0), (0, 0), (radius, radius), (radius, radius)))
    rows, columns = x.shape[2:]
    parts = [
        wide[:, :, i : i + rows, j : j + columns]
        for i in range(2 * radius + 1)
        for j in range(2 * radius + 1)
    ]
    return np.sum(parts, axis=0)


def network(x: np.ndarray, step: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Two convolutions with a bias between them, which the mask must hold back, and a finer output."""
    coarse = inside[:, :, ::FINER, ::FINER]
    made = blurred((blurred(x * step, 1) + 1) * coarse, 1)
    return made.repeat(SCALE, axis=2).repeat(SCALE, axis=3)


def whole(x: np.ndarray, step: np.ndarray) -> np.ndarray:
    return network(x, step, np.ones((1, 1, x.shape[2] * FINER, x.shape[3] * FINER)))


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 1 << 30))
def test_tiles_with_a_halo_give_what_one_run_gives(height: int, width: int, seed: int):
    tiling = Tiling.of(graph(), 2, "here")
    random = np.random.default_rng(seed)
    x = random.integers(-9, 9, (1, 2, height, width)).astype(np.float32)
    step = random.integers(1, 4, (1, 2, 1, 1)).astype(np.float32)
    assert np.array_equal(tiling.run([x, step], graph().inputs, network), whole(x, step))


def test_a_narrower_halo_than_the_receptive_field_shows():
    tiling = Tiling.of(graph(), 1, "here")
    x, step = np.ones((1, 2, 20, 20), np.float32), np.ones((1, 2, 1, 1), np.float32)
    assert not np.array_equal(tiling.run([x, step], graph().inputs, network), whole(x, step))


@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 3))
def test_cores_cover_every_place_once(height: int, width: int, halo: int):
    windows = Tiling.of(graph(), halo, "here").windows(height, width)
    count = np.zeros((height, width), int)
    for core, outer in windows:
        count[core.y0 : core.y1, core.x0 : core.x1] += 1
        assert (outer.height, outer.width) == (SIDE, SIDE)
        assert core.cut(outer) == core
    assert (count == 1).all()


@pytest.mark.parametrize(
    "broken",
    [graph(mask=SIDE * FINER + 1), graph(rows=SIDE * SCALE + 1), graph(side=4, mask=8, rows=16)],
    ids=["mask", "output", "halo"],
)
def test_shapes_that_do_not_fit_together_are_refused(broken: Graph):
    with pytest.raises(BundleError, match="do not fit together"):
        Tiling.of(broken, 2, "here")


def test_free_dimensions_are_no_tile():
    def spec(name: str, shape: Sequence[int | str]) -> TensorSpec:
        return TensorSpec(name, "float32", tuple(shape))

    free = Graph(
        "synthesis",
        "float16",
        "onnxruntime",
        (),
        (spec("x", [1, 2, "h", "w"]), spec("inside", [1, 1, "a", "b"])),
        (spec("y", [1, 2, "c", "d"]),),
    )
    assert is_tile(free)
    assert not is_static(free)
    assert is_static(graph())
    with pytest.raises(BundleError, match="static shapes of four dimensions"):
        Tiling.of(free, 1, "here")
