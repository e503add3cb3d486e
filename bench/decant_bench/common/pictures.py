"""Whole pictures of any size, for codecs that take any size."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from decant.errors import ImageError, SizeLimitError
from decant.formats.opening import open_picture
from decant.formats.paths import takes_paths

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


@dataclass(frozen=True)
class PictureSet:
    """Pictures with unique names; ``source`` says where they came from."""

    pictures: tuple[Picture, ...]
    source: str

    def __len__(self) -> int:
        return len(self.pictures)

    def described(self) -> dict[str, object]:
        """For a record; the hash is of the pixels."""
        digest = hashlib.sha256()
        for picture in self.pictures:
            digest.update(
                repr(picture.pixels.shape).encode() + np.ascontiguousarray(picture.pixels).tobytes()
            )
        sizes = sorted({f"{p.pixels.shape[1]}x{p.pixels.shape[0]}" for p in self.pictures})
        return {
            "count": len(self),
            "sizes": sizes,
            "source": self.source,
            "sha256": digest.hexdigest(),
        }


@takes_paths
def read_pictures(folder: Path, limit: int | None = None) -> PictureSet:
    """The pictures below ``folder``, upright, in order of path; at most ``limit``. Raises ImageError for one
    that cannot be read, or that is not 8-bit RGB or grey: a figure is one of all pictures.
    """
    from decant_train.data.folders import NoImagesError, image_files
    from PIL import ImageOps

    try:
        paths = image_files(folder)[:limit]
    except NoImagesError as error:
        raise ImageError(str(error)) from None
    pictures = []
    for path in paths:
        try:
            with open_picture(path) as opened:
                image = ImageOps.exif_transpose(opened)
        except (ImageError, SizeLimitError) as error:
            raise ImageError(f"{error}; remove it from the folder") from None
        except OSError as error:
            raise ImageError(f"{path}: cannot be read: {error}; remove it from the folder") from None
        if image.mode not in _MODES or "transparency" in image.info:
            raise ImageError(f"{path}: mode {image.mode}; 8-bit RGB or grey without transparency expected")
        pictures.append(Picture(path.relative_to(folder).as_posix(), np.asarray(image.convert("RGB"))))
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
    return PictureSet(pictures, "photos in the wheels of scikit-image and scikit-learn")
