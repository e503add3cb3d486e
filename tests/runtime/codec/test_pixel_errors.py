"""The error measure of the encoder: hidden pixels, the border, and flat areas that clip."""

import numpy as np
import pytest
from decant import Decoder, Encoder
from decant.codec.pixel_errors import BEYOND, BORDER_WEIGHT, ErrorMeasure, beyond
from decant.formats.input_images import Picture
from decant.formats.rectangles import Rectangle
from decant_train.data import wheel_photos
from PIL import Image, ImageDraw, ImageFilter
from shipped_codecs import CODECS, SHIPPED, precisions

RANDOM = np.random.default_rng(0)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return RANDOM.integers(0, 256, (height, width, channels)[: 3 if channels > 1 else 2], dtype=np.uint8)


def three(pixels: np.ndarray) -> np.ndarray:
    """What a decoder's graph gives for a picture, grey or not: three channels."""
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


def border_of(height: int, width: int) -> np.ndarray:
    inside = np.zeros((height, width), bool)
    inside[1:-1, 1:-1] = True
    return ~inside


class TestMeasure:
    @pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (40, 1), (2, 2), (16, 33), (70, 48)])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_squared_errors_of_latents(self, height: int, width: int, channels: int):
        one, other = noise(height, width, channels), noise(height, width, channels)
        alpha = RANDOM.integers(0, 2, (height, width), dtype=np.uint8)
        shown = np.pad(three(other), [(0, -height % 16), (0, -width % 16), (0, 0)])
        outer = Rectangle(0, shown.shape[0], 0, shown.shape[1])
        lacking, found = ErrorMeasure(Picture(one, alpha)).errors_in(shown, outer)
        np.testing.assert_array_equal(ErrorMeasure(Picture(one, alpha)).lacking_in(shown, outer), lacking)
        errors = np.square(one.astype(float) - other).reshape(height, width, -1).sum(2) * alpha
        weighted = errors * np.where(border_of(height, width), BORDER_WEIGHT, 1) * (3 // channels)
        assert found.shape == (-(-height // 16), -(-width // 16))
        np.testing.assert_allclose(found[0, 0], weighted[:16, :16].sum(), rtol=1e-5)
        np.testing.assert_allclose(found.sum(), weighted.sum(), rtol=1e-5)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_lacking_is_the_slope_of_squared_errors(self, channels: int):
        one, other = noise(50, 40, channels), noise(50, 40, channels)
        shown = np.pad(three(other), [(0, 14), (0, 8), (0, 0)])[32:64, 16:48]
        lacking = ErrorMeasure(Picture(one)).lacking_in(shown, Rectangle(32, 64, 16, 48))
        assert lacking.shape == (32, 32, 3)
        expected = (one.astype(float) - other).reshape(50, 40, -1) / 255
        expected = np.broadcast_to(
            expected * np.where(border_of(50, 40), BORDER_WEIGHT, 1)[:, :, None], (50, 40, 3)
        )
        np.testing.assert_allclose(lacking[:18, :24], expected[32:, 16:], rtol=1e-5)
        assert not lacking[18:].any()
        assert not lacking[:, 24:].any()

    def test_psnr_is_of_visible_pixels(self):
        one, other = noise(300, 40), noise(300, 40)
        alpha = RANDOM.integers(0, 2, (300, 40), dtype=np.uint8)
        mse = np.square(one.astype(float) - other)[alpha > 0].mean()
        assert ErrorMeasure(Picture(one, alpha)).psnr_db(Picture(other)) == pytest.approx(
            10 * np.log10(65025 / mse)
        )
        same = np.where(alpha[:, :, None] > 0, one, other)
        assert ErrorMeasure(Picture(one, alpha)).psnr_db(Picture(same)) == float("inf")
        assert ErrorMeasure(Picture(one, alpha * 0)).psnr_db(Picture(other)) == float("inf")


class TestBeyond:
    def test_flat_black_and_white_moves_inwards(self):
        pixels = noise(60, 60) // 2 + 60
        pixels[5:25, 5:25], pixels[35:55, 5:25] = 255, 0
        pixels[40, 40] = 255  # alone
        made = beyond(Picture(pixels))
        assert made is not None
        assert (made.pixels[6:24, 6:24] == 255 - BEYOND).all()
        assert (made.pixels[36:54, 6:24] == BEYOND).all()
        changed = (made.pixels != pixels).any(2)
        assert changed.sum() == 2 * 18**2

    def test_photos_without_such_areas_are_left_alone(self):
        assert beyond(Picture(noise(64, 64))) is None
        assert beyond(Picture(noise(64, 64, 1))) is None
        almost = np.full((64, 64, 3), 254, np.uint8)
        assert beyond(Picture(almost)) is None


def product(size: int, *, inverted: bool = False) -> np.ndarray:
    """A cup cut out and put on pure white, with a soft shadow."""
    cup = wheel_photos.photo("skimage.data", "coffee.png").crop((150, 40, 440, 330))
    cup = cup.resize((size // 2, size // 2))
    mask = Image.new("L", cup.size)
    ImageDraw.Draw(mask).ellipse((2, 2, size // 2 - 3, size // 2 - 3), fill=255)
    shade = Image.new("L", (size, size))
    shade.paste(mask.point(lambda value: value * 90 // 255), (size // 4 + 8, size // 4 + 12))
    page = Image.new("RGB", (size, size), "white")
    page = Image.composite(
        Image.new("RGB", page.size, (60, 60, 60)), page, shade.filter(ImageFilter.GaussianBlur(9))
    )
    page.paste(cup, (size // 4, size // 4), mask.filter(ImageFilter.GaussianBlur(1)))
    pixels = np.asarray(page)
    return 255 - pixels if inverted else pixels


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("inverted", [False, True], ids=["white", "black"])
def test_white_stays_white(name: str, inverted: bool):
    """At most 1 % of a background of pure white, or black, is anything else, for every decoder."""
    picture = product(320, inverted=inverted)
    background = (picture == (0 if inverted else 255)).all(2)
    data = Encoder(SHIPPED / name, threads=1).encode(picture, 60)
    for precision in precisions(name):
        decoded = Decoder(SHIPPED / name, precision=precision, threads=1).decode(data)
        assert (decoded[background] != picture[background]).any(1).mean() <= 0.01, precision


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("size", [(192, 256), (187, 250)])
def test_the_border_is_as_good_as_the_inside(name: str, size: tuple[int, int]):
    encoder, decoder = (
        Encoder(SHIPPED / name, threads=1),
        Decoder(SHIPPED / name, precision="float", threads=1),
    )
    ring, total = border_of(*size), {True: 0.0, False: 0.0}
    for crop in wheel_photos.crops(12, 256)[::2]:
        picture = np.ascontiguousarray(crop[: size[0], : size[1]])
        errors = np.square(decoder.decode(encoder.encode(picture, 60)).astype(float) - picture).mean(2)
        for at_border in (True, False):
            total[at_border] += errors[ring == at_border].mean()
    assert total[True] <= 1.1 * total[False]
