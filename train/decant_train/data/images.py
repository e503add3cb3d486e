"""The images to train on: a folder, or the photos in the wheels."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from decant.formats.paths import takes_paths

from decant_train.data import folders as data
from decant_train.data import wheel_photos

Pixels = npt.NDArray[np.uint8]


WHEELS = "photos in the wheels of scikit-image and scikit-learn"


@takes_paths
def images_of(folder: Path | None, size: int, count: int | None, fit: data.Fit = "crop") -> Pixels:
    """Images of ``folder``, or squares of the photos in the wheels when it is None: uint8 (n, size, size, 3),
    n at most ``count``.
    """
    if folder is None:
        return wheel_photos.crops(count or 64, size)
    return data.load_folder(folder, size, fit, count)
