"""The pictures of a measurement: whole or cut to squares, with names and a hash; and reading them."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from decant.errors import ImageError, SizeLimitError
from decant.formats.opening import open_picture
from decant.formats.paths import takes_paths

from decant_bench.errors import BenchError

if TYPE_CHECKING:
    from PIL import Image

WHEELS = "photos in the wheels of scikit-image and scikit-learn"
_MODES = ("RGB", "L", "P", "1")  # what becomes RGB without loss


@dataclass(frozen=True)
class Picture:
    """``pixels``: uint8 (H, W, 3)."""

    name: str
    pixels: np.ndarray

    @property
    def pixel_count(self) -> int:
        """Width times height."""
        return int(self.pixels.shape[0] * self.pixels.shape[1])

    @property
    def size(self) -> str:
        """``768x512``: width and height."""
        return f"{self.pixels.shape[1]}x{self.pixels.shape[0]}"


@dataclass(frozen=True)
class PictureSet:
    """Pictures with unique names, of any sizes; ``source`` says where they came from."""

    pictures: tuple[Picture, ...]
    source: str

    @classmethod
    def of(cls, names: Sequence[str], pixels: Sequence[np.ndarray] | np.ndarray, source: str) -> "PictureSet":
        """From names and as many arrays uint8 (H, W, 3), or one array (n, H, W, 3)."""
        return cls(tuple(Picture(name, one) for name, one in zip(names, pixels, strict=True)), source)

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def names(self) -> tuple[str, ...]:
        """In the order of the pictures."""
        return tuple(picture.name for picture in self.pictures)

    @cached_property
    def pixels(self) -> np.ndarray:
        """uint8 (n, H, W, 3). Raises BenchError for pictures of several sizes."""
        sizes = self.sizes
        if len(sizes) != 1:
            raise BenchError(f"pictures of one size expected; these have {', '.join(sizes)}")
        return np.stack([picture.pixels for picture in self.pictures])

    @property
    def sizes(self) -> list[str]:
        """Every size once: ``768x512``."""
        return sorted({picture.size for picture in self.pictures})

    @cached_property
    def sha256(self) -> str:
        """Of the pixels, so of what is measured and not of the files it came from."""
        digest = hashlib.sha256()
        for picture in self.pictures:
            digest.update(repr(picture.pixels.shape).encode())
            digest.update(np.ascontiguousarray(picture.pixels).tobytes())
        return digest.hexdigest()

    def described(self) -> dict[str, object]:
        """For the configuration of a record."""
        return {"count": len(self), "sizes": self.sizes, "source": self.source, "sha256": self.sha256}

    def listed(self) -> list[dict[str, object]]:
        """For a record: name, width and height of every picture."""
        return [
            {"name": p.name, "width": p.pixels.shape[1], "height": p.pixels.shape[0]} for p in self.pictures
        ]

    def named(self, name: str) -> Picture:
        """By file name, with or without folder and suffix. Raises BenchError."""
        for picture in self.pictures:
            file = picture.name.rsplit("/", 1)[-1]
            if name in (picture.name, file, file.rsplit(".", 1)[0]):
                return picture
        raise BenchError(f"no picture {name!r}; there are {', '.join(self.names)}")


@takes_paths
def read_pictures(folder: Path, limit: int | None = None) -> PictureSet:
    """The pictures below ``folder``, upright, in order of path; at most ``limit``. Raises ImageError for one
    that cannot be read, or that is not 8-bit RGB or grey: a figure is one of all pictures.
    """
    from PIL import ImageOps

    pictures = []
    for path in _paths(folder, limit):
        with _opened(path) as opened:
            image = ImageOps.exif_transpose(opened)
        if image.mode not in _MODES or "transparency" in image.info:
            raise ImageError(f"{path}: mode {image.mode}; 8-bit RGB or grey without transparency expected")
        pictures.append(Picture(path.relative_to(folder).as_posix(), np.asarray(image.convert("RGB"))))
    return PictureSet(tuple(pictures), str(folder))


@takes_paths
def read_squares(folder: Path, size: int, limit: int | None = None, fit: str = "crop") -> PictureSet:
    """The pictures below ``folder`` as squares of ``size`` pixels, in order of path; at most ``limit``.

    ``fit`` is crop (the centre square, resized) or stretch. Raises ImageError for one that cannot be read.
    """
    from decant_train.data.folders import fit_square

    pictures = []
    for path in _paths(folder, limit):
        with _opened(path) as image:
            square = fit_square(image, size, "stretch" if fit == "stretch" else "crop")
        pictures.append(Picture(path.relative_to(folder).as_posix(), square))
    return PictureSet(tuple(pictures), str(folder))


@takes_paths
def read_groups(folder: Path, limit: int | None = None) -> PictureSet:
    """The pictures of each sub-folder of ``folder``, in order of name; at most ``limit`` of each. A name
    begins with its sub-folder's. Raises ImageError as read_pictures, and for a folder without sub-folders.
    """
    groups = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not groups:
        raise ImageError(f"{folder} holds no folders; a folder of pictures for each group expected")
    pictures = [
        Picture(f"{group.name}/{picture.name}", picture.pixels)
        for group in groups
        for picture in read_pictures(group, limit).pictures
    ]
    return PictureSet(tuple(pictures), str(folder))


def wheel_pictures(limit: int | None = None) -> PictureSet:
    """The photographs in the wheels of scikit-image and scikit-learn, whole."""
    from decant_train.data.wheel_photos import PHOTOS, photo

    pictures = tuple(Picture(name, np.asarray(photo(package, name))) for package, name in PHOTOS[:limit])
    return PictureSet(pictures, WHEELS)


def wheel_crops(count: int, size: int) -> PictureSet:
    """``count`` squares of ``size`` pixels of the photographs in the wheels."""
    from decant_train.data.wheel_photos import crops

    return PictureSet.of([f"{i:05}" for i in range(count)], crops(count, size), WHEELS)


def _paths(folder: Path, limit: int | None) -> list[Path]:
    from decant_train.data.folders import NoImagesError, image_files

    try:
        return image_files(folder)[:limit]
    except NoImagesError as error:
        raise ImageError(str(error)) from None


@contextmanager
def _opened(path: Path) -> Iterator["Image.Image"]:
    """A picture whose errors, while it is read too, name the file and the way out. Raises ImageError."""
    try:
        with open_picture(path) as image:
            yield image
    except (ImageError, SizeLimitError) as error:
        raise ImageError(f"{error}; remove it from the folder") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error}; remove it from the folder") from None
