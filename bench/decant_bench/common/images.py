"""The pictures of a measurement: a folder as squares of one size, with names and a hash."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from decant.bundles.bundle import Bundle
from decant.errors import ImageError, SizeLimitError
from decant.formats.opening import open_picture
from decant.formats.paths import takes_paths

from decant_bench.errors import BenchError

ANY_SIZE = (0, 0)  # Bundle.image of codecs, which take pictures of any size
SIDE = 512  # pixels of the squares for bundles that all take any size


@dataclass(frozen=True)
class ImageSet:
    """``pixels``: uint8 (n, H, W, 3). ``names`` are unique; ``source`` says where the pictures came from."""

    names: tuple[str, ...]
    pixels: np.ndarray
    source: str

    def __len__(self) -> int:
        return len(self.names)

    @property
    def sha256(self) -> str:
        """Of the pixels, so of what is measured and not of the files it came from."""
        head = ",".join(map(str, self.pixels.shape)).encode()
        return hashlib.sha256(head + np.ascontiguousarray(self.pixels).tobytes()).hexdigest()

    def described(self) -> dict[str, object]:
        """For a record."""
        n, height, width, _ = self.pixels.shape
        return {"count": n, "width": width, "height": height, "source": self.source, "sha256": self.sha256}


@takes_paths
def read_folder(folder: Path, size: int, limit: int | None = None, fit: str = "crop") -> ImageSet:
    """The pictures below ``folder`` as squares of ``size`` pixels, in order of path; at most ``limit``.

    ``fit`` is crop (the centre square, resized) or stretch. A picture that cannot be read is an error: a
    figure over fewer pictures than the folder holds would be a figure of something else. Raises ImageError.
    """
    from decant_train.data.folders import NoImagesError, fit_square, image_files

    try:
        paths = image_files(folder)[:limit]
    except NoImagesError as error:
        raise ImageError(str(error)) from None
    pictures = []
    for path in paths:
        try:
            with open_picture(path) as image:
                pictures.append(fit_square(image, size, "stretch" if fit == "stretch" else "crop"))
        except (ImageError, SizeLimitError) as error:
            raise ImageError(f"{error}; remove it from the folder") from None
        except OSError as error:
            raise ImageError(f"{path}: cannot be read: {error}; remove it from the folder") from None
    names = tuple(path.relative_to(folder).as_posix() for path in paths)
    return ImageSet(names, np.stack(pictures), str(folder))


def wheel_crops(count: int, size: int) -> ImageSet:
    """``count`` squares of the photographs in the wheels of scikit-image and scikit-learn."""
    from decant_train.data.wheel_photos import crops

    names = tuple(f"{i:05}" for i in range(count))
    return ImageSet(names, crops(count, size), "photos in the wheels of scikit-image and scikit-learn")


def side_for(bundles: Sequence[Bundle]) -> int:
    """The side in pixels of the squares that the first of ``bundles`` with a size takes; SIDE where none has.
    Raises BenchError for one whose pictures are not square.
    """
    width, height = next((bundle.image for bundle in bundles if bundle.image != ANY_SIZE), (SIDE, SIDE))
    if width != height:
        raise BenchError(f"a bundle of {width}x{height} pixels; square ones expected")
    return width


def require_size(bundles: Sequence[Bundle], images: ImageSet) -> None:
    """Raises BenchError, naming the bundle, unless every one of ``bundles`` takes pictures of this size."""
    height, width = images.pixels.shape[1:3]
    for bundle in bundles:
        if bundle.image not in (ANY_SIZE, (width, height)):
            raise BenchError(
                f"bundle {bundle.name} takes {bundle.image[0]}x{bundle.image[1]} pixels, the images are "
                f"{width}x{height}; bundles of different sizes need runs of their own"
            )
