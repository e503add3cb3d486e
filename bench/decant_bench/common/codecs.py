"""Codecs under test behind one interface: picture -> bytes -> picture, with a name and a version.

Formats are here; ``contenders.BundleCodec`` is a bundle, ``palettes.PaletteCodec`` a palette. Decoding starts
from bytes in memory and ends at uint8 RGB (H, W, 3) for all.
"""

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

LOSSY = (1, 100)  # qualities
_PILLOW_LIBRARIES = {"JPEG": "libjpeg_turbo", "PNG": "zlib", "WEBP": "webp", "AVIF": "avif"}
_LIBRARY_NAMES = {"JPEG": "libjpeg-turbo", "PNG": "zlib", "WEBP": "libwebp", "AVIF": "libavif"}
_TUNES = ("iq", "ssim", "psnr")  # of libaom

_buffer_lock = threading.Lock()


class Codec(Protocol):
    """A codec under test.

    * ``qualities``: its range, or None;
    * ``threaded``: decoding can use several threads;
    * ``timed_apart``: decodes are timed in a process of their own, like those of a program that opens this
      format only;
    * ``version``: of the library, and settings besides the quality that decide the bytes.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def suffix(self) -> str: ...
    @property
    def qualities(self) -> tuple[int, int] | None: ...
    @property
    def threaded(self) -> bool: ...
    @property
    def timed_apart(self) -> bool: ...

    def prepare(self) -> None:
        """Import everything that decoding needs. Raises ImportError."""

    def encode(self, image: np.ndarray, quality: int | None) -> bytes:
        """uint8 (H, W, 3) -> the bytes of a file."""

    def decode(self, data: bytes, threads: int = 1) -> np.ndarray:
        """The bytes of a file -> uint8 (H, W, 3)."""


@dataclass(frozen=True)
class PillowCodec:
    """A format of Pillow. ``save_options`` go to ``Image.save``."""

    name: str
    suffix: str
    format: str
    qualities: tuple[int, int] | None
    description: str
    threaded: bool = False
    save_options: tuple[tuple[str, Any], ...] = ()
    timed_apart: bool = True

    @property
    def version(self) -> str:
        """``libavif 1.4.2, libaom 3.14.1, tune iq``."""
        from PIL import features

        feature = _PILLOW_LIBRARIES[self.format]
        found = (
            features.version_feature(feature) if self.format == "JPEG" else features.version(feature)
        ) or "unknown"
        library = f"{_LIBRARY_NAMES[self.format]} {found}"
        if self.format != "AVIF":
            return library
        tune = dict(dict(self.save_options).get("advanced", ())).get("tune")
        return f"{library}, {_aom()}, tune {tune or avif_default_tune()}"

    def prepare(self) -> None:
        """See Codec."""
        from PIL import Image  # noqa: F401

    def encode(self, image: np.ndarray, quality: int | None) -> bytes:
        """See Codec.encode."""
        from PIL import Image

        options = dict(self.save_options) | ({} if quality is None else {"quality": quality})
        picture = Image.fromarray(image)
        try:
            return _saved(picture, self.format, options)
        except OSError:
            # Optimised JPEG must fit Pillow's buffer whole, and noise does not.
            with _roomy_buffer(4 * image.size):
                return _saved(picture, self.format, options)

    def decode(self, data: bytes, threads: int = 1) -> np.ndarray:
        """See Codec.decode."""
        if self.format == "AVIF":
            from PIL import AvifImagePlugin

            # The only way to say it; Pillow reads the module's global when it opens a file.
            AvifImagePlugin.DEFAULT_MAX_THREADS = threads
        return _opened(data, self.format)


@dataclass(frozen=True)
class Jpegli:
    """JPEG files by jpegli's encoder (google/jpegli, through pyjpegli), decoded by Pillow as by a client."""

    name: str = "jpegli"
    suffix: str = ".jpg"
    qualities: tuple[int, int] | None = LOSSY
    threaded: bool = False
    timed_apart: bool = True
    description: str = "JPEG 4:2:0 by jpegli, decoded by libjpeg-turbo"

    @property
    def version(self) -> str:
        """Of the binding; jpegli itself has none."""
        return f"pyjpegli {installed('pyjpegli')}"

    def prepare(self) -> None:
        """See Codec."""
        from PIL import Image  # noqa: F401

    def encode(self, image: np.ndarray, quality: int | None) -> bytes:
        """See Codec.encode; 75 where ``quality`` is None. Raises ImportError without pyjpegli."""
        import pyjpegli

        height, width = image.shape[:2]
        pixels = np.ascontiguousarray(image).tobytes()
        return bytes(pyjpegli.encode(pixels, width, height, 75 if quality is None else quality))

    def decode(self, data: bytes, threads: int = 1) -> np.ndarray:
        """See Codec.decode."""
        return _opened(data, "JPEG")


@dataclass(frozen=True)
class JpegXl:
    """JPEG XL by libjxl, through imagecodecs; ``level`` there is the quality of cjxl."""

    name: str = "jxl"
    suffix: str = ".jxl"
    qualities: tuple[int, int] | None = LOSSY
    threaded: bool = True
    timed_apart: bool = True
    effort: int = 7  # cjxl's default

    @property
    def description(self) -> str:
        """See Codec."""
        return f"JPEG XL, effort {self.effort} (imagecodecs)"

    @property
    def version(self) -> str:
        """``libjxl 0.11.2``."""
        try:
            from imagecodecs import jpegxl_version
        except ImportError:
            return "libjxl not installed"
        return str(jpegxl_version())

    def prepare(self) -> None:
        """See Codec."""
        import imagecodecs  # noqa: F401

    def encode(self, image: np.ndarray, quality: int | None) -> bytes:
        """See Codec.encode."""
        from imagecodecs import jpegxl_encode

        level = 75 if quality is None else quality
        return bytes(jpegxl_encode(image, level=level, effort=self.effort, numthreads=1))

    def decode(self, data: bytes, threads: int = 1) -> np.ndarray:
        """See Codec.decode."""
        from imagecodecs import jpegxl_decode

        decoded: np.ndarray = jpegxl_decode(data, numthreads=threads)
        return decoded


@cache
def avif_default_tune() -> str:
    """libaom's default tune: the one that gives the same bytes as the default, or ``unknown``."""
    sample = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)

    def coded(options: tuple[tuple[str, Any], ...]) -> bytes:
        return PillowCodec("", ".avif", "AVIF", LOSSY, "", save_options=options).encode(sample, 60)

    default = coded((("max_threads", 2),))
    for tune in _TUNES:
        try:
            if coded((("max_threads", 2), ("advanced", (("tune", tune),)))) == default:
                return tune
        except ValueError:  # an older libaom
            continue
    return "unknown"


def _aom() -> str:
    """``libaom 3.14.1``, from Pillow's list of AV1 codecs."""
    from PIL import _avif

    for part in str(_avif.codec_versions()).split(","):
        name, _, version = part.strip().partition(":")
        if name.startswith("aom"):
            return f"libaom {version}"
    return "AV1 encoder unknown"


def installed(package: str) -> str:
    """The version of a Python package, or ``not installed``."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _opened(data: bytes, format_: str) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=(format_,)) as image:
        # convert() copies even where there is nothing to convert, and JPEG shall not pay for that.
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _saved(picture: "Image.Image", format_: str, options: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format_, **options)
    return stream.getvalue()


@contextmanager
def _roomy_buffer(size: int) -> Iterator[None]:
    """Pillow's least buffer is a global; it is put back, for reading files uses it too."""
    from PIL import ImageFile

    with _buffer_lock:
        usual = ImageFile.MAXBLOCK
        ImageFile.MAXBLOCK = max(usual, size)
        try:
            yield
        finally:
            ImageFile.MAXBLOCK = usual
