"""What the first anchors of a channel_group adds to the means of the second."""

from collections.abc import Callable
from typing import Any

import grid_tables
import numpy as np
import pytest
from decant.codec.entropy.checkerboard import CheckerboardMean, anchor_positions
from decant.errors import BundleError

TENSORS = grid_tables.near_tensors([3], 5)
NETWORK = CheckerboardMean.from_tensors(TENSORS, 3, 5)


def plain(symbols: np.ndarray, step: np.ndarray, y: int, x: int) -> np.ndarray:
    """float64 (c,): what a place of the second half gets."""
    count, rows, columns = symbols.shape
    near = []
    for i, j in ((y, x - 1), (y, x + 1), (y - 1, x), (y + 1, x)):
        inside = 0 <= i < rows and 0 <= j < columns
        near.append(symbols[:, i, j] * step if inside else np.zeros(count))
    hidden_weight, hidden_bias, out_weight, out_bias = (t.astype(np.float64) for t in TENSORS.values())
    hidden = np.maximum(hidden_weight @ np.concatenate(near) + hidden_bias, 0)
    found: np.ndarray = out_weight @ hidden + out_bias
    return found


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 1), (6, 7)])
def test_the_second_half_gets_what_its_four_neighbours_say(size: tuple[int, int]):
    random = np.random.default_rng(size[1])
    symbols, step = random.integers(-9, 10, (3, *size)).astype(np.float32), np.float32([0.3, 1, 2.5])
    added = NETWORK.added(symbols, step)
    assert (added.shape, added.dtype) == (symbols.shape, np.float32)
    for y, x in np.ndindex(*size):
        expected = np.zeros(3) if (y + x) % 2 == 0 else plain(symbols, step, y, x)
        assert added[:, y, x] == pytest.approx(expected, abs=1e-4)


def test_symbols_of_the_second_half_do_not_count():
    random = np.random.default_rng(1)
    symbols, step = random.integers(-9, 10, (3, 8, 6)), np.float32([1, 1, 1])
    others = np.where(anchor_positions(8, 6), symbols, random.integers(-9, 10, symbols.shape))
    assert (NETWORK.added(symbols, step) == NETWORK.added(others, step)).all()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("hidden_weight", lambda t: t[:, :8], r"near\.hidden_weight is not float16 \(5, 12\)"),
        ("hidden_bias", lambda t: t.astype(np.float32), r"near\.hidden_bias is not float16 \(5,\)"),
        ("out_weight", lambda t: t.T, r"near\.out_weight is not float16 \(3, 5\)"),
        ("out_bias", lambda t: t * np.float16("inf"), r"near\.\* holds a number that is not finite"),
    ],
)
def test_tables_that_are_refused(name: str, change: Callable[[np.ndarray], Any], message: str):
    with pytest.raises(BundleError, match=message):
        CheckerboardMean.from_tensors({**TENSORS, f"near.{name}": change(TENSORS[f"near.{name}"])}, 3, 5)
