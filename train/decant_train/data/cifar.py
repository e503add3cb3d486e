"""CIFAR-100 as lossless WebP mosaics: ``SPLIT_00.webp``, ``SPLIT_01.webp``, ... of 25 rows of 40 pictures of
32 x 32 pixels, with ``labels.npz`` (an array of class indices for each split) and ``classes.txt``.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from decant.errors import DecantError
from decant.formats.opening import open_picture
from decant.formats.paths import takes_paths

from decant_train.data.folders import NoImagesError

SIDE = 32  # pixels
_ROWS, _COLUMNS = 25, 40
TRAINING, TEST = "train5k", "test"


@dataclass(frozen=True)
class Split:
    """``pixels`` uint8 (n, 32, 32, 3), ``labels`` uint8 (n,), and ``classes``, the labels' names."""

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    classes: tuple[str, ...]


@takes_paths
def load(folder: Path, split: str) -> Split:
    """``split`` (train5k or test) of the data in ``folder``. Raises NoImagesError when it is not whole."""
    files = sorted(folder.glob(f"{split}_*.webp"))
    if not files:
        raise NoImagesError(f"{folder} holds no {split}_*.webp (CIFAR-100 mosaics)")
    try:
        pixels = np.concatenate([_pictures(path) for path in files])
        with np.load(folder / "labels.npz") as labels:
            of_split = labels[split].astype(np.uint8)
        classes = tuple((folder / "classes.txt").read_text().split())
    except (DecantError, OSError, KeyError, ValueError) as error:
        raise NoImagesError(f"{folder} cannot be read as CIFAR-100 mosaics: {error}") from None
    if len(of_split) != len(pixels) or of_split.max() >= len(classes):
        raise NoImagesError(
            f"{folder}: {len(of_split)} labels of {len(classes)} classes; {len(pixels)} pictures"
        )
    return Split(pixels, of_split, classes)


def _pictures(path: Path) -> npt.NDArray[np.uint8]:
    with open_picture(path) as image:
        mosaic = np.asarray(image.convert("RGB"))
    tiles = mosaic.reshape(_ROWS, SIDE, _COLUMNS, SIDE, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(tiles.reshape(-1, SIDE, SIDE, 3))
