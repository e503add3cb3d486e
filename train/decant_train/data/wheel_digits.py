"""Digits in the wheel of scikit-learn (UCI, 1,797 of 8x8 pixels) as the four idx files of MNIST: enough to
try the family ``digits`` anywhere.
"""

import gzip
import struct
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from decant_train.data.mnist import SIDE, Bytes

TRAINING = 1500  # the others are the test
_ENLARGED = 20  # pixels, in the middle of the ground as MNIST's are


@cache
def pictures() -> tuple[Bytes, Bytes]:
    """Pictures uint8 (1797, 28, 28) on a black ground, and labels uint8 (1797,)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    large = np.zeros((len(digits.images), SIDE, SIDE), np.uint8)
    margin = (SIDE - _ENLARGED) // 2
    inner = slice(margin, margin + _ENLARGED)
    for picture, digit in zip(large, digits.images, strict=True):
        small = Image.fromarray(np.minimum(digit * 16, 255).astype(np.uint8))
        picture[inner, inner] = np.asarray(small.resize((_ENLARGED, _ENLARGED), Image.Resampling.BICUBIC))
    return large, digits.target.astype(np.uint8)


def write(folder: Path, training: int = TRAINING, test: int | None = None) -> Path:
    """Write the four files to ``folder``, made when missing, and return it; at most ``test`` digits for the
    test.
    """
    images, labels = pictures()
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"train": slice(0, training), "t10k": slice(TRAINING, None if test is None else TRAINING + test)}
    for name, part in parts.items():
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images[part]), mtime=0))
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels[part]), mtime=0))
    return folder


def idx(values: Bytes) -> bytes:
    """The idx file of unsigned bytes."""
    return struct.pack(f">{1 + values.ndim}I", 0x0800 + values.ndim, *values.shape) + values.tobytes()
