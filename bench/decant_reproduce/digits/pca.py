"""Principal components as a codec: a picture is its coefficients, the decoder is the mean and the components.

The linear baseline of every autoencoder: no linear map to as many numbers and back has a smaller squared
error over the pictures it is fitted on (Eckart and Young 1936).
"""

from dataclasses import dataclass

import numpy as np
from decant.errors import FormatError, ImageError
from decant.layouts.vector import VectorLayout

_BATCH = 4096  # pictures


@dataclass(frozen=True, eq=False)
class Pca:
    """``mean`` float32 (v,), ``components`` float32 (k, v), orthonormal, v the values of a picture of
    ``shape``; ``lowest`` and ``highest`` float32 (k,): the range of each coefficient where it was fitted.
    """

    shape: tuple[int, ...]
    mean: np.ndarray
    components: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray

    @property
    def decoder_bytes(self) -> int:
        """What a decoder must have: mean and components in float32."""
        return 4 * (self.mean.size + self.components.size)

    def encode(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 (n, *shape) -> coefficients float32 (n, k). Raises ImageError for another shape."""
        if pictures.shape[1:] != self.shape:
            raise ImageError(f"pictures of shape {pictures.shape[1:]}; this PCA takes {self.shape}")
        coefficients: np.ndarray = (_flat(pictures) - self.mean) @ self.components.T
        return coefficients

    def decode(self, coefficients: np.ndarray) -> np.ndarray:
        """Coefficients (n, k) -> uint8 (n, *shape)."""
        values = coefficients.astype(np.float32) @ self.components + self.mean
        pictures: np.ndarray = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        return pictures.reshape(-1, *self.shape)

    def layout(self, bits: int) -> VectorLayout:
        """Coefficients in ``bits`` bits each, over their ranges; 16 at most."""
        step = ((self.highest.astype(np.float64) - self.lowest) / (2**bits - 1)).astype(np.float32)
        return VectorLayout(len(self.components), "uint", bits, self.lowest, step)


def fit(pictures: np.ndarray, components: int) -> Pca:
    """The first ``components`` principal components of ``pictures``, uint8 (n, ...), values 0..255. Raises
    ImageError where the pictures cannot have so many.
    """
    values = int(np.prod(pictures.shape[1:]))
    if not 1 <= components <= min(len(pictures), values):
        raise ImageError(f"{components} components of {len(pictures)} pictures of {values} values")
    mean = np.zeros(values)
    moment = np.zeros((values, values))
    for i in range(0, len(pictures), _BATCH):
        flat = _flat(pictures[i : i + _BATCH])
        mean += flat.sum(axis=0, dtype=np.float64)
        moment += flat.T @ flat
    mean /= len(pictures)
    _, vectors = np.linalg.eigh(moment / len(pictures) - np.outer(mean, mean))
    basis = np.ascontiguousarray(vectors[:, ::-1][:, :components].T, np.float32)
    free = np.zeros(components, np.float32)
    unbounded = Pca(pictures.shape[1:], mean.astype(np.float32), basis, free, free)
    found = [unbounded.encode(pictures[i : i + _BATCH]) for i in range(0, len(pictures), _BATCH)]
    lowest = np.min([part.min(axis=0) for part in found], axis=0)
    highest = np.max([part.max(axis=0) for part in found], axis=0)
    return Pca(unbounded.shape, unbounded.mean, basis, lowest, highest)


@dataclass(frozen=True)
class PcaCodec:
    """A fitted PCA behind the interface of a codec; ``quality`` is the number of bits a coefficient. A file
    is that number, and the packed coefficients.
    """

    pca: Pca
    suffix: str = ".pca"
    qualities: tuple[int, int] | None = (1, 16)
    threaded: bool = False

    @property
    def name(self) -> str:
        """``pca-28``."""
        return f"pca-{len(self.pca.components)}"

    @property
    def description(self) -> str:
        """In words, its decoder counted."""
        return f"{len(self.pca.components)} principal components, a decoder of {self.pca.decoder_bytes} bytes"

    def encode(self, image: np.ndarray, quality: int | None) -> bytes:
        """See Codec.encode; 8 bits where ``quality`` is None."""
        bits = 8 if quality is None else quality
        return bytes([bits]) + self.pca.layout(bits).pack(self.pca.encode(image[None])[0])

    def decode(self, data: bytes, threads: int = 1) -> np.ndarray:
        """See Codec.decode. Raises FormatError."""
        if not data or not 1 <= data[0] <= 16:
            raise FormatError("PCA file: 1 to 16 bits a coefficient expected in its first byte")
        picture: np.ndarray = self.pca.decode(self.pca.layout(data[0]).unpack(data[1:])[None])[0]
        return picture


def _flat(pictures: np.ndarray) -> np.ndarray:
    return pictures.reshape(len(pictures), -1).astype(np.float32)
