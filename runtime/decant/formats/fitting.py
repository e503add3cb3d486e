"""Downscaling of pictures, for thumbnails."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image


def fitted(pixels: np.ndarray, most: int) -> np.ndarray:
    """``pixels`` uint8 (H, W, 3) or (H, W, 4) with neither side above ``most``, filtered (Lanczos) and in
    proportion; colours count by their alpha. A picture that fits is returned as it is.
    """
    height, width = pixels.shape[:2]
    if max(height, width) <= most:
        return pixels
    from PIL import Image

    scale = most / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = Image.fromarray(pixels)
    if image.mode == "RGBA":
        return np.asarray(_resized(image.convert("RGBa"), size).convert("RGBA"))
    return np.asarray(_resized(image, size))


def _resized(image: "Image.Image", size: tuple[int, int]) -> "Image.Image":
    from PIL import Image

    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
