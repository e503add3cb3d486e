"""Packed photos: crops, grain, groups, packing."""

from pathlib import Path

import numpy as np
import torch
from decant_train.data import photos, wheel_photos
from PIL import Image


def test_crops_are_pieces_of_the_pictures() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    store = photos.Photos([pixels], ["a"])
    for crop in store.crops(6, 32, torch.Generator().manual_seed(0)):
        found = (crop.permute(1, 2, 0) * 255).round().byte().numpy()
        windows = (pixels[t : t + 32, left : left + 32] for t in range(9) for left in range(19))
        assert any(np.array_equal(found, w) or np.array_equal(found, w[:, ::-1]) for w in windows)


def test_grain_has_deviations_within_bounds_and_no_mean() -> None:
    found = 255 * photos.grain(64, 64, torch.Generator().manual_seed(0))
    assert abs(float(found.mean())) < 0.05
    deviations = found.std((1, 2, 3))
    assert float(deviations.min()) > 0.8 * photos.LEAST_NOISE
    assert float(deviations.max()) < 1.2 * photos.MOST_NOISE
    assert float(deviations.max()) > 3 * float(deviations.min())


def test_whole_and_detail_of_one_photograph_stay_on_one_side() -> None:
    assert photos.group_of("large_0012a.jpg") == photos.group_of("large_0012b.jpg")
    assert photos.group_of("coca.jpg") == "coca"
    names = [f"large_{i:04}{part}.jpg" for i in range(2000) for part in "ab"]
    sides = [photos.is_validation(name) for name in names]
    assert sides[::2] == sides[1::2]
    assert 0.01 < np.mean(sides) < 0.06


def test_packing_in_parts_keeps_every_picture_once(photo_folder: Path, tmp_path: Path) -> None:
    counts = [photos.pack(photo_folder, tmp_path / f"{i}.safetensors", part=i, parts=3) for i in range(3)]
    assert sum(counts) == len(wheel_photos.PHOTOS)


def test_corrupt_pictures_in_a_packed_file_are_skipped(tmp_path: Path, photo_folder: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "bad.png").write_bytes(b"nothing")
    for name in ("good.png", "other.png"):
        Image.open(photo_folder / "coffee_01a.png").save(source / name)
    packed = tmp_path / "packed.safetensors"
    photos.pack(source, packed)
    sides = [photos.load([packed], 64, validation=validation).names for validation in (False, True)]
    assert sorted(name for names in sides for name in names) == ["good.png", "other.png"]
