"""Streams decoded in C: the symbols and the refusals of numpy and constriction, for any tables and bytes."""

import copy

import grid_tables
import numpy as np
import pytest
from decant.codec.entropy import native
from decant.codec.layout import GridLayout
from decant.errors import FormatError
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.skipif(not native.available(), reason="decant was installed without a C compiler")

RUNS = {1: 5, 2: 40, 4: 2, 12: 3}


def layout_of(
    channel_groups: tuple[int, ...], class_width: int = 4, context_width: int = 5, **more: int
) -> GridLayout:
    shape = {"channels": sum(channel_groups), "class_width": class_width, "context_width": context_width}
    model = grid_tables.grid_model(channel_groups=channel_groups, **shape, **more)
    return GridLayout.from_model(model, grid_tables.grid_tensors(model, RUNS))


LAYOUTS = {channel_groups: layout_of(channel_groups) for channel_groups in ((6,), (1, 2, 3), (7, 30, 2, 9))}
LAYOUTS[16, 48, 192] = layout_of((16, 48, 192), 48, 48)
LAYOUTS[2, 9, 1] = layout_of((2, 9, 1), halves=2)
LAYOUTS[3, 5, 4] = layout_of((3, 5, 4), mixed_width=6)
LAYOUTS[4, 1, 3] = layout_of((4, 1, 3), 7, 11, halves=3, mixed_width=2)
LAYOUTS[16, 16, 32, 64, 128] = layout_of((16, 16, 32, 64, 128), 48, 80, halves=4, mixed_width=80)


def outcome(layout: GridLayout, payload: bytes, width: int, height: int, q: int) -> list[np.ndarray] | str:
    """Hyperlatents and the symbols of all tiles, or what is said of them."""
    shape, quality = layout.grid(width, height), layout.quality(q)
    try:
        parsed = layout.parse(payload, width, height, "x")
        z = layout.decode_hyper(parsed, shape, quality, "x")
        v = quality.scaled(z)
        tiles = range(len(shape.tiles))
        found = [layout.decode_tile(parsed, i, v, shape, quality, "x") for i in tiles]
        return [z, *(symbols for symbols, _ in found), *(added for _, added in found)]
    except FormatError as error:
        return str(error)


def both(layout: GridLayout, payload: bytes, width: int, height: int, q: int) -> list[np.ndarray] | str:
    """``outcome``, after checking that numpy gives the same."""
    plain = copy.copy(layout)
    plain.native = None
    found, wanted = (outcome(one, payload, width, height, q) for one in (layout, plain))
    if isinstance(wanted, str):
        assert found == wanted
    else:
        assert not isinstance(found, str), found
        exact = 1 + len(layout.grid(width, height).tiles)
        for i, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
            assert ours.dtype == theirs.dtype
            if i < exact:
                assert np.array_equal(ours, theirs)
            else:  # means are float: sums may be in another order
                np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * (1 + np.abs(theirs).max()))
    return found


@pytest.mark.parametrize("channel_groups", LAYOUTS)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (16, 80), (33, 17), (500, 300), (256, 272)])
def test_symbols_are_those_of_numpy(channel_groups: tuple[int, ...], width: int, height: int):
    layout = LAYOUTS[channel_groups]
    for q in (1, 50, 100):
        payload, z, symbols = grid_tables.encode_picture(layout, width, height, q, seed=q, wild=7)
        found = both(layout, payload, width, height, q)
        assert np.array_equal(found[0], z)
        tiles = layout.grid(width, height).tiles
        for (y0, y1, x0, x1), tile in zip(tiles, found[1 : 1 + len(tiles)], strict=True):
            assert np.array_equal(tile, symbols[:, y0:y1, x0:x1])


@given(
    st.sampled_from(
        [channel_groups for channel_groups in LAYOUTS if len(channel_groups) < 4 and sum(channel_groups) < 50]
    ),
    st.binary(max_size=400).map(lambda data: bytes(1) + data),
    st.integers(1, 260),
    st.integers(1, 100),
)
def test_any_bytes_come_to_the_same_end(channel_groups: tuple[int, ...], payload: bytes, width: int, q: int):
    both(LAYOUTS[channel_groups], payload, width, 100, q)


def test_damaged_streams_come_to_the_same_end():
    """Those of one bit flipped, and those of random words, which reach every refusal."""
    layout, others = LAYOUTS[1, 2, 3], LAYOUTS[7, 30, 2, 9]
    payload, *_ = grid_tables.encode_picture(layout, 500, 300, 60, wild=3)
    random = np.random.default_rng(1)
    ends = [both(layout, flipped(payload, random), 500, 300, 60) for _ in range(400)]
    for _ in range(300):
        words = random.integers(1, 2**32, random.integers(0, 120), dtype=np.uint32)
        ends.append(both(others, b"\x00" + words.tobytes(), 256, 256, int(random.integers(1, 101))))
    refusals = {str(end) for end in ends if isinstance(end, str)}
    for refusal in ("are not 0; there are", "a symbol of size", "reach", "does not end with its last"):
        assert any(refusal in said for said in refusals), refusal


def flipped(payload: bytes, random: np.random.Generator) -> bytes:
    """The payload with one bit changed."""
    found = bytearray(payload)
    found[random.integers(0, len(payload))] ^= 1 << int(random.integers(8))
    return bytes(found)


def test_the_environment_turns_it_off(monkeypatch: pytest.MonkeyPatch):
    assert layout_of((6,)).native is not None
    monkeypatch.setenv(native.VARIABLE, "0")
    assert not native.available()
    assert layout_of((6,)).native is None


def test_buffers_of_other_sizes_are_refused():
    layout = LAYOUTS[6,]
    decoder = layout.native
    assert decoder is not None
    v, offset, step = np.zeros((3, 1, 1), np.int32), np.zeros(6, np.int32), np.ones(6, np.float32)
    symbols, added = decoder.decode_tile(b"", v, (0, 4, 0, 4), offset, step, "x")
    assert symbols.shape == added.shape == (6, 4, 4)
    with pytest.raises(ValueError, match="hyperlatents do not cover"):
        decoder.decode_tile(b"", v, (0, 5, 0, 4), offset, step, "x")
    with pytest.raises(ValueError, match="hyperlatents do not cover"):
        decoder.decode_tile(b"", v, (4, 8, 0, 4), offset, step, "x")
    with pytest.raises(ValueError, match="12 expected"):
        decoder.decode_tile(b"", v[:2], (0, 4, 0, 4), offset, step, "x")
    with pytest.raises(ValueError, match="24 expected"):
        decoder.decode_tile(b"", v, (0, 4, 0, 4), offset[:5], step, "x")
    with pytest.raises(ValueError, match="beyond 31"):
        decoder.decode_part(b"", np.full(3, 32, np.uint8), "x")


def test_the_largest_hyperlatents_need_wider_sums():
    layout = LAYOUTS[1, 2, 3]
    shape, quality = layout.grid(128, 128), layout.quality(3)
    for size in (1 << 10, 1 << 16, 1 << 22):
        v = np.random.default_rng(size).integers(-size, size + 1, (3, shape.hz, shape.wz)).astype(np.int32)
        symbols, scale_indices = layout.choose_symbols(
            v, quality, shape.tiles[0], lambda _, part: grid_tables.random_symbols(part, 1)
        )
        payload = layout.write(b"", [layout.encode_tile(symbols, scale_indices)])
        parsed = layout.parse(payload, 128, 128, "x")
        assert np.array_equal(layout.decode_tile(parsed, 0, v, shape, quality, "x")[0], symbols)
