"""The split of a folder of photos: neither side is empty, and messages say why where one must be."""

from pathlib import Path

import numpy as np
import pytest
from decant_train.data import photos
from decant_train.data.folders import NoImagesError
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

NAMES = st.lists(st.text("abc019_", min_size=1, max_size=6), min_size=1, max_size=12, unique=True)


def packed(folder: Path, sizes: dict[str, int]) -> list[Path]:
    """A packed file of plain pictures, by name and side."""
    (folder / "in").mkdir()
    for name, side in sizes.items():
        Image.fromarray(np.full((side, side + 8, 3), 90, np.uint8)).save(folder / "in" / f"{name}.png")
    photos.pack(folder / "in", folder / "packed.safetensors")
    return [folder / "packed.safetensors"]


def names_of(paths: list[Path], smallest: int, *, validation: bool) -> set[str]:
    return {Path(name).stem for name in photos.load(paths, smallest, validation=validation).names}


@given(NAMES)
def test_two_photographs_leave_one_on_each_side(names: list[str]):
    groups = {photos.group_of(name) for name in names}
    kept = photos.held(names)
    assert kept <= groups
    if len(groups) > 1:
        assert 0 < len(kept) < len(groups)
    assert photos.held(reversed(names)) == kept


def test_large_collections_are_split_by_name_alone():
    names = [f"photo_{i:04}{side}.jpg" for i in range(2000) for side in "ab"]
    assert photos.held(names) == {photos.group_of(name) for name in names if photos.is_validation(name)}


@pytest.mark.parametrize("start", range(0, 400, 40))
def test_forty_photos_of_any_names(tmp_path: Path, start: int):
    names = [f"IMG_{start + i:04}" for i in range(40)]
    paths = packed(tmp_path, dict.fromkeys(names, 256))
    training, validation = (names_of(paths, 256, validation=side) for side in (False, True))
    assert training
    assert validation
    assert training | validation == set(names)
    assert not training & validation


def test_validation_has_a_picture_that_is_large_enough(tmp_path: Path):
    """Where names choose small pictures only, a large one is taken; training agrees."""
    small = {f"s{i}": 96 for i in range(100)}
    assert photos.held(small) != set()
    paths = packed(tmp_path, small | {"first": 256, "second": 300})
    assert len(names_of(paths, 256, validation=True)) == 1
    assert len(names_of(paths, 96, validation=False)) == 101


def test_one_photograph_is_for_training(tmp_path: Path):
    paths = packed(tmp_path, {"one_0001a": 256, "one_0001b": 256})
    assert len(names_of(paths, 256, validation=False)) == 2
    with pytest.raises(NoImagesError, match="it holds one photograph; training and validation need one each"):
        photos.load(paths, 256, validation=True)


def test_pictures_that_are_all_too_small(tmp_path: Path):
    paths = packed(tmp_path, {f"p{i}": 100 + i for i in range(5)})
    with pytest.raises(
        NoImagesError, match=r"no validation picture of 256 pixels a side .* its 5 pictures is 104"
    ):
        photos.load(paths, 256, validation=True)
