"""Real photographs that come inside the wheels of scikit-image and scikit-learn, cut into squares.

They may be used and passed on (their licences are in scikit-image's ``data/README.txt`` and scikit-learn's
``datasets/images/README.txt``), so the demo, the tests and the bundle ``small`` are made from them.
"""

from importlib import resources

import numpy as np
import numpy.typing as npt
from PIL import Image

PHOTOS = (
    ("skimage.data", "astronaut.png"),
    ("skimage.data", "chelsea.png"),
    ("skimage.data", "coffee.png"),
    ("skimage.data", "rocket.jpg"),
    ("skimage.data", "motorcycle_left.png"),
    ("skimage.data", "hubble_deep_field.jpg"),
    ("skimage.data", "ihc.png"),
    ("skimage.data", "retina.jpg"),
    ("sklearn.datasets.images", "china.jpg"),
    ("sklearn.datasets.images", "flower.jpg"),
)
SCALES = (1.0, 0.8, 0.64, 0.5)
MOST_PER_GRID = 8

Pixels = npt.NDArray[np.uint8]


def photo(package: str, name: str) -> Image.Image:
    """One photograph, RGB."""
    with resources.files(package).joinpath(name).open("rb") as file:
        return Image.open(file).convert("RGB")


def crops(count: int, size: int = 256) -> Pixels:
    """``count`` squares of real photographs, uint8 (count, size, size, 3), always the same ones in the same
    order.

    First the whole centre square of every photograph, resized; then crops at full resolution on an even grid,
    and then at smaller scales.
    The photographs take turns. Raises ValueError when they do not hold ``count`` squares.
    """
    photos = [photo(*origin) for origin in PHOTOS]
    taken: list[Pixels] = [_centre(image, size) for image in photos]
    for scale in SCALES:
        grids = [_grid(image, size, scale) for image in photos]
        while any(grids) and len(taken) < count:
            taken.extend(grid.pop(0) for grid in grids if grid)
    if len(taken) < count:
        raise ValueError(f"the sample photos give {len(taken)} squares of {size} pixels; {count} expected")
    return np.stack(taken[:count])


def _centre(image: Image.Image, size: int) -> Pixels:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))


def _grid(image: Image.Image, size: int, scale: float) -> list[Pixels]:
    """Crops of ``image`` at ``scale``, overlapping by about a quarter; at most MOST_PER_GRID, spread over the
    picture.
    """
    width, height = round(image.width * scale), round(image.height * scale)
    if min(width, height) < size:
        return []
    pixels = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS) if scale < 1 else image)
    lefts, tops = _offsets(width, size), _offsets(height, size)
    corners = [(top, left) for top in tops for left in lefts]
    if len(corners) > MOST_PER_GRID:
        corners = [corners[i * len(corners) // MOST_PER_GRID] for i in range(MOST_PER_GRID)]
    return [pixels[top : top + size, left : left + size] for top, left in corners]


def _offsets(length: int, size: int) -> list[int]:
    steps = 1 + round((length - size) / (0.75 * size))
    return [round(i * (length - size) / max(steps - 1, 1)) for i in range(steps)]
