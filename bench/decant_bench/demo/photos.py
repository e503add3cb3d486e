"""The photographs of a demo: those that the codec is trained on, and those held out for measuring."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from decant_bench.common.pictures import Picture, PictureSet, read_pictures, wheel_pictures
from decant_bench.errors import BenchError

HELD = 3  # pictures that are not trained on, but measured and shown
WHEELS_HELD = ("coffee.png", "astronaut.png", "china.jpg")  # indoors, a person, architecture
SIDE = 384  # pixels of the squares whose load and cold start are timed
_LONGEST = 768  # pixels: held-out pictures are reduced to this


@dataclass(frozen=True)
class Photos:
    """``training``: a folder of pictures; ``held``: whole pictures that are not in it."""

    training: Path
    held: PictureSet


def split(images: Path | None, folder: Path) -> Photos:
    """Write the training pictures into ``folder`` and give the held-out ones.

    ``images``: a folder of at least ``HELD`` + 1 pictures, of which ``HELD`` spread evenly are held out;
    None: the photos in the wheels of scikit-image and scikit-learn, of which ``WHEELS_HELD`` are. Raises
    ImageError for a folder without pictures or with one that cannot be read, BenchError for too few.
    """
    found = wheel_pictures() if images is None else read_pictures(images)
    if len(found) <= HELD:
        raise BenchError(f"{images}: {len(found)} pictures; {HELD + 1} or more expected")
    if images is None:
        chosen = [found.named(name) for name in WHEELS_HELD]
    else:
        chosen = [found.pictures[index * len(found) // HELD] for index in range(HELD)]
    names = {picture.name for picture in chosen}
    for number, picture in enumerate(found.pictures):
        if picture.name not in names:
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.pixels).save(folder / f"{number:04}.png", compress_level=1)
    return Photos(folder, PictureSet(tuple(_reduced(picture) for picture in chosen), found.source))


def squares(pictures: PictureSet) -> PictureSet:
    """The middle square of each picture at ``SIDE`` pixels."""
    from decant_train.data.folders import fit_square

    cut = [fit_square(Image.fromarray(picture.pixels), SIDE, "crop") for picture in pictures.pictures]
    return PictureSet.of(pictures.names, cut, pictures.source)


def _reduced(picture: Picture) -> Picture:
    import numpy as np

    height, width = picture.pixels.shape[:2]
    if max(height, width) <= _LONGEST:
        return picture
    scale = _LONGEST / max(height, width)
    size = (round(width * scale), round(height * scale))
    image = Image.fromarray(picture.pixels).resize(size, Image.Resampling.LANCZOS)
    return Picture(picture.name, np.asarray(image))
