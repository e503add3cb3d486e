"""The levels layout: exact payloads, round trips, how depths are chosen, and what is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from decant.codec.entropy.counts import TOTAL, integer_counts
from decant.errors import BundleError, FormatError, ImageError
from decant.layouts.levels import LevelsLayout, complexity_of, uniform_values
from decant.layouts.registry import layout_of
from hypothesis import given
from hypothesis import strategies as st


def layout(
    channels: int = 2,
    height: int = 3,
    width: int = 5,
    region: int = 2,
    depths: tuple[int, ...] = (3, 0, 1),
    seed: int = 0,
) -> LevelsLayout:
    random = np.random.default_rng(seed)
    counts = tuple(
        np.stack([integer_counts(random.random(1 << depth) ** 3) for _ in range(channels)])
        for depth in depths
    )
    depth_counts = integer_counts(random.random(len(depths)) + 0.1)
    thresholds = np.arange(1, len(depths), dtype=np.float32) * 8
    return LevelsLayout(channels, height, width, region, depths, depth_counts, counts, thresholds)


def drawn(found: LevelsLayout, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    latents = random.random((found.channels, found.height, found.width)).astype(np.float32)
    return latents, random.integers(0, len(found.depths), found.map_shape).astype(np.uint8)


def uniform(channels: int, depth: int) -> np.ndarray:
    return np.full((channels, 1 << depth), TOTAL >> depth, np.uint32)


def test_a_payload_has_these_bytes():
    """Four latents of 8 equally likely bits, each in the upper bits of the 24 that a letter is read by."""
    plain = LevelsLayout.of_one_depth(uniform(4, 8), 1, 1)
    latents = (np.array([1, 2, 3, 254], np.float32) / 255).reshape(4, 1, 1)
    payload = plain.pack(latents)
    assert payload.hex() == "0000010203fe"
    np.testing.assert_array_equal(plain.unpack(payload), latents)


def test_the_last_zero_bytes_are_left_out():
    plain = LevelsLayout.of_one_depth(uniform(4, 8), 1, 1)
    latents = (np.array([7, 9, 0, 0], np.float32) / 255).reshape(4, 1, 1)
    assert plain.pack(latents).hex() == "00000709"
    np.testing.assert_array_equal(plain.unpack(bytes.fromhex("00000709")), latents)
    assert plain.pack(np.zeros((4, 1, 1), np.float32)) == b""


@given(
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 10),
    st.lists(st.integers(0, 6), min_size=1, max_size=4),
    st.integers(0, 1000),
)
def test_latents_come_back_as_the_nearest_values(
    channels: int, height: int, width: int, region: int, depths: list[int], seed: int
):
    found = layout(channels, height, width, region, tuple(depths), seed)
    latents, depth_map = drawn(found, seed)
    payload = found.pack(latents, depth_map)
    decoded = found.unpack(payload)
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(found.depth_map(payload), depth_map)
    for row, column in np.ndindex(found.map_shape):
        part = np.s_[:, row * region : (row + 1) * region, column * region : (column + 1) * region]
        values = uniform_values(depths[depth_map[row, column]])
        away = np.abs(latents[part][..., None] - values).min(axis=-1)
        np.testing.assert_allclose(np.abs(decoded[part] - latents[part]), away, atol=1e-6)
        assert np.isin(decoded[part], values).all()


@given(st.integers(0, 1000))
def test_what_was_decoded_is_packed_without_a_map_to_the_same_latents(seed: int):
    found = layout(3, 6, 7, 2, (2, 5, 0), seed)
    latents, depth_map = drawn(found, seed)
    decoded = found.unpack(found.pack(latents, depth_map))
    again = found.pack(decoded)
    np.testing.assert_array_equal(found.unpack(again), decoded)
    # Each region in the least depth that has its latents.
    assert (np.take(found.depths, found.depth_map(again)) <= np.take(found.depths, depth_map)).all()


def test_latents_that_no_depth_has_go_into_the_greatest():
    found = layout(2, 4, 4, 2, (1, 6, 3))
    latents, _ = drawn(found, 1)
    assert (found.depth_map(found.pack(latents)) == 1).all()


def test_a_skewed_table_makes_shorter_payloads():
    likely = integer_counts(np.array([0.97, 0.01, 0.01, 0.01]))
    skewed = LevelsLayout.of_one_depth(np.stack([likely] * 8), 8, 8)
    plain = LevelsLayout.of_one_depth(uniform(8, 2), 8, 8)
    zeros = np.zeros((8, 8, 8), np.float32)
    zeros[0, 0, :2] = 1
    assert len(plain.pack(zeros)) <= 128
    assert len(skewed.pack(zeros)) < 12


def test_depths_follow_complexity():
    found = layout(1, 2, 2, 1, (5, 4, 3))  # thresholds 8 and 16
    pixels = np.full((8, 8, 3), 100, np.uint8)
    pixels[:4, 4::2] = 110  # steps of 10 side by side, 0 one above the other: 5 on average
    pixels[4:, :4:2] = 140  # 20 on average
    pixels[4::2, 4:] = 120  # 10 on average
    expected = [[0, 5], [20, 10]]
    bounds = (np.array([0, 4, 8]), np.array([0, 4, 8]))
    np.testing.assert_allclose(complexity_of(pixels, (2, 2), bounds), expected)
    assert found.depths_of(pixels).tolist() == [[0, 0], [2, 1]]
    latents = np.full((1, 2, 2), 0.3, np.float32)
    payload = found.pack_picture(latents, pixels)
    assert found.depth_map(payload).tolist() == [[0, 0], [2, 1]]


def test_a_region_without_neighbours_is_simple():
    assert complexity_of(np.zeros((1, 1, 3), np.uint8), (1, 1), (np.array([0, 1]), np.array([0, 1]))) == 0


def test_values_of_ones_own():
    nested = tuple((np.arange(1 << depth) / (1 << depth)).astype(np.float32) for depth in (1, 3))
    found = replace(layout(1, 1, 2, 1, (1, 3)), values=nested)
    latents = np.array([[[0.5, 0.6]]], np.float32)
    decoded = found.unpack(found.pack(latents, np.array([[0, 1]], np.uint8)))
    assert decoded.tolist() == [[[0.5, 0.625]]]


def test_a_layout_is_described_and_found_again():
    found = layout()
    again = layout_of({"latent": found.to_model()}, found.tables())
    assert isinstance(again, LevelsLayout)
    latents, depth_map = drawn(found, 3)
    payload = found.pack(latents, depth_map)
    np.testing.assert_array_equal(again.unpack(payload), found.unpack(payload))
    assert again.to_model() == found.to_model()
    pixels = np.random.default_rng(0).integers(0, 30, (12, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(again.depths_of(pixels), found.depths_of(pixels))


@given(st.binary(max_size=60))
def test_any_payload_gives_stored_values_or_is_refused(payload: bytes):
    found = layout()
    try:
        latents = found.unpack(payload)
    except FormatError:
        return
    assert latents.shape == found.shape((1, 1))
    assert found.pack(latents, found.depth_map(payload)) == payload
    assert np.isin(latents, np.concatenate(found.values)).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p + b"\1\2\3\4", "do not end with their last level"),
        (lambda p: p + b"\0", "end in a zero byte"),
        (lambda p: bytes(64), "end in a zero byte"),
        (lambda p: b"\xff" * (1 << 20), "do not end with their last level"),
    ],
)
def test_payloads_that_are_refused(change: Any, words: str):
    found = layout()
    payload = found.pack(*drawn(found, 0))
    with pytest.raises(FormatError, match=words):
        found.unpack(change(payload), "photo.dcn")


def test_a_payload_cut_short_is_refused_or_another_picture():
    found = layout(8, 4, 4, 2, (6, 5))
    latents, depth_map = drawn(found, 0)
    payload = found.pack(latents, depth_map)
    refused = 0
    for end in range(1, len(payload)):
        try:
            assert not (found.unpack(payload[:end]) == found.nearest(latents, depth_map)).all()
        except FormatError:
            refused += 1
    assert refused > len(payload) // 2


@pytest.mark.parametrize(
    ("latents", "depths"),
    [
        (np.zeros((2, 3, 4), np.float32), None),
        (np.full((2, 3, 5), np.nan, np.float32), None),
        (np.zeros((2, 3, 5), np.float32), np.zeros((3, 5), np.uint8)),
        (np.zeros((2, 3, 5), np.float32), np.full((2, 3), 3, np.uint8)),
    ],
)
def test_latents_that_cannot_be_stored_are_refused(latents: np.ndarray, depths: np.ndarray | None):
    with pytest.raises(ImageError):
        layout().pack(latents, depths)


@pytest.mark.parametrize(
    "change",
    [
        {"channels": 0},
        {"channels": True},
        {"channels": 1 << 17},
        {"height": "3"},
        {"height": 4096, "width": 4096},
        {"region": 0},
        {"depths": []},
        {"depths": [3, 0, 13]},
        {"depths": [3, 0, -1]},
        {"depths": [3, 0, 1.0]},
        {"depths": "301"},
        {"depths": [3, 0]},
        {"depths": [3] * 17},
        {"gamma": 2},
    ],
)
def test_descriptions_that_are_refused(change: dict[str, object]):
    found = layout()
    with pytest.raises(BundleError, match=r"latent layout levels|tables: levels"):
        layout_of({"latent": found.to_model() | change}, found.tables())


def wrong(name: str, tables: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    changed = {key: table.copy() for key, table in tables.items()}
    table = changed[f"levels.{name.split()[0]}"]
    match name.split()[1:]:
        case ["zero"]:
            table[0] = 0
        case ["sum"]:
            table[0] += 1
        case ["falls"]:
            table[:2] = table[1::-1].copy()
        case ["nan"]:
            table[-1] = np.nan
        case ["beyond"]:
            table[7] = 1.5
        case ["short"]:
            changed[f"levels.{name.split()[0]}"] = table[:-1]
        case ["missing"]:
            del changed[f"levels.{name.split()[0]}"]
    return changed


@pytest.mark.parametrize(
    "name",
    [
        *(f"{table} {how}" for table in ("depth_counts", "counts") for how in ("zero", "sum", "short")),
        *(f"values {how}" for how in ("falls", "nan", "beyond", "short", "missing")),
        *(f"thresholds {how}" for how in ("falls", "nan", "short", "missing")),
    ],
)
def test_tables_that_are_refused(name: str):
    found = layout()
    with pytest.raises(BundleError, match=r"levels\."):
        layout_of({"latent": found.to_model()}, wrong(name, found.tables()))
