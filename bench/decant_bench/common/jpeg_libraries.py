"""JPEG through other libraries than Pillow: what data loaders use. Files are Pillow's; decoding differs."""

import io
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

import numpy as np

from decant_bench.common.codecs import LOSSY


@dataclass(frozen=True)
class _Jpeg:
    """Pillow's JPEG files, decoded by another package; see codecs.Codec."""

    name: str
    package: str
    suffix: str = ".jpg"
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
        try:
            return f"{self.package} {metadata.version(self.package)}"
        except metadata.PackageNotFoundError:
            return f"{self.package} not installed"

    def encode(self, image: np.ndarray, quality: int | None) -> bytes:
        """See Codec.encode."""
        from PIL import Image

        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=75 if quality is None else quality)
        return stream.getvalue()


@dataclass(frozen=True)
class SimpleJpeg(_Jpeg):
    """simplejpeg: libjpeg-turbo's TurboJPEG interface in one function."""

    name: str = "simplejpeg"
    package: str = "simplejpeg"

    def prepare(self) -> None:
        """See Codec."""
        import simplejpeg  # noqa: F401

    def decode(self, data: bytes, threads: int = 1) -> np.ndarray:
        """See Codec.decode."""
        from simplejpeg import decode_jpeg

        pixels: np.ndarray = decode_jpeg(data, "RGB")
        return pixels


@dataclass(frozen=True)
class PyTurboJpeg(_Jpeg):
    """PyTurboJPEG: the system's libturbojpeg through ctypes."""

    name: str = "turbojpeg"
    package: str = "PyTurboJPEG"

    def prepare(self) -> None:
        """See Codec. Raises ImportError without the package or its library."""
        _turbojpeg()

    def decode(self, data: bytes, threads: int = 1) -> np.ndarray:
        """See Codec.decode."""
        library, rgb = _turbojpeg()
        pixels: np.ndarray = library.decode(data, pixel_format=rgb)
        return pixels


@dataclass(frozen=True)
class TorchCodecJpeg(_Jpeg):
    """torchcodec's decode_jpeg on the CPU: a tensor (3, H, W), seen as an array (H, W, 3) without copying."""

    name: str = "torchcodec"
    package: str = "torchcodec"

    def prepare(self) -> None:
        """See Codec. Raises ImportError without the package or its libraries."""
        _torchcodec()

    def decode(self, data: bytes, threads: int = 1) -> np.ndarray:
        """See Codec.decode."""
        pixels: np.ndarray = _torchcodec()(data).permute(1, 2, 0).numpy()
        return pixels


@cache
def _turbojpeg() -> tuple[Any, int]:
    from turbojpeg import TJPF_RGB, TurboJPEG

    try:
        return TurboJPEG(), TJPF_RGB
    except (RuntimeError, OSError) as error:
        raise ImportError(f"PyTurboJPEG finds no libturbojpeg: {error}") from None


@cache
def _torchcodec() -> Any:
    try:
        from torchcodec.decoders import decode_jpeg

        decode_jpeg(_smallest())  # its library is loaded here
    except (OSError, RuntimeError) as error:
        raise ImportError(f"torchcodec cannot decode here: {error}") from None
    return decode_jpeg


def _smallest() -> bytes:
    return _Jpeg("", "").encode(np.zeros((8, 8, 3), np.uint8), 75)


LIBRARIES = (SimpleJpeg(), PyTurboJpeg(), TorchCodecJpeg())
