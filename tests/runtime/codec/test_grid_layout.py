"""The layout `grid`: shapes, qualities, payloads, whole round trips, and what is refused."""

import copy
from collections.abc import Callable
from typing import Any

import grid_tables
import numpy as np
import pytest
from decant.codec.layout import GridLayout
from decant.errors import BundleError, FormatError
from decant.layouts.registry import layout_of
from hypothesis import example, given
from hypothesis import strategies as st

MODEL = grid_tables.grid_model()
TENSORS = grid_tables.grid_tensors(MODEL, {1: 5, 4: 2, 12: 3})
LAYOUT = GridLayout.from_model(MODEL, TENSORS)
STAGED = grid_tables.grid_model(channel_groups=(1, 2, 3))
STAGED_TENSORS = grid_tables.grid_tensors(STAGED, {1: 5, 4: 2, 12: 3})
LAYOUTS = {
    "one": LAYOUT,
    "two": GridLayout.from_model(
        grid_tables.grid_model(channel_groups=(2, 4)),
        grid_tables.grid_tensors(grid_tables.grid_model(channel_groups=(2, 4)), {1: 5}),
    ),
    "three": GridLayout.from_model(STAGED, STAGED_TENSORS),
}
LAYOUTS["numpy"] = copy.copy(LAYOUTS["three"])
LAYOUTS["numpy"].native = None  # as where decant was installed without a C compiler
STAGES = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def decode(layout: GridLayout, payload: bytes, width: int, height: int, q: int) -> tuple[Any, Any]:
    """(z, symbols) of a payload."""
    shape, quality = layout.grid(width, height), layout.quality(q)
    parsed = layout.parse(payload, width, height, "photo.dcn")
    z = layout.decode_hyper(parsed, shape, quality, "photo.dcn")
    v = quality.scaled(z)
    symbols = np.full((layout.channels, shape.h, shape.w), np.nan, np.float32)
    for index, (y0, y1, x0, x1) in enumerate(shape.tiles):
        found, _ = layout.decode_tile(parsed, index, v, shape, quality, "photo.dcn")
        symbols[:, y0:y1, x0:x1] = found
    return z, symbols


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((1, 1), (1, 1, 1, 1, 1)),
        ((16, 17), (2, 1, 1, 1, 1)),
        ((65, 64), (4, 5, 1, 2, 1)),
        ((768, 512), (32, 48, 8, 12, 6)),
        ((257, 256), (16, 17, 4, 5, 2)),
        ((65535, 1), (1, 4096, 1, 1024, 256)),
    ],
)
def test_grids_of_pictures(size: tuple[int, int], grid: tuple[int, ...]):
    shape = LAYOUT.grid(*size)
    assert (shape.h, shape.w, shape.hz, shape.wz, len(shape.tiles)) == grid


@given(st.integers(1, 1500), st.integers(1, 1500))
def test_groups_cover_every_latent_once_in_rows(width: int, height: int):
    shape = LAYOUT.grid(width, height)
    covered = np.zeros((shape.h, shape.w), int)
    for y0, y1, x0, x1 in shape.tiles:
        assert 0 < y1 - y0 <= 16
        assert 0 < x1 - x0 <= 16
        covered[y0:y1, x0:x1] += 1
    assert (covered == 1).all()
    assert [(y0, x0) for y0, _, x0, _ in shape.tiles] == sorted((y0, x0) for y0, _, x0, _ in shape.tiles)


@pytest.mark.parametrize(("model", "tensors"), [(MODEL, TENSORS), (STAGED, STAGED_TENSORS)])
def test_the_model_and_its_tables_come_back(model: dict[str, Any], tensors: dict[str, np.ndarray]):
    layout = layout_of(model, tensors)
    assert isinstance(layout, GridLayout)
    assert layout.to_model() == model["latent"]
    assert (layout.channel_groups, layout.context_width) == (
        model["latent"]["stages"],
        model["latent"]["context_width"],
    )
    tables = layout.tables()
    assert tables.keys() == tensors.keys()
    assert all(tables[name].dtype == tensors[name].dtype for name in tables)
    assert all((tables[name] == tensors[name]).all() for name in tables)


def test_a_quality_is_a_row_of_the_tables():
    for q in (1, 50, 100):
        quality = LAYOUT.quality(q)
        levels, index = TENSORS["quality.step_levels"], TENSORS["quality.step_index"][q - 1]
        assert quality.step.tolist() == [levels[i] for i in index]
        assert quality.gain == pytest.approx(1 / quality.step, rel=1e-6)
        assert quality.step.dtype == quality.gain.dtype == np.float32
        assert quality.hyper_gain == pytest.approx(16 / TENSORS["quality.hyper_multiplier"][q - 1], rel=1e-6)
        assert (quality.hyper_scale_index == TENSORS["quality.hyper_class"][q - 1]).all()
        assert (quality.hyper_multiplier == TENSORS["quality.hyper_multiplier"][q - 1]).all()
        offsets = TENSORS["quality.class_offset"][q - 1].astype(int)
        assert (quality.scale_offset == 256 * (offsets - 64)).all()


@pytest.mark.parametrize("q", [0, 101, -1])
def test_qualities_that_there_are_not(q: int):
    with pytest.raises(FormatError, match=rf"quality {q}; 1\.\.100 expected"):
        LAYOUT.quality(q)


def test_scaled_hyperlatents_are_clipped():
    quality = LAYOUT.quality(9)
    z = np.array([[[32767]], [[-32767]], [[3]]], np.int32)
    quality.hyper_multiplier[:] = (255, 255, 7)
    assert quality.scaled(z).reshape(-1).tolist() == [1 << 22, -(1 << 22), 21]
    assert quality.scaled(z).dtype == np.int32


@STAGES
@given(st.integers(1, 700), st.integers(1, 700), st.integers(1, 100), st.integers(0, 20))
@example(1, 1, 50, 5)
def test_pictures_of_any_size_come_back(layout: GridLayout, width: int, height: int, q: int, wild: int):
    payload, z, symbols = grid_tables.encode_picture(layout, width, height, q, seed=width, wild=wild)
    found_z, found = decode(layout, payload, width, height, q)
    assert found_z.dtype == np.int32
    assert found.dtype == np.float32
    assert (found_z == z).all()
    assert (found == symbols).all()


@pytest.mark.parametrize("channel_groups", [(256,), (16, 48, 192), (16, 48, 256)])
def test_a_picture_of_real_size_comes_back(channel_groups: tuple[int, ...]):
    model = grid_tables.grid_model(sum(channel_groups), 64, 48, 64, 8, channel_groups, context_width=48)
    layout = GridLayout.from_model(model, grid_tables.grid_tensors(model, dict.fromkeys(range(1, 8), 5)))
    payload, z, symbols = grid_tables.encode_picture(layout, 768, 1200, 44, wild=50)
    found_z, found = decode(layout, payload, 768, 1200, 44)
    assert (found_z == z).all()
    assert (found == symbols).all()
    assert len(np.unique(symbols)) > 50


@STAGES
def test_stages_are_asked_for_in_turn(layout: GridLayout):
    quality, v = layout.quality(70), np.random.default_rng(0).integers(-40, 41, (3, 2, 3)).astype(np.int32)
    asked = []

    def choose(channels: slice, scale_indices: np.ndarray) -> np.ndarray:
        asked.append((channels, scale_indices.copy()))
        return np.where(scale_indices > 0, scale_indices.astype(np.int32) // 3 - 2, 0)

    symbols, scale_indices = layout.choose_symbols(v, quality, (0, 7, 0, 11), choose)
    assert symbols.shape == scale_indices.shape == (6, 7, 11)
    assert (symbols.dtype, scale_indices.dtype) == (np.int32, np.uint8)
    first, *others = layout.channel_groups
    assert [channels.stop - channels.start for channels, _ in asked] == [first, first, *others]
    anchors = (np.arange(7)[:, None] + np.arange(11)) % 2 == 0
    (_, begun), (_, ended), *later = asked
    assert not begun[:, ~anchors].any()
    assert not ended[:, anchors].any()
    assert (np.concatenate([begun + ended, *(found for _, found in later)]) == scale_indices).all()
    assert (symbols == np.where(scale_indices > 0, scale_indices.astype(np.int32) // 3 - 2, 0)).all()


def test_later_stages_depend_on_the_symbols_of_earlier_ones_and_not_the_reverse():
    layout = LAYOUTS["three"]
    quality, v = layout.quality(70), np.zeros((3, 2, 2), np.int32)
    quality.scale_offset[:] = 5 * 1024
    plain = layout.choose_symbols(
        v, quality, (0, 8, 0, 8), lambda _, scale_indices: np.zeros(scale_indices.shape, np.int32)
    )[1]
    for channel_group, first in ((0, 1), (1, 3)):

        def choose(
            channels: slice, scale_indices: np.ndarray, channel_group: int = channel_group
        ) -> np.ndarray:
            symbols = np.zeros(scale_indices.shape, np.int32)
            if channels.start == (0, 1)[channel_group]:
                symbols[0, 4, 4] = -9
            return symbols

        scale_indices = layout.choose_symbols(v, quality, (0, 8, 0, 8), choose)[1]
        coded_before = np.ones((first, 8, 8), bool)
        if channel_group == 0:  # in the first stage, those of an odd y + x come later
            coded_before[0] = (np.arange(8)[:, None] + np.arange(8)) % 2 == 0
        assert (scale_indices[:first] == plain[:first])[coded_before].all()
        changed = (scale_indices[first:] != plain[first:]).any(axis=0)
        assert changed[4, 4]
        assert not changed[[0, 1, 2, 6, 7]].any()


def test_groups_do_not_see_each_other():
    """The scale_indices of a tile are those that it has alone."""
    layout = LAYOUTS["three"]
    payload, z, symbols = grid_tables.encode_picture(layout, 500, 300, 60, wild=9)
    shape, quality = layout.grid(500, 300), layout.quality(60)
    parsed = layout.parse(payload, 500, 300, "x")
    for index in reversed(range(len(shape.tiles))):
        y0, y1, x0, x1 = shape.tiles[index]
        found, _ = layout.decode_tile(parsed, index, quality.scaled(z), shape, quality, "x")
        assert (found == symbols[:, y0:y1, x0:x1]).all()


def test_the_largest_hyperlatents_come_back():
    shape, quality = LAYOUT.grid(64, 128), LAYOUT.quality(3)
    z = np.array([32767, -32767, 32766, -1, 0, 300], np.int32).reshape(3, 2, 1)
    payload = LAYOUT.write(LAYOUT.encode_hyper(z, quality), [b""])
    parsed = LAYOUT.parse(payload, 64, 128, "x")
    assert (LAYOUT.decode_hyper(parsed, shape, quality, "x") == z).all()


@pytest.mark.parametrize(
    ("lengths", "payload"),
    [
        ([4, 8], "04 01010101 02020202 02020202"),
        ([0, 0], "00"),
        ([4, 0, 0], "04 01010101 00"),
        ([0, 4, 4], "00 04 02020202 03030303"),
        ([132, 256, 0], "8401" + "01" * 132 + "8002" + "02" * 256),
        ([0, 16384, 4], "00 808001" + "02" * 16384 + "03030303"),
    ],
)
def test_a_payload_has_these_bytes(lengths: list[int], payload: str):
    hyper, *tiles = (bytes([i]) * length for i, length in enumerate(lengths, 1))
    assert LAYOUT.write(hyper, tiles) == bytes.fromhex(payload)
    parsed = LAYOUT.parse(bytes.fromhex(payload), 256 * len(tiles), 256, "x")
    assert bytes(parsed.hyper) == hyper
    assert [bytes(tile) for tile in parsed.tiles] == tiles


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ("", "x: the latents end at byte 0, within the length of a stream"),
        ("84", "x: the latents end at byte 1, within the length of a stream"),
        ("00", "x: the latents end at byte 1, within the length of a stream"),
        ("04 01010101", "x: the latents end at byte 5, within the length of a stream"),
        ("04 010101", "x: stream 0 of the latents reaches 4 bytes beyond byte 1; 3 are left"),
        ("00 08 01010101", "x: stream 1 of the latents reaches 8 bytes beyond byte 2; 4 are left"),
        ("03 010101 00", "x: stream 0 of the latents has 3 bytes; a multiple of 4 expected"),
        ("00 00 010101", "x: stream 2 of the latents has 3 bytes; a multiple of 4 expected"),
        ("8000 00", "x: a length at byte 2 of the latents has more bytes than it needs"),
        ("ffffffff7f 00", "x: stream 0 of the latents reaches 34359738367 bytes beyond byte 5"),
        ("808080808001 00", "x: a length at byte 5 of the latents has more bytes than it needs"),
    ],
)
def test_payloads_that_are_refused(payload: str, message: str):
    with pytest.raises(FormatError, match=message):
        LAYOUT.parse(bytes.fromhex(payload), 512, 256, "x")


def test_a_payload_too_short_for_its_groups_is_refused_at_once():
    with pytest.raises(FormatError, match="x: the latents end at byte 3"):
        LAYOUT.parse(bytes(3), 65535, 65535, "x")


@STAGES
@given(st.binary(max_size=200), st.integers(1, 600), st.integers(1, 100))
def test_any_payload_gives_integers_or_is_refused(layout: GridLayout, payload: bytes, width: int, q: int):
    try:
        z, symbols = decode(layout, payload, width, 100, q)
    except FormatError as error:
        assert str(error).startswith("photo.dcn: ")  # noqa: PT017
        return
    assert np.abs(z).max() <= 32767
    assert np.abs(symbols).max() <= 32767
    assert (symbols == np.rint(symbols)).all()


@STAGES
def test_changed_payloads_never_decode_to_the_same(layout: GridLayout):
    payload, z, symbols = grid_tables.encode_picture(layout, 500, 300, 60, wild=3)
    random = np.random.default_rng(1)
    changed = [payload[:at] for at in random.integers(0, len(payload), 100)]
    changed += [payload + payload[-4:], payload + bytes(4), payload[4:]]
    for at in random.integers(0, len(payload), 200):
        flipped = bytearray(payload)
        flipped[at] ^= 1 << random.integers(8)
        changed.append(bytes(flipped))
    refused = 0
    for damaged in changed:
        try:
            found_z, found = decode(layout, damaged, 500, 300, 60)
        except FormatError:
            refused += 1
        else:
            assert (found_z != z).any() or (found != symbols).any()
    assert refused > 0.9 * len(changed)


def test_messages_name_the_stream():
    parsed = LAYOUT.parse(bytes.fromhex("00 04 01000000"), 512, 256, "photo.dcn")
    shape, quality = LAYOUT.grid(512, 256), LAYOUT.quality(50)
    v = np.zeros((3, 4, 8), np.int32)
    quality.scale_offset[:] = -(4 << 15)
    with pytest.raises(FormatError, match=r"photo\.dcn: tile 0: the stream does not end with its last"):
        LAYOUT.decode_tile(parsed, 0, v, shape, quality, "photo.dcn")
    assert not LAYOUT.decode_tile(parsed, 1, v, shape, quality, "photo.dcn")[0].any()
    broken = LAYOUT.parse(bytes.fromhex("04 00000000 00"), 512, 256, "photo.dcn")
    with pytest.raises(FormatError, match=r"photo\.dcn: hyperlatents: a stream ends in a zero word"):
        LAYOUT.decode_hyper(broken, shape, quality, "photo.dcn")


@pytest.mark.parametrize(
    ("latent", "message"),
    [
        ({"channels": 0}, r"channels 0; 1\.\.4096 expected"),
        ({"channels": 10**9}, r"channels 1000000000; 1\.\.4096"),
        ({"channels": True}, r"channels True; 1\.\.4096"),
        ({"channels": 6.0}, r"channels 6\.0; 1\.\.4096"),
        ({"hyper": -1}, r"hyper -1; 1\.\.1024"),
        ({"hyper": "3"}, r"hyper '3'; 1\.\.1024"),
        ({"class_width": None}, r"class_width None; 1\.\.1024"),
        ({"group": 8}, r"group 8; 16\.\.512"),
        ({"group": 18}, "group 18; a multiple of 4"),
        ({"group": 516}, r"group 516; 16\.\.512"),
        ({"halo": -1}, r"halo -1; 0\.\.1024"),
        ({"extra": 1}, "keys .*extra"),
        ({"channels": 7}, r"stages \[6\]; 1\.\.8 positive integers of sum 7 expected"),
        ({"stages": None}, r"stages None; 1\.\.8 positive integers of sum 6 expected"),
        ({"stages": []}, r"stages \[\]; 1\.\.8"),
        ({"stages": [5]}, r"stages \[5\]; 1\.\.8 positive integers of sum 6"),
        ({"stages": [6, 0]}, r"stages \[6, 0\]; 1\.\.8"),
        ({"stages": [7, -1]}, r"stages \[7, -1\]; 1\.\.8"),
        ({"stages": [6.0]}, r"stages \[6\.0\]; 1\.\.8"),
        ({"stages": [5, True]}, r"stages \[5, True\]; 1\.\.8"),
        ({"channels": 9, "stages": [1] * 9}, r"stages \[1, .*; 1\.\.8"),
        ({"context_width": 0}, r"context_width 0; 1\.\.1024 expected"),
        ({"context_width": 1025}, r"context_width 1025; 1\.\.1024 expected"),
        ({"context_width": 3}, r"context\.0\.hidden_weight is not int8 \(3, 18\)"),
        (
            {"channels": 7, "stages": [7]},
            r"quality\.step_index is not uint8 \(100, 7\)|scale\.\w+ is not int8",
        ),
        ({"hyper": 4}, r"scale\.hidden_weight is not int8 \(16, 4, 3, 3\)"),
    ],
)
def test_models_that_are_refused(latent: dict[str, object], message: str):
    with pytest.raises(BundleError, match=message):
        GridLayout.from_model({**MODEL, "latent": {**MODEL["latent"], **latent}}, TENSORS)


@pytest.mark.parametrize("key", sorted(MODEL["latent"]))
def test_models_without_a_key_are_refused(key: str):
    latent = {name: value for name, value in MODEL["latent"].items() if name != key}
    with pytest.raises(BundleError, match="latent layout grid: keys"):
        GridLayout.from_model({**MODEL, "latent": latent}, TENSORS)


def test_models_of_one_size_are_refused():
    with pytest.raises(BundleError, match="image width and height must be 0"):
        GridLayout.from_model({**MODEL, "image": {**MODEL["image"], "width": 256}}, TENSORS)


def put(at: object, value: float) -> Callable[[np.ndarray], object]:
    return lambda table: table.__setitem__(at, value)


@pytest.mark.parametrize("name", sorted(name for name in TENSORS if name.startswith("quality.")))
def test_tables_of_another_kind_are_refused(name: str):
    for table in (None, TENSORS[name][:-1], TENSORS[name].astype(np.float64), TENSORS[name][..., None]):
        with pytest.raises(BundleError, match=f"{name} is not"):
            GridLayout.from_model(MODEL, {**TENSORS, name: table})


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("step_levels", put(3, np.nan), "a number that is not positive and finite"),
        ("step_levels", put(0, 0), "a number that is not positive and finite"),
        ("step_levels", put(255, np.inf), "a number that is not positive and finite"),
        ("step_levels", put(0, 90), "does not ascend"),
        ("step_levels", put(7, -1), "a number that is not positive and finite"),
        ("hyper_multiplier", put((99, 0), 0), r"holds 0; 1\.\.255"),
        ("hyper_class", put((0, 0), 0), r"a scale index outside 1\.\.31"),
        ("hyper_class", put((0, 0), 32), r"a scale index outside 1\.\.31"),
    ],
)
def test_tables_of_other_numbers_are_refused(name: str, change: Callable[[np.ndarray], object], message: str):
    table = TENSORS[f"quality.{name}"].copy()
    change(table)
    with pytest.raises(BundleError, match=rf"quality\.{name}.*{message}"):
        GridLayout.from_model(MODEL, {**TENSORS, f"quality.{name}": table})
