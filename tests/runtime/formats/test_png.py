"""PNG that is written quickly: the same pixels and metadata as Pillow's."""

import io
import sys
import zlib

import numpy as np
import pytest
from decant.errors import ImageError
from decant.formats.container import DcnFile
from decant.formats.exif import exif_of_dpi
from decant.formats.output_images import write_picture
from decant.formats.png import write_png
from PIL import Image, ImageCms

SHAPES = [(1, 1), (1, 7), (7, 1), (33, 20), (5, 9, 2), (1, 1, 3), (40, 31, 3), (17, 8, 4), (2000, 1200, 3)]


def pixels_of(shape: tuple[int, ...]) -> np.ndarray:
    """Slopes with a little noise, so that both filters have their day."""
    chance = np.random.default_rng(sum(shape))
    rows, columns = np.indices(shape[:2])
    values = rows * 3 + columns[..., None].squeeze(-1) * (shape[0] % 3) + chance.integers(0, 4, shape[:2])
    if len(shape) == 3:
        values = values[:, :, None] + np.arange(shape[2]) * 40
    return (values % 256).astype(np.uint8)


def written(pixels: np.ndarray, **options) -> bytes:
    """A PNG file."""
    stream = io.BytesIO()
    write_png(stream, pixels, **options)
    return stream.getvalue()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("level", [0, 1])
def test_pillow_reads_the_same_pixels(shape: tuple[int, ...], level: int):
    pixels = pixels_of(shape)
    with Image.open(io.BytesIO(written(pixels, level=level))) as image:
        image.load()
        assert np.array_equal(np.asarray(image), pixels)


def test_without_isal_zlib_does_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "isal", None)
    pixels = pixels_of((300, 200, 3))
    data = written(pixels)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.asarray(image), pixels)
    assert len(data) < 0.5 * pixels.nbytes


def test_isal_compresses():
    pytest.importorskip("isal", reason="the extra fast is not installed")
    pixels = pixels_of((300, 200, 3))
    assert len(written(pixels)) < 0.5 * pixels.nbytes
    assert len(written(pixels, level=0)) > pixels.nbytes


@pytest.mark.parametrize("level", [0, 1, 6])
def test_metadata_is_what_pillow_would_write(level: int):
    """By the one function that all commands call, at a level of ours and one of Pillow's."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    file = DcnFile("m", bytes(8), 6, 4, b"", exif=exif_of_dpi((300, 150)), icc=profile, xmp=b"<x:xmpmeta/>")
    stream = io.BytesIO()
    write_picture(stream, ".png", pixels_of((4, 6, 3)), file, png_level=level)
    with Image.open(stream) as image:
        image.load()
        assert image.info["icc_profile"] == profile
        assert image.info["XML:com.adobe.xmp"] == "<x:xmpmeta/>"
        assert [round(value) for value in image.info["dpi"]] == [300, 150]
        assert image.getexif()[282] == 300


def test_every_chunk_has_its_checksum():
    data = written(pixels_of((3, 3, 3)))
    at, kinds = 8, []
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kinds.append(data[at + 4 : at + 8])
        stored = int.from_bytes(data[at + 8 + length : at + 12 + length], "big")
        assert zlib.crc32(data[at + 4 : at + 8 + length]) == stored
        at += 12 + length
    assert kinds[0] == b"IHDR"
    assert kinds[-1] == b"IEND"


@pytest.mark.parametrize("level", [-1, 10, True, 1.5])
def test_other_levels_are_refused(level: object):
    file = DcnFile("m", bytes(8), 1, 1, b"")
    with pytest.raises(ImageError, match="0 to 9 expected"):
        write_picture(io.BytesIO(), ".png", np.zeros((1, 1, 3), np.uint8), file, png_level=level)
