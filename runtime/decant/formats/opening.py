"""Opening picture files with Pillow: an allow-list of formats, and errors that name the file.

Pillow also opens formats that it hands to other programs (EPS goes to Ghostscript, WMF to the system), and
old formats whose readers few have looked at. A file's suffix does not decide; its first bytes do.
"""

import io
import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from decant.errors import DecantError, ImageError, SizeLimitError
from decant.formats.container import DEFAULT_SIZE_LIMIT
from decant.formats.reading import open_regular
from decant.process.failures import is_from_signal_handler

if TYPE_CHECKING:
    from PIL import Image

# Pillow's names of the formats that are read.
INPUT_FORMATS = (
    *("AVIF", "BMP", "DDS", "DIB", "GIF", "ICNS", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG"),
    *("PPM", "PSD", "QOI", "SGI", "SUN", "TGA", "TIFF", "WEBP", "XBM", "XPM"),
)
# Formats that Pillow draws with another program, when the pixels are first asked for.
_DRAWN_BY_PROGRAMS = ("BUFR", "EPS", "GRIB", "HDF5", "WMF")
# What Pillow's readers raise for broken files. An exception of any other kind is not about the file.
_READ_ERRORS = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, NotImplementedError),
    *(OSError, RuntimeError, SyntaxError, TypeError, ValueError, struct.error, zlib.error),
)
_DEEP_RAW_MODE = re.compile(r"(?<!BGR);16")  # 16 bits a channel; BGR;16 is 5-6-5 in one word


def picture_suffixes() -> set[str]:
    """The suffixes, in lower case, of the formats that are read."""
    from PIL import Image

    Image.init()
    return {suffix for suffix, name in Image.registered_extensions().items() if name in INPUT_FORMATS}


@contextmanager
def open_image(stream: IO[bytes], source: str, size_limit: int) -> "Iterator[Image.Image]":
    """A picture of an allowed format in an open file, not yet decoded. Raises ImageError, SizeLimitError."""
    from PIL import Image, UnidentifiedImageError

    Image.init()
    known = [name for name in INPUT_FORMATS if name in Image.OPEN]  # MPO is part of JPEG; AVIF may be missing
    try:
        image = Image.open(stream, formats=known)
    except UnidentifiedImageError:
        raise ImageError(
            f"{source}: not an image in a format that decant reads ({', '.join(INPUT_FORMATS)})"
        ) from None
    except Image.DecompressionBombError:
        raise SizeLimitError(
            f"{source}: more pixels than the limit, {size_limit}; raise it with --size-limit"
        ) from None
    except _READ_ERRORS as error:
        _reraise(error, source)
    with image:
        yield image


@contextmanager
def open_picture(
    source: str | os.PathLike[str] | bytes, name: str | None = None, size_limit: int = DEFAULT_SIZE_LIMIT
) -> "Iterator[Image.Image]":
    """A picture of an allowed format in the regular file ``source``, or in bytes that errors call ``name``;
    ``size_limit`` in pixels. What its readers raise within the context is an ImageError too.
    Raises ImageError, SizeLimitError, and OSError for a file that cannot be opened.
    """
    where = name or (f"{len(source)} bytes" if isinstance(source, bytes) else os.fspath(source))
    stream = io.BytesIO(source) if isinstance(source, bytes) else open_regular(source)
    with stream, open_image(stream, where, size_limit) as image, reading(where):
        yield image


@contextmanager
def reading(source: str) -> Iterator[None]:
    """Turn what Pillow's readers raise into ImageError; our errors, MemoryError and others' pass."""
    try:
        yield
    except DecantError:
        raise
    except _READ_ERRORS as error:
        _reraise(error, source)


def check_drawable(image: "Image.Image", source: str) -> None:
    """Refuse a picture that Pillow would start another program for. Raises ImageError."""
    if image.format in _DRAWN_BY_PROGRAMS and getattr(image, "tile", None):
        raise ImageError(
            f"{source}: Pillow draws {image.format} files with another program; "
            "convert the file to PNG first, or call load() yourself"
        )


def is_deep(image: "Image.Image") -> bool:
    """Whether the file has 16 bits a channel. Pillow drops the lower 8 of colours when it decodes them; only
    the raw mode of a picture that is not decoded yet still tells.
    """
    for tile in getattr(image, "tile", ()):
        decoder, arguments = tile[0], tile[3]
        arguments = arguments if isinstance(arguments, tuple) else (arguments,)
        if any(isinstance(one, str) and _DEEP_RAW_MODE.search(one) for one in arguments):
            return True
        if decoder.startswith("ppm") and isinstance(arguments[-1], int) and arguments[-1] > 255:
            return True
    return False


def _reraise(error: Exception, source: str) -> None:
    others = isinstance(error, TimeoutError | InterruptedError | RecursionError)
    if others or is_from_signal_handler(error):  # not the file's, or the caller's depth
        raise error
    raise ImageError(f"{source}: cannot be read: {error or type(error).__name__}") from None
