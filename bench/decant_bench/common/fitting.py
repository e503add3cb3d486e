"""Pictures as bundles take them: codecs any size, the others squares of their own side."""

from collections.abc import Sequence
from pathlib import Path

from decant.bundles.bundle import Bundle
from decant.formats.paths import takes_paths

from decant_bench.common.pictures import PictureSet, read_pictures, read_squares, wheel_crops, wheel_pictures
from decant_bench.errors import BenchError

ANY_SIZE = (0, 0)  # Bundle.image of codecs, which take pictures of any size
SIDE = 512  # pixels of the squares for bundles that all take any size
_CROPS = 64  # of the photos in the wheels, where no folder is given
_LARGE_CROPS = 24  # of SIDE pixels; the photos hold 43


@takes_paths
def squares_for(
    bundles: Sequence[Bundle], folder: Path | None, limit: int | None = None, fit: str = "crop"
) -> PictureSet:
    """Squares of one side for all ``bundles``: of the pictures of ``folder``, or without one crops of photos
    in the wheels. Raises ImageError, and BenchError as side_for.
    """
    side = side_for(bundles)
    if folder is not None:
        return read_squares(folder, side, limit, fit)
    return wheel_crops(limit or (_CROPS if side < SIDE else _LARGE_CROPS), side)


@takes_paths
def pictures_for(
    bundle: Bundle, folder: Path | None, limit: int | None = None, fit: str = "crop"
) -> PictureSet:
    """The pictures of ``folder`` as ``bundle`` takes them: whole, or fitted to its size (crop or stretch);
    without a folder, photos in the wheels. Raises ImageError, and BenchError for a size that is not square.
    """
    if bundle.image != ANY_SIZE:
        return squares_for([bundle], folder, limit, fit)
    return wheel_pictures(limit) if folder is None else read_pictures(folder, limit)


def side_for(bundles: Sequence[Bundle]) -> int:
    """The side in pixels of the squares that the first of ``bundles`` with a size takes; SIDE where none has.
    Raises BenchError for one whose pictures are not square.
    """
    width, height = next((bundle.image for bundle in bundles if bundle.image != ANY_SIZE), (SIDE, SIDE))
    if width != height:
        raise BenchError(f"a bundle of {width}x{height} pixels; square ones expected")
    return width


def require_size(bundles: Sequence[Bundle], pictures: PictureSet) -> None:
    """Raises BenchError, naming the bundle, unless every one of ``bundles`` takes pictures of this size."""
    height, width = pictures.pixels.shape[1:3]
    for bundle in bundles:
        if bundle.image not in (ANY_SIZE, (width, height)):
            raise BenchError(
                f"bundle {bundle.name} takes {bundle.image[0]}x{bundle.image[1]} pixels, the images are "
                f"{width}x{height}; bundles of different sizes need runs of their own"
            )
