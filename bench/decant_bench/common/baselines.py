"""The formats that decoders are measured against, behind one interface: picture -> bytes -> picture.

A codec is registered by name; a ``Setting`` is a codec at one quality, written ``jpeg-q90``, or with no
quality, ``png``. The quality of palettes is their number of colours, written ``kmeans-k16``. Decoding starts
from bytes in memory and ends at uint8 RGB (H, W, 3), as it does for a bundle.
"""

import io
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from decant_bench.common.palettes import KMEANS, MEDIAN_CUT

if TYPE_CHECKING:
    from PIL import Image

_buffer_lock = threading.Lock()


class Codec(Protocol):
    """A codec. ``qualities`` is its range, None where it has none; ``threaded``: decoding can use threads."""

    @property
    def name(self) -> str: ...
    @property
    def suffix(self) -> str: ...
    @property
    def qualities(self) -> tuple[int, int] | None: ...
    @property
    def threaded(self) -> bool: ...
    @property
    def description(self) -> str: ...

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
        from PIL import Image

        if self.format == "AVIF":
            from PIL import AvifImagePlugin

            # The only way to say it; Pillow reads the module's global when it opens a file.
            AvifImagePlugin.DEFAULT_MAX_THREADS = threads
        with Image.open(io.BytesIO(data), formats=(self.format,)) as image:
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


@dataclass(frozen=True)
class JpegXl:
    """JPEG XL by libjxl, through imagecodecs; ``level`` there is the quality of cjxl."""

    name: str = "jxl"
    suffix: str = ".jxl"
    qualities: tuple[int, int] | None = (1, 100)
    threaded: bool = True
    effort: int = 7  # cjxl's default

    @property
    def description(self) -> str:
        """See Codec."""
        return f"JPEG XL, libjxl effort {self.effort} (imagecodecs)"

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


_LOSSY = (1, 100)
# libaom makes the same file with any number of threads but one, where it is 0.2 to 0.5 % larger. Pillow's
# default is all cores, or whatever was last set for decoding: so the number is always given.
_AVIF_THREADS = ("max_threads", 2)
CODECS: dict[str, Codec] = {}
_LETTERS: dict[str, str] = {}  # by codec: what its quality is written with


def register(codec: Codec, letter: str = "q") -> None:
    """Make ``codec`` known under its name, its quality written with ``letter``. Raises ValueError when the
    name is taken.
    """
    if codec.name in CODECS:
        raise ValueError(f"a codec is already called {codec.name!r}")
    CODECS[codec.name] = codec
    _LETTERS[codec.name] = letter


for _codec in (
    PillowCodec("jpeg", ".jpg", "JPEG", _LOSSY, "JPEG 4:2:0 baseline (Pillow's default)"),
    PillowCodec(
        "jpeg-opt",
        ".jpg",
        "JPEG",
        _LOSSY,
        "JPEG 4:2:0, optimised and progressive (Pillow)",
        save_options=(("optimize", True), ("progressive", True)),
    ),
    PillowCodec(
        "jpeg-444",
        ".jpg",
        "JPEG",
        _LOSSY,
        "JPEG 4:4:4 baseline (Pillow)",
        save_options=(("subsampling", "4:4:4"),),
    ),
    PillowCodec("png", ".png", "PNG", None, "PNG (Pillow's default)"),
    PillowCodec("webp", ".webp", "WEBP", _LOSSY, "WebP, method 4 (Pillow's default)"),
    PillowCodec("webp-m6", ".webp", "WEBP", _LOSSY, "WebP, method 6 (Pillow)", save_options=(("method", 6),)),
    PillowCodec(
        "avif",
        ".avif",
        "AVIF",
        _LOSSY,
        "AVIF 4:2:0, speed 6 (Pillow's default)",
        threaded=True,
        save_options=(_AVIF_THREADS,),
    ),
    PillowCodec(
        "avif-444",
        ".avif",
        "AVIF",
        _LOSSY,
        "AVIF 4:4:4, speed 6 (Pillow)",
        threaded=True,
        save_options=(("subsampling", "4:4:4"), _AVIF_THREADS),
    ),
    JpegXl(),
):
    register(_codec)
for _palette in (KMEANS, MEDIAN_CUT):
    register(_palette, "k")


@dataclass(frozen=True)
class Setting:
    """A codec at one quality (None: its default, or it has none)."""

    codec: str
    quality: int | None = None

    @property
    def label(self) -> str:
        """``jpeg-q90``, ``kmeans-k16``, ``png``."""
        return self.codec if self.quality is None else f"{self.codec}-{_LETTERS[self.codec]}{self.quality}"

    def encode(self, image: np.ndarray) -> bytes:
        """uint8 (H, W, 3) -> the bytes of a file."""
        return CODECS[self.codec].encode(image, self.quality)

    def decoder(self, threads: int = 1) -> Callable[[bytes], np.ndarray]:
        """A function from the bytes of a file to uint8 (H, W, 3)."""
        codec = CODECS[self.codec]
        return lambda data: codec.decode(data, threads)


def setting(label: str) -> Setting:
    """The setting written ``label``. Raises ValueError, naming what there is, for one that cannot be."""
    match = re.fullmatch(r"([a-z][a-z0-9-]*?)(?:-([a-z])(\d{1,3}))?", label)
    if match is None or match[1] not in CODECS or match[2] not in (None, _LETTERS[match[1]]):
        raise ValueError(
            f"no codec {label!r}; known: {', '.join(CODECS)}, with a quality as in jpeg-q90, kmeans-k16"
        )
    codec, quality = CODECS[match[1]], int(match[3]) if match[3] else None
    if quality is not None:
        if codec.qualities is None:
            raise ValueError(f"{codec.name} has no quality; write {codec.name!r}")
        low, high = codec.qualities
        if not low <= quality <= high:
            raise ValueError(f"{label}: quality {low} to {high} expected")
    return Setting(codec.name, quality)
