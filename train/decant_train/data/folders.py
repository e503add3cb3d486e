"""Folders of images as arrays: any format that decant reads, cropped or stretched to a square."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from decant.errors import DecantError
from decant.formats.opening import INPUT_FORMATS, open_picture
from decant.formats.paths import takes_paths
from PIL import Image, ImageOps

Fit = Literal["crop", "stretch"]
Pixels = npt.NDArray[np.uint8]

log = logging.getLogger(__name__)


class NoImagesError(ValueError):
    """A folder holds no readable image, or fewer than were asked for."""


@takes_paths
def image_files(folder: Path) -> list[Path]:
    """Files below ``folder`` with the extension of a format that decant reads, sorted by path. Raises
    NoImagesError when there is none.
    """
    if not folder.is_dir():
        raise NoImagesError(f"{folder} is not a folder")
    extensions = {ext for ext, fmt in Image.registered_extensions().items() if fmt in INPUT_FORMATS}
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in extensions and p.is_file())
    if not files:
        raise NoImagesError(f"{folder} holds no image file that decant can read")
    return files


def fit_square(image: Image.Image, size: int, fit: Fit = "crop") -> Pixels:
    """One image as uint8 (size, size, 3): upright, RGB, the centre square resized ("crop") or the whole
    picture distorted ("stretch").

    "stretch" is what the published set autoencoder did. A picture that already is size x size is not
    resampled.
    """
    image = ImageOps.exif_transpose(image)
    image = image if image.mode == "RGB" else image.convert("RGB")
    if fit == "crop":
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(image, dtype=np.uint8)


def load_folder(folder: Path | str, size: int, fit: Fit = "crop", limit: int | None = None) -> Pixels:
    """The images below ``folder``, in order of path, as uint8 (n, size, size, 3); at most ``limit`` of them.

    A file that cannot be read is named in a warning and skipped. Raises NoImagesError when none is left.
    """
    return _stack(image_files(Path(folder)), size, fit, limit, Path(folder))


def _stack(files: Iterable[Path], size: int, fit: Fit, limit: int | None, folder: Path) -> Pixels:
    images: list[Pixels] = []
    for path in files:
        if limit is not None and len(images) >= limit:
            break
        try:
            with open_picture(path) as image:
                images.append(fit_square(image, size, fit))
        except (DecantError, OSError) as error:
            log.warning("skipped %s: %s", path, error)
    if not images:
        raise NoImagesError(f"none of the image files in {folder} could be read")
    return np.stack(images)
