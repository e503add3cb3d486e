"""Context networks: equal to plain integers for any weights, and what is refused."""

from collections.abc import Callable
from typing import Any

import grid_tables
import numpy as np
import pytest
from decant.codec.entropy.context_network import ContextNetwork
from decant.codec.entropy.scale_network import Frame, ScaleNetwork
from decant.codec.layout import GridLayout
from decant.errors import BundleError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from reference_decoder import context_sums

STAGES = (2, 3, 1)
WIDTH = 3
MODEL = grid_tables.grid_model(channel_groups=STAGES, context_width=WIDTH)
TENSORS = grid_tables.grid_tensors(MODEL)


def plain(tensors: dict[str, np.ndarray], i: int, symbols: np.ndarray) -> np.ndarray:
    """g of stage ``i`` in int64 (n, rows, columns), of the symbols (b, rows, columns) known before it."""
    e = tensors["context.magnitude"].astype(np.int64)[np.minimum(np.abs(symbols.astype(np.int64)), 255)]
    e = np.pad(e, ((0, 0), (1, 1), (1, 1)))
    feature = np.concatenate(
        [
            e[:, 1:-1, 1:-1],
            e[:, 1:-1, :-2] + e[:, 1:-1, 2:],
            e[:, :-2, 1:-1] + e[:, 2:, 1:-1],
        ]
    )
    weight, bias, out = (
        tensors[f"context.{i}.{name}"].astype(np.int64)
        for name in ("hidden_weight", "hidden_bias", "out_weight")
    )
    a = np.einsum("dj,jyx->dyx", weight, feature) + bias[:, None, None]
    return np.einsum("od,dyx->oyx", out, np.clip((a + 32) >> 6, 0, 255))


def frame_of(rows: int, columns: int, y: int = 0, x: int = 0) -> Frame:
    """A frame without hyperlatents around a rectangle that begins at ``y``, ``x``."""
    height, width = -(-(rows + y) // 4) * 4, -(-(columns + x) // 4) * 4
    hidden = np.zeros((1, height // 2, width // 2), np.float32)
    return Frame(hidden, np.zeros(sum(STAGES), np.float32), y, x, rows, columns)


def sums(network: ContextNetwork, frame: Frame, parts: list[np.ndarray]) -> list[np.ndarray]:
    """g of the second half of the first stage after the first of ``parts``, and of the stages after each of
    the others, in units of 1/1024 class.
    """
    tile = network.tile(frame)
    found = []
    for i, part in enumerate(parts):
        context = tile.add(part) if i else tile.after_anchors(part)
        g = np.einsum("od,dyx->oyx", context.weight.astype(float), context.planes.astype(float)) * 1024
        found.append(g[:, frame.y : frame.y + frame.rows, frame.x : frame.x + frame.columns])
        # No class is passed over that could be reached.
        planes = context.planes.reshape(len(context.planes), -1)
        assert (context.reach() >= (context.weight @ planes).max(axis=1)).all()
    return found


weights = st.one_of(st.integers(-128, 127), st.sampled_from([-128, 0, 127]))
symbol_values = st.one_of(st.just(0), st.integers(-3, 3), st.integers(-32767, 32767))


@given(st.data())
def test_sums_are_those_of_plain_integers(data: st.DataObject):
    tensors = {"context.magnitude": data.draw(arrays(np.uint8, 256))}
    before = 0
    for i, count in enumerate(STAGES):
        known = 3 * (before or count)
        tensors |= {
            f"context.{i}.hidden_weight": data.draw(arrays(np.int8, (WIDTH, known), elements=weights)),
            f"context.{i}.hidden_bias": data.draw(
                arrays(np.int32, WIDTH, elements=st.integers(-(2**23), 2**23))
            ),
            f"context.{i}.out_weight": data.draw(arrays(np.int8, (count, WIDTH), elements=weights)),
        }
        before += count
    scales = ScaleNetwork.from_tensors(grid_tables.scale_tensors(6, 3, 4), 6, 3, 4)
    network = ContextNetwork.from_tensors(tensors, STAGES, WIDTH, scales)
    rows, columns = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    kind = data.draw(st.sampled_from([np.int32, np.float32]))
    parts = [
        data.draw(arrays(np.int32, (count, rows, columns), elements=symbol_values)).astype(kind)
        for count in (STAGES[0], *STAGES[:-1])
    ]
    frame = frame_of(rows, columns, data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3)))
    anchors, *others = sums(network, frame, parts)
    assert (anchors == plain(tensors, 0, parts[0])).all()
    for i, found in enumerate(others, 1):
        assert (found == plain(tensors, i, np.concatenate(parts[1 : i + 1]))).all()


def test_the_plain_sums_are_those_of_the_reference_decoder():
    random = np.random.default_rng(0)
    symbols = random.integers(-4, 5, (5, 3, 4))
    tables = {name: tensor.reshape(-1).tolist() for name, tensor in TENSORS.items()}
    magnitudes = TENSORS["context.magnitude"].astype(int)[np.abs(symbols)]
    e = {tuple(place): int(value) for place, value in np.ndenumerate(magnitudes)}
    expected = plain(TENSORS, 2, symbols)
    for y, x in np.ndindex(3, 4):
        assert context_sums(e, "context.2", 5, [], y, x, tables) == expected[:, y, x].tolist()


@pytest.mark.parametrize("scale", [1, 40, 32767])
def test_classes_of_a_model_of_real_size(scale: int):
    """Classes of all channel_groups, of symbols of any size, against sums in int64."""
    channel_groups = (16, 48, 64)
    model = grid_tables.grid_model(128, 64, 48, 64, 8, channel_groups, 48)
    tensors = grid_tables.grid_tensors(model)
    layout = GridLayout.from_model(model, tensors)
    random = np.random.default_rng(scale)
    quality, v = layout.quality(60), random.integers(-60, 61, (64, 5, 7)).astype(np.int32)
    quality.scale_offset[::3] = -(4 << 15)

    def choose(_: slice, scale_indices: np.ndarray) -> np.ndarray:
        drawn = np.rint(random.laplace(0, scale / 4, scale_indices.shape))
        drawn[::2] = 0
        return np.where(scale_indices > 0, np.clip(drawn, -scale, scale), 0).astype(np.int32)

    for tile in ((0, 20, 0, 28), (4, 17, 8, 27)):
        symbols, scale_indices = layout.choose_symbols(v, quality, tile, choose)
        y0, y1, x0, x1 = tile
        frame = layout.scales.frame(v, (y0, y1), (x0, x1))
        # The scale network's sums, with the offset: its classes of offsets that lie 1/1024 apart would do as
        # well, and take longer.
        hidden = frame.hidden.astype(np.int64).reshape(48, -1)
        logits = (tensors["scale.out_weight"].astype(np.int64) @ hidden).reshape(
            128, 2, 2, *frame.hidden.shape[1:]
        )
        f = logits.transpose(0, 3, 1, 4, 2).reshape(128, frame.height, frame.width)
        f = f[:, frame.y : frame.y + y1 - y0, frame.x : frame.x + x1 - x0]
        f = f + quality.scale_offset[:, None, None]
        start = 0
        for i, count in enumerate(channel_groups):
            first = (np.arange(y1 - y0)[:, None] + np.arange(x1 - x0)) % 2 == 0
            g = (
                plain(tensors, i, symbols[:start])
                if i
                else plain(tensors, 0, symbols[:count] * first) * ~first
            )
            expected = np.clip((f[start : start + count] + g) >> 10, 0, 31)
            assert (scale_indices[start : start + count] == expected).all()
            start += count
        assert len(np.unique(scale_indices)) > 10


Change = Callable[[np.ndarray], Any]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("magnitude", lambda t: None, r"context\.magnitude is not uint8 \(256,\)"),
        ("magnitude", lambda t: t[:255], r"context\.magnitude is not uint8"),
        ("0.hidden_weight", lambda t: t[:, :4], r"context\.0\.hidden_weight is not int8 \(3, 6\)"),
        ("1.hidden_weight", lambda t: t.astype(np.int16), r"context\.1\.hidden_weight is not int8 \(3, 6\)"),
        ("2.hidden_weight", lambda t: t[:, :6], r"context\.2\.hidden_weight is not int8 \(3, 15\)"),
        ("1.hidden_bias", lambda t: t.astype(np.int64), r"context\.1\.hidden_bias is not int32 \(3,\)"),
        ("2.hidden_bias", lambda t: None, r"context\.2\.hidden_bias is not int32"),
        ("1.out_weight", lambda t: t.astype(np.uint8), r"context\.1\.out_weight is not int8 \(3, 3\)"),
        ("2.out_weight", lambda t: t[:0], r"context\.2\.out_weight is not int8 \(1, 3\)"),
    ],
)
def test_tables_that_are_refused(name: str, change: Change, message: str):
    changed = change(TENSORS[f"context.{name}"])
    with pytest.raises(BundleError, match=message):
        GridLayout.from_model(MODEL, {**TENSORS, f"context.{name}": changed})


def test_hidden_sums_that_float32_cannot_hold_are_refused():
    """255 * (first b + 2 * the rest) + bias + 32 may be 2^24 - 1."""
    tensors = {name: tensor.copy() for name, tensor in TENSORS.items()}
    tensors["context.2.hidden_weight"][1] = [-128] * 5 + [127] * 10
    largest = 2**24 - 1 - 32 - 255 * (5 * 128 + 2 * 10 * 127)
    tensors["context.2.hidden_bias"][1] = -largest
    assert GridLayout.from_model(MODEL, tensors)
    tensors["context.2.hidden_bias"][1] = -largest - 1
    with pytest.raises(BundleError, match=r"the sums of context\.2\.hidden_weight can exceed 2\^24"):
        GridLayout.from_model(MODEL, tensors)


def test_sums_of_both_networks_that_float32_cannot_hold_are_refused():
    """Rows of absolute sum 65278 together are the largest, as docs/format.md says."""
    model = grid_tables.grid_model(2, 1, 514, channel_groups=(1, 1), context_width=3)
    tensors = grid_tables.grid_tensors(model)
    tensors["scale.out_weight"][:] = 0
    tensors["scale.out_weight"][5, :512] = 127
    tensors["context.1.out_weight"][:] = [[-127, 127, 0]]
    assert GridLayout.from_model(model, tensors)
    tensors["context.1.out_weight"][:] = [[-128, 127, 0]]
    with pytest.raises(
        BundleError, match=r"the sums of context\.1\.out_weight and scale\.out_weight can exceed 2\^24"
    ):
        GridLayout.from_model(model, tensors)
