"""The pictures that a codec's export needs: for tables and ranges, golden files, and the judge of int8."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from decant.formats.paths import takes_paths
from decant_train.data import photos, wheel_photos

from decant_export.common.extremes import extremes
from decant_export.common.extremes import pictures as extreme_pictures
from decant_export.families.codec.judging import JUDGING

CALIBRATED = 64  # crops that show the ranges of 16-bit activations
CROP = 256  # pixels on a side of the pictures that tables and ranges are measured on
GOLDEN_WIDTH, GOLDEN_HEIGHT = 200, 120  # pixels; no multiples of 16, so that cropping is seen
GOLDEN_QUALITIES = (5, 35, 65, 95)
GOLDEN_EXTREME_WIDTH = 80
GOLDEN_EXTREMES = {
    "flat 0 255 0": 60,
    "flat 255 0 255": 90,
    "vertical edge 0": 60,
    "rows 2": 90,
    "coloured text 14": 60,
}
JUDGED, JUDGED_SIDE = 12, 128  # photos that judge int8, and their sides


@takes_paths
def calibration_crops(images: Path | None, count: int) -> list[np.ndarray]:
    """``count`` crops uint8 (CROP, CROP, 3) of the training part of ``images``, or of the wheels' photos."""
    if images is None:
        return list(wheel_photos.crops(count, CROP))
    with tempfile.TemporaryDirectory() as scratch:
        packed = photos.packed(images, Path(scratch) / "photos.safetensors")
        training = photos.load([packed], CROP, validation=False)
    taken = training.crops(count, CROP, torch.Generator().manual_seed(2))
    return list((taken.permute(0, 2, 3, 1) * 255).round().byte().numpy())


def calibration(crops: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, int]]:
    """Pictures and qualities that show the ranges of activations: photographs and extremes."""
    for i, crop in enumerate(crops[:CALIBRATED]):
        yield crop, 100 - 7 * i % 60
    for picture in extreme_pictures().values():
        yield picture, 80


def golden_photos() -> list[tuple[np.ndarray, int]]:
    """The photos of the golden files, uint8 (H, W, 3), and their qualities."""
    squares = wheel_photos.crops(len(GOLDEN_QUALITIES), CROP)
    cut = [square[:GOLDEN_HEIGHT, :GOLDEN_WIDTH] for square in squares]
    return list(zip(cut, GOLDEN_QUALITIES, strict=True))


def golden_extremes() -> list[tuple[np.ndarray, int]]:
    """The golden pictures that are no photos, small, and their qualities."""
    pictures = extremes(JUDGING).every
    return [(pictures[name][:, :GOLDEN_EXTREME_WIDTH], quality) for name, quality in GOLDEN_EXTREMES.items()]


def judged_photos() -> dict[str, np.ndarray]:
    """The photos on which int8 is compared with float, beside the golden ones."""
    return {
        f"photo {i}": square[::2, ::2] for i, square in enumerate(wheel_photos.crops(JUDGED, 2 * JUDGED_SIDE))
    }
