"""Colours under alpha 0 become a smooth continuation of the visible ones, and cost next to nothing."""

from pathlib import Path

import numpy as np
import pytest
from decant import Decoder, Encoder
from decant.formats import container
from decant.formats.hidden_colours import filled
from decant.formats.input_images import Picture
from PIL import Image, ImageDraw
from soft_photos import photo

SHIPPED = Path(__file__).parents[3] / "artifacts" / "decant_bundles"
RANDOM = np.random.default_rng(0)


def ellipse(height: int, width: int) -> np.ndarray:
    image = Image.new("L", (width, height))
    ImageDraw.Draw(image).ellipse((width // 6, height // 6, 5 * width // 6, 5 * height // 6), fill=255)
    return np.asarray(image)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (5, 2), (97, 130), (300, 64), (513, 20)])
@pytest.mark.parametrize("grey", [False, True])
def test_what_is_visible_stays_and_what_is_hidden_does_not_count(height: int, width: int, grey: bool):
    shape = (height, width) if grey else (height, width, 3)
    alpha = RANDOM.choice(np.array([0, 0, 0, 1, 255], np.uint8), (height, width))
    alpha[0, 0], alpha[-1, -1] = 0, 9
    pixels = RANDOM.integers(0, 256, shape, dtype=np.uint8)
    made = filled(Picture(pixels, alpha))
    assert made.alpha is alpha
    assert made.pixels.shape == shape
    assert made.pixels.dtype == np.uint8
    assert np.array_equal(made.pixels[alpha > 0], pixels[alpha > 0])
    other = pixels.copy()
    other[alpha == 0] = 77
    assert np.array_equal(filled(Picture(other, alpha)).pixels, made.pixels)
    lowest, highest = pixels[alpha > 0].min(0), pixels[alpha > 0].max(0)
    assert ((made.pixels >= lowest) & (made.pixels <= highest)).all()


def test_it_continues_smoothly():
    """No step between neighbours is larger than the largest of a slope that is seen in part."""
    slope = np.add.outer(np.arange(200), np.arange(240)) // 2
    visible = ellipse(200, 240)
    made = filled(Picture(slope.astype(np.uint8), visible)).pixels.astype(int)
    assert max(np.abs(np.diff(made, axis=axis)).max() for axis in (0, 1)) <= 4


def test_opaque_pictures_are_not_copied_and_invisible_ones_are_flat():
    for alpha in (None, np.full((20, 30), 1, np.uint8)):
        picture = Picture(np.ones((20, 30, 3), np.uint8), alpha)
        assert filled(picture) is picture
    noise = RANDOM.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert not filled(Picture(noise, np.zeros((20, 30), np.uint8))).pixels.any()


def test_hidden_colours_change_no_byte_and_cost_no_edge():
    """For arrays and Pillow images: what an editor left under alpha 0 neither costs bits nor quality."""
    encoder, decoder = (
        Encoder(SHIPPED / "lite", threads=1),
        Decoder(SHIPPED / "lite", precision="float", threads=1),
    )
    seen, alpha = photo(160, 128), ellipse(128, 160)
    files = []
    for hidden in (
        RANDOM.integers(0, 256, seen.shape, dtype=np.uint8),
        np.uint8([255, 0, 255]),
        np.uint8([0]),
    ):
        pixels = np.dstack([np.where(alpha[:, :, None] > 0, seen, hidden), alpha])
        files.append(encoder.encode(pixels))
        assert encoder.encode(Image.fromarray(pixels)) == files[-1]
    assert len(set(files)) == 1
    opaque = encoder.encode(seen)
    assert len(container.parse(files[0]).latents) < len(container.parse(opaque).latents)
    errors = [
        np.square(decoder.decode(data)[:, :, :3][alpha > 0].astype(float) - seen[alpha > 0]).mean()
        for data in (files[0], opaque)
    ]
    assert errors[0] < 1.3 * errors[1]  # it was more than 4 times as much
