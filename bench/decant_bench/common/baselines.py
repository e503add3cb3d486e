"""The formats that decoders are measured against, by name.

A codec is registered by name; a ``Setting`` is a codec at one quality, written ``jpeg-q90``, or with no
quality, ``png``. The quality of palettes is their number of colours, written ``kmeans-k16``.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from decant_bench.common.codecs import LOSSY, Codec, Jpegli, JpegXl, PillowCodec
from decant_bench.common.jpeg_libraries import LIBRARIES
from decant_bench.common.palettes import KMEANS, MEDIAN_CUT

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


def _avif(name: str, about: str, *options: tuple[str, object]) -> PillowCodec:
    saved = (*options, _AVIF_THREADS)
    return PillowCodec(name, ".avif", "AVIF", LOSSY, f"AVIF {about}", threaded=True, save_options=saved)


def _jpeg(name: str, about: str, *options: tuple[str, object]) -> PillowCodec:
    return PillowCodec(name, ".jpg", "JPEG", LOSSY, f"JPEG {about}", save_options=options)


AVIF = _avif("avif", "4:2:0, speed 6 (Pillow's default)")
WEBP = PillowCodec("webp", ".webp", "WEBP", LOSSY, "WebP, method 4 (Pillow's default)")

for _codec in (
    _jpeg("jpeg", "4:2:0 baseline (Pillow's default)"),
    _jpeg("jpeg-opt", "4:2:0, optimised and progressive (Pillow)", ("optimize", True), ("progressive", True)),
    _jpeg("jpeg-444", "4:4:4 baseline (Pillow)", ("subsampling", "4:4:4")),
    Jpegli(),
    PillowCodec("png", ".png", "PNG", None, "PNG (Pillow's default)"),
    WEBP,
    PillowCodec("webp-m6", ".webp", "WEBP", LOSSY, "WebP, method 6 (Pillow)", save_options=(("method", 6),)),
    AVIF,
    _avif("avif-444", "4:4:4, speed 6 (Pillow)", ("subsampling", "4:4:4")),
    _avif(
        "avif-psnr-444",
        "4:4:4, speed 6, tuned for PSNR (Pillow)",
        ("subsampling", "4:4:4"),
        ("advanced", (("tune", "psnr"),)),
    ),
    JpegXl(),
    *LIBRARIES,
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
