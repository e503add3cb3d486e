"""Any folder of images becomes an array of squares."""

import logging
from pathlib import Path

import numpy as np
import pytest
from decant_train.data import folders as data
from decant_train.data import wheel_photos
from PIL import Image


@pytest.fixture(scope="module")
def coffee() -> Image.Image:
    return wheel_photos.photo("skimage.data", "coffee.png")


def test_every_pillow_format_and_mode_becomes_rgb(tmp_path: Path, coffee: Image.Image) -> None:
    coffee.save(tmp_path / "a.png")
    coffee.convert("L").save(tmp_path / "b.jpg")
    coffee.convert("P").save(tmp_path / "c.gif")
    coffee.convert("RGBA").save(tmp_path / "d.webp", lossless=True)
    coffee.convert("CMYK").save(tmp_path / "e.tiff")
    (tmp_path / "notes.txt").write_text("not a picture")
    images = data.load_folder(tmp_path, 64)
    assert images.shape == (5, 64, 64, 3)
    assert images.dtype == np.uint8
    assert np.array_equal(images[0], images[3])


def test_crop_takes_the_centre_square_and_stretch_the_whole_picture() -> None:
    halves = np.zeros((64, 192, 3), np.uint8)
    halves[:, 64:128] = 200  # the centre third is bright
    picture = Image.fromarray(halves)
    assert data.fit_square(picture, 64, "crop").min() == 200
    assert data.fit_square(picture, 64, "stretch").min() == 0


def test_pictures_of_the_right_size_are_not_resampled(coffee: Image.Image) -> None:
    square = coffee.crop((10, 20, 74, 84))
    assert np.array_equal(data.fit_square(square, 64), np.asarray(square))


def test_exif_orientation_is_applied(tmp_path: Path, coffee: Image.Image) -> None:
    square = coffee.crop((0, 0, 64, 64))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored rotated: show it turned by 90 degrees clockwise
    square.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(data.load_folder(tmp_path, 64)[0], np.rot90(np.asarray(square), -1))


def test_corrupt_files_are_named_and_skipped(
    tmp_path: Path, coffee: Image.Image, caplog: pytest.LogCaptureFixture
) -> None:
    coffee.save(tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:5000])
    (tmp_path / "noise.jpg").write_bytes(b"\x00" * 100)
    with caplog.at_level(logging.WARNING):
        images = data.load_folder(tmp_path, 32)
    assert len(images) == 1
    assert "cut.png" in caplog.text
    assert "noise.jpg" in caplog.text


def test_empty_and_unreadable_folders_are_errors(tmp_path: Path) -> None:
    with pytest.raises(data.NoImagesError, match="holds no image file"):
        data.load_folder(tmp_path, 32)
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(data.NoImagesError, match="could be read"):
        data.load_folder(tmp_path, 32)
    with pytest.raises(data.NoImagesError, match="is not a folder"):
        data.load_folder(tmp_path / "missing", 32)


def test_wheel_photos_are_distinct_and_always_the_same() -> None:
    crops = wheel_photos.crops(64)
    assert crops.shape == (64, 256, 256, 3)
    assert len({crop.tobytes() for crop in crops}) == 64
    assert np.array_equal(crops[:5], wheel_photos.crops(5))
    with pytest.raises(ValueError, match="the sample photos give 148 squares"):
        wheel_photos.crops(10_000)
