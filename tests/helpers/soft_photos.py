"""A photo for tests of codecs with few channels."""

from functools import cache

import numpy as np
import skimage.data
from PIL import Image, ImageFilter


@cache
def photo(width: int = 300, height: int = 200) -> np.ndarray:
    """A real photo at this size, uint8 (height, width, 3), so soft that few channels hold most of it; not to
    be changed.
    """
    image = Image.fromarray(skimage.data.coffee()).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(4)))
