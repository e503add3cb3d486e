"""Arrays and Pillow images -> the pixels that encoders take: 8 bits, RGB or grey, with alpha or without.

One table of modes serves the command line, ``Encoder.encode`` and the Pillow plugin.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from decant.errors import ImageError
from decant.formats.container import check_size
from decant.formats.metadata import Metadata, metadata_of
from decant.formats.opening import check_drawable, is_deep, reading

if TYPE_CHECKING:
    from PIL import Image

# Pillow mode -> (the mode it is encoded as, that with its transparency).
_MODES = {
    "1": ("L", "LA"),
    "L": ("L", "LA"),
    "LA": ("LA", "LA"),
    "La": ("LA", "LA"),
    "RGB": ("RGB", "RGBA"),
    "P": ("RGB", "RGBA"),
    "RGBX": ("RGB", "RGB"),
    "YCbCr": ("RGB", "RGB"),
    "HSV": ("RGB", "RGB"),
    "RGBA": ("RGBA", "RGBA"),
    "RGBa": ("RGBA", "RGBA"),
    "PA": ("RGBA", "RGBA"),
}
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_OTHER_COLOURS = ("CMYK", "LAB")
_DEPTH = 8
_SHAPES = "(height, width), or (height, width, n) with n of 1 to 4"


@dataclass(frozen=True)
class Picture:
    """``pixels`` uint8 (H, W, 3), or (H, W) when grey; ``alpha`` uint8 (H, W) or None for opaque pictures."""

    pixels: np.ndarray
    alpha: np.ndarray | None = None

    @property
    def grey(self) -> bool:
        """Whether it has one channel."""
        return self.pixels.ndim == 2

    @property
    def height(self) -> int:
        """Rows, in pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns, in pixels."""
        return int(self.pixels.shape[1])


def read(
    image: "np.ndarray | Image.Image",
    source: str,
    limit: int,
    *,
    to_srgb: bool = False,
    depth: int | None = None,
    metadata: Metadata | None = None,
) -> tuple[Picture, Metadata]:
    """Pixels of a picture, RGB or grey, with its transparency as alpha, and its metadata. ``metadata``, if
    given, replaces the latter.

    ``to_srgb`` converts colours to sRGB by the ICC profile, CMYK and Lab included; the profile goes.
    ``depth`` 8 rounds 16 bits to 8. Raises ImageError, SizeLimitError.
    """
    if depth not in (None, _DEPTH) or isinstance(depth, bool):
        raise ImageError(f"{source}: depth {depth!r}; {_DEPTH} or None expected")
    if isinstance(image, np.ndarray):
        check_array(image, source)
        check_size(image.shape[1], image.shape[0], source, limit)
        return _split(image), metadata or Metadata()
    _check_type(image, source)
    check_size(image.width, image.height, source, limit)
    if reason := why_refused(image, to_srgb=to_srgb, depth=depth):
        raise ImageError(f"{source}: {reason}")
    check_drawable(image, source)
    with reading(source):
        image.load()  # some formats keep metadata behind the pixels
        if metadata is None:
            metadata = metadata_of(image, source)
        if image.mode in _DEEP_MODES:
            from decant.formats.colours import to_eight_bits

            image = to_eight_bits(image, source)
        if to_srgb and (metadata.icc or image.mode in _OTHER_COLOURS):
            from decant.formats.colours import convert_to_srgb

            pixels = convert_to_srgb(image, metadata.icc, _eight_bit_mode(image), source)
            return _split(pixels), metadata.without_icc()
        mode = _eight_bit_mode(image)
        return _split(np.asarray(image if image.mode == mode else image.convert(mode))), metadata


def opaque(picture: Picture, source: str) -> Picture:
    """``picture`` as RGB, for models that take nothing else. Raises ImageError for one with alpha."""
    if picture.alpha is not None:
        raise ImageError(
            f"{source}: has transparency, which this model does not take; 8-bit RGB or grey without "
            "transparency expected; flatten the picture first, or choose another model"
        )
    if picture.grey:
        return Picture(np.ascontiguousarray(np.repeat(picture.pixels[:, :, None], 3, axis=2)))
    return Picture(np.ascontiguousarray(picture.pixels))


def why_refused(image: "Image.Image", *, to_srgb: bool, depth: int | None) -> str:
    """Why a Pillow image cannot be encoded without conversion, and what to do; empty if it can."""
    if not image.width * image.height:
        return f"mode {image.mode} of {image.width}x{image.height} pixels; an empty picture"
    is_16_bit = image.mode in _DEEP_MODES or is_deep(image)
    if is_16_bit and depth != _DEPTH:
        return (
            f"mode {image.mode} of 16 bits; 8 bits a channel expected: --depth 8 (in Python depth=8) rounds "
            "them"
        )
    if image.mode in _OTHER_COLOURS and not to_srgb:
        return (
            f"mode {image.mode}; RGB or grey expected: --to-srgb (in Python to_srgb=True) converts the "
            "colours, by the ICC profile where there is one"
        )
    if image.mode not in _MODES and image.mode not in (*_DEEP_MODES, *_OTHER_COLOURS):
        return (
            f"mode {image.mode}; RGB or grey of 8 bits, with or without transparency, expected; scale the "
            "values to 0..255 and convert the picture to L or RGB first"
        )
    return ""


def check_array(array: np.ndarray, source: str) -> None:
    """Raise ImageError for an array that is no picture."""
    fits = array.ndim == 2 or (array.ndim == 3 and 1 <= array.shape[2] <= 4)
    if array.dtype == np.uint8 and fits and array.size:
        return
    advice = "" if array.dtype == np.uint8 else "; scale the values to 0..255 and convert them first"
    raise ImageError(f"{source}: {array.dtype} {array.shape}; uint8 {_SHAPES} expected{advice}")


def _check_type(image: Any, source: str) -> None:
    from PIL import Image

    if isinstance(image, Image.Image):
        return
    advice = "; open a file with PIL.Image.open first" if _is_path(image) else ""
    raise ImageError(
        f"{source}: {type(image).__name__} given; a numpy array or a Pillow image expected{advice}"
    )


def _is_path(value: Any) -> bool:
    return isinstance(value, str | bytes) or hasattr(value, "__fspath__") or hasattr(value, "read")


def _eight_bit_mode(image: "Image.Image") -> str:
    """The mode that ``image`` is encoded as."""
    if image.mode in _OTHER_COLOURS:
        return "RGB"
    return _MODES[image.mode][image.has_transparency_data]


def _split(pixels: np.ndarray) -> Picture:
    """uint8 (H, W), (H, W, 1), (H, W, 2), (H, W, 3) or (H, W, 4) -> its colours and its alpha."""
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return Picture(pixels)
    if pixels.shape[2] == 1:
        return Picture(pixels[:, :, 0])
    alpha = np.ascontiguousarray(pixels[:, :, -1])
    return Picture(pixels[:, :, 0] if pixels.shape[2] == 2 else pixels[:, :, :3], alpha)
