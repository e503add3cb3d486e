"""Arrays and Pillow images -> the pixels that encoders take: 8 bits, RGB or grey, with alpha or without."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from decant.container import check_size
from decant.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

# Pillow modes that become RGB without loss. Others hold transparency, more than 8 bits, or another colour
# space.
_RGB_MODES = ("RGB", "L", "P", "1")
# Pillow mode -> (the mode it is encoded as, that with its transparency).
_MODES = {
    "RGB": ("RGB", "RGBA"),
    "P": ("RGB", "RGBA"),
    "RGBA": ("RGBA", "RGBA"),
    "PA": ("RGBA", "RGBA"),
    "L": ("L", "LA"),
    "1": ("L", "LA"),
    "LA": ("LA", "LA"),
}


@dataclass(frozen=True)
class Picture:
    """``pixels`` uint8 (H, W, 3), or (H, W) when grey; ``alpha`` uint8 (H, W) or None for opaque pictures."""

    pixels: np.ndarray
    alpha: np.ndarray | None = None

    @property
    def grey(self) -> bool:
        return self.pixels.ndim == 2

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])


@dataclass(frozen=True)
class Metadata:
    """The raw blocks that a picture came with."""

    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None


def metadata_of(image: "np.ndarray | Image.Image") -> Metadata:
    """EXIF, ICC profile and XMP of a Pillow image; an array has none."""
    if isinstance(image, np.ndarray):
        return Metadata()
    return Metadata(*(_block(image.info, key) for key in ("exif", "icc_profile", "xmp")))


def read_opaque(image: "np.ndarray | Image.Image", source: str, limit: int) -> Picture:
    """RGB pixels of a picture without transparency; grey becomes RGB. Raises ImageError, SizeLimitError."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ImageError(f"{source}: {image.dtype} {image.shape}; uint8 (height, width, 3) expected")
        check_size(image.shape[1], image.shape[0], source, limit)
        return Picture(np.ascontiguousarray(image))
    check_size(image.width, image.height, source, limit)
    if image.mode not in _RGB_MODES or "transparency" in image.info or _is_deep(image):
        raise ImageError(
            f"{source}: mode {_described(image)}; 8-bit RGB or grey without transparency expected; "
            "convert the picture first"
        )
    return Picture(_converted(image, "RGB", source))


def read(image: "np.ndarray | Image.Image", source: str, limit: int) -> Picture:
    """Pixels of a picture, RGB or grey, with its transparency as alpha. Raises ImageError, SizeLimitError."""
    if isinstance(image, np.ndarray):
        colour = image.ndim == 3 and image.shape[2] in (3, 4)
        if image.dtype != np.uint8 or not (image.ndim == 2 or colour) or not image.size:
            raise ImageError(
                f"{source}: {image.dtype} {image.shape}; uint8 (height, width), (height, width, 3) or "
                "(height, width, 4) expected"
            )
        check_size(image.shape[1], image.shape[0], source, limit)
        return _split(image)
    check_size(image.width, image.height, source, limit)
    if image.mode not in _MODES or _is_deep(image) or not image.width * image.height:
        raise ImageError(
            f"{source}: mode {_described(image)} of {image.width}x{image.height} pixels; RGB or grey of "
            "8 bits, with or without transparency, expected; convert the picture first"
        )
    return _split(_converted(image, _MODES[image.mode]["transparency" in image.info], source))


def _split(pixels: np.ndarray) -> Picture:
    """uint8 (H, W), (H, W, 2), (H, W, 3) or (H, W, 4) -> its colours and its alpha."""
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return Picture(pixels)
    alpha = np.ascontiguousarray(pixels[:, :, -1])
    return Picture(pixels[:, :, 0] if pixels.shape[2] == 2 else pixels[:, :, :3], alpha)


def _converted(image: "Image.Image", mode: str, source: str) -> np.ndarray:
    try:
        if image.mode == mode:
            return np.asarray(image)
        return np.asarray(image.convert(mode))
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise whatever a broken file leads them to
        raise ImageError(f"{source}: cannot be read: {error}") from None


def _is_deep(image: "Image.Image") -> bool:
    """Pillow drops the lower half of 16-bit RGB and calls it RGB; only the decoder's raw mode still tells."""
    return any(";16" in str(tile) for tile in getattr(image, "tile", ()))


def _described(image: "Image.Image") -> str:
    also = " with transparency" if "transparency" in image.info else " of 16 bits" if _is_deep(image) else ""
    return f"{image.mode}{also}"


def _block(info: Mapping[Any, Any], key: str) -> bytes | None:
    """A metadata block of a Pillow image, where it has one."""
    block = info.get(key)
    return block if isinstance(block, bytes) and block else None
