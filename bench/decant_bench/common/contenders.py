"""The entries of a rate-distortion run: codecs, and bundles behind the interface of a codec."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from decant.bundles.bundle import Bundle
from decant.decoder import Decoder
from decant.encoder import Encoder

from decant_bench.common.baselines import CODECS
from decant_bench.common.codecs import Codec
from decant_bench.errors import BenchError

# Where a curve is measured: close where a step of quality is large. Each goes from below 28 dB to above 38 dB
# of mean PSNR on photographs.
LADDERS = {
    "jpeg": (5, 8, 12, 18, 26, 36, 48, 60, 70, 78, 84, 89, 93, 96, 98),
    "jpeg-opt": (5, 8, 12, 18, 26, 36, 48, 60, 70, 78, 84, 89, 93, 96, 98),
    "jpeg-444": (5, 8, 12, 18, 26, 36, 48, 60, 70, 78, 84, 89, 93, 96, 98),
    "jpegli": (5, 8, 12, 18, 26, 36, 48, 60, 70, 78, 84, 89, 93, 96, 98),
    "webp": (1, 4, 9, 16, 26, 38, 52, 66, 77, 84, 90, 95, 100),
    "webp-m6": (1, 4, 9, 16, 26, 38, 52, 66, 77, 84, 90, 95, 100),
    "avif": (4, 12, 20, 28, 36, 44, 52, 60, 68, 76, 83, 90, 96),
    "avif-444": (4, 12, 20, 28, 36, 44, 52, 60, 68, 76, 83, 90, 96),
    "avif-psnr-444": (4, 12, 20, 28, 36, 44, 52, 60, 68, 76, 83, 90, 96),
    "jxl": (6, 12, 20, 30, 42, 54, 65, 74, 81, 87, 92, 96, 98),
    "kmeans": (2, 4, 8, 16, 32, 64, 128, 256),
    "median-cut": (2, 4, 8, 16, 32, 64, 128, 256),
    "bundle": (1, 10, 19, 28, 37, 46, 55, 64, 73, 82, 91, 100),
}
KERNELS_VARIABLE = "DCN_KERNELS"  # which kernels of the runtime native a decoder takes, when it is loaded
_STEPS = 13  # of a codec that has no ladder here


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """The variable ``name`` set to ``value`` meanwhile, unless that is empty."""
    before = os.environ.get(name)
    if value:
        os.environ[name] = value
    try:
        yield
    finally:
        if value and before is None:
            del os.environ[name]
        elif value and before is not None:
            os.environ[name] = before


class BundleCodec:
    """A bundle as a codec: its encoder, and its decoder in one precision with 1 or more threads."""

    suffix = ".dcn"
    qualities: tuple[int, int] | None = (1, 100)
    threaded = True
    timed_apart = False  # its decoder is in this process

    def __init__(
        self,
        bundle: Bundle,
        precision: str,
        runtime: str,
        called: str | None = None,
        effort: int | None = None,
        encoder_threads: int = 0,
    ) -> None:
        """Load both directions. ``precision`` may name kernels of the runtime native: ``int16@avx2``.
        ``called``: another name for the bundle; ``effort`` of encoding, None: the encoder's default;
        ``encoder_threads`` 0: all cores. Raises what Decoder and Encoder raise, and BenchError where this
        processor has no such kernels.
        """
        self.bundle = bundle
        self.effort = effort
        precision, _, self._kernels = precision.partition("@")
        self._wish: dict[str, Any] = {"precision": precision, "runtime": runtime}
        self._decoders: dict[int, Decoder] = {}
        decoder = self._decoder(1)
        self._encoder = Encoder(bundle, threads=encoder_threads)
        if self._kernels and self._kernels not in decoder.device_name:
            raise BenchError(f"{bundle.name}: {decoder.device_name} decode here, not {self._kernels}")
        self.name = " ".join(filter(None, (called or bundle.name, decoder.precision, self._kernels)))
        self.description = f"decant bundle, {decoder.precision}, {decoder.runtime}"
        self.version = f"{bundle.name} {bundle.version}"
        names = ("requested_device", "device", "device_name", "runtime", "runtime_version", "precision")
        self.facts = {name: getattr(decoder, name) for name in names} | {"model_id": bundle.model_id}

    def prepare(self) -> None:
        """See codecs.Codec; both directions are loaded already."""

    def encode(self, image: np.ndarray, quality: int | None) -> bytes:
        """See codecs.Codec."""
        return self._encoder.encode(image, quality, effort=self.effort)

    def decode(self, data: bytes, threads: int = 1) -> np.ndarray:
        """See codecs.Codec."""
        return self._decoder(threads).decode(data)

    def _decoder(self, threads: int) -> Decoder:
        if threads not in self._decoders:
            with _environment(KERNELS_VARIABLE, self._kernels):
                self._decoders[threads] = Decoder(self.bundle, threads=threads, **self._wish)
        return self._decoders[threads]


@dataclass(frozen=True)
class CodecEntry:
    """A codec and the qualities of its curve. Contenders with the same ``files`` decode the same files."""

    codec: Codec
    qualities: tuple[int, ...]
    files: str
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name of its row and its curve."""
        return self.codec.name


def codec_contender(name: str, qualities: Sequence[int] | None = None) -> CodecEntry:
    """The codec registered as ``name``. Raises BenchError for none, or one without qualities."""
    codec = CODECS.get(name)
    if codec is None or codec.qualities is None:
        lossy = ", ".join(known for known, one in CODECS.items() if one.qualities)
        raise BenchError(f"no codec {name!r} with a quality; known: {lossy}")
    return CodecEntry(codec, _ladder(codec, qualities, name), name)


def bundle_contender(
    bundle: Bundle,
    precision: str,
    runtime: str,
    qualities: Sequence[int] | None = None,
    called: str | None = None,
    effort: int | None = None,
    encoder_threads: int = 0,
) -> CodecEntry:
    """A bundle in one precision (``auto``: the one that a client gets). Raises what loading raises."""
    codec = BundleCodec(bundle, precision, runtime, called, effort, encoder_threads)
    files = f"{bundle.path.resolve()} effort {effort} by {encoder_threads}"
    return CodecEntry(codec, _ladder(codec, qualities, "bundle"), files, codec.facts)


def _ladder(codec: Codec, qualities: Sequence[int] | None, name: str) -> tuple[int, ...]:
    assert codec.qualities is not None
    low, high = codec.qualities
    if qualities:
        return tuple(sorted({quality for quality in qualities if low <= quality <= high}))
    steps = np.linspace(low, high, _STEPS).round()
    return LADDERS.get(name) or tuple(sorted({int(step) for step in steps}))
