"""The four files of MNIST (LeCun, Cortes, Burges), or any others of their form: idx, gzipped or not.

An idx file is a big-endian header (magic number, then the length of each axis, 32 bits each) and the values.
"""

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from decant.formats.paths import takes_paths

SIDE = 28  # pixels
MAGIC = {1: 0x0801, 3: 0x0803}  # of unsigned bytes, by the number of axes
_FILES = {
    ("train", "images"): "train-images-idx3-ubyte",
    ("train", "labels"): "train-labels-idx1-ubyte",
    ("test", "images"): "t10k-images-idx3-ubyte",
    ("test", "labels"): "t10k-labels-idx1-ubyte",
}

Bytes = npt.NDArray[np.uint8]


class DigitsError(ValueError):
    """A folder does not hold the four files, or one of them is damaged."""


@dataclass(frozen=True)
class Digits:
    """``images``: uint8 (n, 28, 28), 0 is the ground; ``labels``: uint8 (n,), 0 to 9."""

    images: Bytes
    labels: Bytes

    def __len__(self) -> int:
        return len(self.images)


def load(folder: Path | str, part: str = "train") -> Digits:
    """The digits of ``part``, train or test, in their files' order. Raises DigitsError."""
    folder = Path(folder)
    images = read_idx(_path(folder, _FILES[part, "images"]), 3)
    labels = read_idx(_path(folder, _FILES[part, "labels"]), 1)
    if images.shape[1:] != (SIDE, SIDE):
        raise DigitsError(
            f"{folder}: pictures of {images.shape[2]}x{images.shape[1]}; {SIDE}x{SIDE} expected"
        )
    if len(images) != len(labels):
        raise DigitsError(
            f"{folder}: {len(images)} {part} pictures and {len(labels)} labels; as many expected"
        )
    if not len(images):
        raise DigitsError(f"{folder}: no {part} picture; one at least expected")
    if labels.max() > 9:
        raise DigitsError(f"{folder}: label {labels.max()} among the {part} labels; 0 to 9 expected")
    return Digits(images, labels)


@takes_paths
def is_folder(folder: Path) -> bool:
    """Whether ``folder`` has files of these names."""
    return all((folder / name).exists() or (folder / f"{name}.gz").exists() for name in _FILES.values())


@takes_paths
def read_idx(path: Path, axes: int) -> Bytes:
    """The unsigned bytes of an idx file with ``axes`` axes (1 or 3). Raises DigitsError."""
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DigitsError(f"{path}: cannot be read: {error}") from None
    head = 4 * (1 + axes)
    if len(data) < head:
        raise DigitsError(f"{path}: {len(data)} bytes; a header of {head} expected")
    magic, *shape = struct.unpack(f">{1 + axes}I", data[:head])
    if magic != MAGIC[axes]:
        raise DigitsError(f"{path}: magic number {magic:#010x}; {MAGIC[axes]:#010x} expected")
    if len(data) - head != math.prod(shape):
        raise DigitsError(f"{path}: {len(data) - head} values; the header says {'x'.join(map(str, shape))}")
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)


def _path(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.exists():
            return path
    raise DigitsError(f"{folder} has no {name}.gz; the four files of MNIST are expected there")
