"""Uploaded bytes -> pixels, and pixels -> PNG for the browser."""

import io
from dataclasses import dataclass, field

import numpy as np
from decant.formats.container import check_size
from decant.formats.input_images import Picture, read
from decant.formats.opening import open_image, reading
from PIL import Image, ImageOps

from decant_studio.work.result import File

NAME = "This file"
NPY_MAGIC = b"\x93NUMPY"


@dataclass(frozen=True)
class Upload:
    """The pixels of an uploaded picture, uint8 (H, W, 3), upright, in sRGB; what was changed, in words."""

    pixels: np.ndarray
    notes: list[str] = field(default_factory=list)

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])


def opened(data: bytes, limit: int) -> Upload:
    """A picture file of any format that decant reads. Raises ImageError, SizeLimitError."""
    notes = []
    with open_image(io.BytesIO(data), NAME, limit) as image:
        check_size(image.width, image.height, NAME, limit)
        with reading(NAME):
            turned = ImageOps.exif_transpose(image)
        if getattr(image, "n_frames", 1) > 1:
            notes.append("Only the first frame is used.")
        picture, _ = read(turned, NAME, limit, to_srgb=True, depth=8)
    if picture.alpha is not None:
        notes.append("Transparency was placed on white.")
    return Upload(flat(picture), notes)


def flat(picture: Picture) -> np.ndarray:
    """uint8 (H, W, 3) of a picture, its transparency on white."""
    pixels = picture.pixels
    if picture.grey:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    if picture.alpha is not None:
        alpha = picture.alpha[:, :, None].astype(np.uint16)
        pixels = ((pixels * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(pixels)


def rgb(pixels: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) of decoded pixels, (H, W, 3) or with alpha (H, W, 4)."""
    if pixels.shape[2] == 3:
        return pixels
    return flat(Picture(np.ascontiguousarray(pixels[:, :, :3]), np.ascontiguousarray(pixels[:, :, 3])))


def png(pixels: np.ndarray, name: str) -> File:
    """uint8 (H, W, 3) or (H, W) as a PNG file, packed quickly."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return File("image/png", stream.getvalue(), name)


def square(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """The middle of a picture in the shape of ``width`` x ``height``, resized to that: uint8 (H, W, 3)."""
    image = Image.fromarray(pixels)
    fitted = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    return np.asarray(fitted)
