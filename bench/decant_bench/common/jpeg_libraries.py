"""JPEG through other libraries than Pillow: what data loaders use. Files are Pillow's; decoding differs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from decant_bench.common.codecs import LOSSY, PillowCodec, installed

_PILLOW = PillowCodec("jpeg", ".jpg", "JPEG", LOSSY, "")

Decode = Callable[[bytes], Any]  # a file -> uint8 (H, W, 3)


@dataclass(frozen=True)
class JpegLibrary:
    """Pillow's JPEG files, decoded by ``package``; ``decoder`` imports it. See codecs.Codec."""

    name: str
    package: str
    decoder: Callable[[], Decode]
    suffix: str = _PILLOW.suffix
    qualities: tuple[int, int] | None = LOSSY
    threaded: bool = False
    timed_apart: bool = True

    @property
    def description(self) -> str:
        """See Codec."""
        return f"JPEG 4:2:0 baseline (Pillow's default), decoded by {self.package}"

    @property
    def version(self) -> str:
        """Of the package."""
        return f"{self.package} {installed(self.package)}"

    def prepare(self) -> None:
        """See Codec. Raises ImportError without the package or its library."""
        self.decoder()

    def encode(self, image: np.ndarray, quality: int | None) -> bytes:
        """See Codec.encode."""
        return _PILLOW.encode(image, quality)

    def decode(self, data: bytes, threads: int = 1) -> np.ndarray:
        """See Codec.decode."""
        pixels: np.ndarray = self.decoder()(data)
        return pixels


@cache
def _simplejpeg() -> Decode:
    """libjpeg-turbo's TurboJPEG interface in one function."""
    from simplejpeg import decode_jpeg

    return partial(decode_jpeg, colorspace="RGB")


@cache
def _turbojpeg() -> Decode:
    """The system's libturbojpeg through ctypes."""
    from turbojpeg import TJPF_RGB, TurboJPEG

    try:
        return partial(TurboJPEG().decode, pixel_format=TJPF_RGB)
    except (RuntimeError, OSError) as error:
        raise ImportError(f"PyTurboJPEG finds no libturbojpeg: {error}") from None


@cache
def _torchcodec() -> Decode:
    """On the CPU: a tensor (3, H, W), seen as an array (H, W, 3) without copying."""
    try:
        from torchcodec.decoders import decode_jpeg

        decode_jpeg(_PILLOW.encode(np.zeros((8, 8, 3), np.uint8), 75))  # its library is loaded here
    except (OSError, RuntimeError) as error:
        raise ImportError(f"torchcodec cannot decode here: {error}") from None
    return lambda data: decode_jpeg(data).permute(1, 2, 0).numpy()


LIBRARIES = (
    JpegLibrary("simplejpeg", "simplejpeg", _simplejpeg),
    JpegLibrary("turbojpeg", "PyTurboJPEG", _turbojpeg),
    JpegLibrary("torchcodec", "torchcodec", _torchcodec),
)
