"""The distortion that the encoder minimizes, and the targets of pixels that clip.

The distortion is the squared error of pixels, with two exceptions. Pixels that alpha hides do not count.
Pixels at the border have a higher weight: the decoder's layers see only one side of them, and with equal
weights their squared error is a quarter above that of other pixels.

In areas of pure black or white, the target lies beyond the range of 8 bits (``beyond``). A decoder clips its
pixels to that range, so small errors on both sides of the target give pure black or white.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from decant.codec.decoder import grey_of
from decant.codec.layout import LATENT_PIXELS
from decant.errors import ImageError
from decant.formats.input_images import Picture
from decant.formats.rectangles import Rectangle

# The weight of squared errors in the outermost rows and columns. Refinement takes steps of up to 1.5 times
# the inverse curvature: with weights of 3 they overshoot, and the border becomes worse.
BORDER_WEIGHT = 1.6
# Distance of the target beyond 0 and 255, in flat areas of these values. 10 is enough for most models. Those
# trained for MS-SSIM, which is almost insensitive to levels, need 13.
BEYOND = 13
# Least share of a picture's pixels in such areas; below it they are ignored.
LEAST_FLAT = 1 / 1024

# Rows and columns of a picture.
_Part = tuple[slice, slice]


class ErrorMeasure:
    """The distortion of decoded versions of ``picture``."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._hidden: np.ndarray | None = None  # bool (H, W)
        if picture.alpha is not None and not picture.alpha.all():
            self._hidden = np.equal(picture.alpha, 0)
        self._border = list(_border(picture.height, picture.width))

    def lacking_in(self, shown: np.ndarray, outer: Rectangle) -> np.ndarray:
        """float32 (rows, columns, 3) in 0..1: what ``shown`` lacks of the picture, times the weights of
        pixels; 0 beyond the picture. ``shown``: uint8 (rows, columns, 3) of ``outer``, decoded.
        """
        part = _part(outer)
        lacking = self._lacking_of(shown, part)
        self._weigh(lacking, part)
        return self._filled(lacking, outer)

    def errors_in(self, shown: np.ndarray, outer: Rectangle) -> tuple[np.ndarray, np.ndarray]:
        """What ``lacking_in`` gives, and float64 (h, w): squared errors in 0..255 times their weights, summed
        over the three channels of the pixels that each latent stands for.
        """
        part, size = _part(outer), LATENT_PIXELS
        lacking = self._lacking_of(shown, part)
        squared = np.square(lacking)
        self._weigh(squared, part)
        self._weigh(lacking, part)
        rows, columns = lacking.shape[:2]
        sums = np.empty((-(-rows // size), -(-columns // size)))
        starts = np.arange(0, columns, size) * (lacking.size // (rows * columns))
        for i in range(len(sums)):
            line = squared[size * i : size * (i + 1)].reshape(-1, squared[0].size).sum(0)
            np.add.reduceat(line, starts, dtype=np.float64, out=sums[i])
        return self._filled(lacking, outer), 3 * sums if self._picture.grey else sums

    def _lacking_of(self, shown: np.ndarray, part: _Part) -> np.ndarray:
        """As ``_lacking``, of ``shown`` that may reach beyond the picture and has three channels."""
        rows, columns = self._picture.pixels[part].shape[:2]
        shown = shown[:rows, :columns]
        return self._lacking(grey_of(shown) if self._picture.grey else shown, part)

    def _filled(self, lacking: np.ndarray, outer: Rectangle) -> np.ndarray:
        """Weighed errors in 0..255 -> float32 (rows, columns, 3) of ``outer`` in 0..1."""
        lacking /= 255
        if self._picture.grey:
            lacking = np.repeat(lacking[:, :, None], 3, axis=2)
        rows, columns = lacking.shape[:2]
        if (rows, columns) == (outer.height, outer.width):
            return lacking
        padded: np.ndarray = np.pad(lacking, [(0, outer.height - rows), (0, outer.width - columns), (0, 0)])
        return padded

    def psnr_db(self, decoded: Picture) -> float:
        """PSNR in dB of the visible pixels, with equal weights; infinite if all are equal or none is
        visible.
        """
        total, rows = 0.0, 256
        for top in range(0, self._picture.height, rows):
            part = (slice(top, top + rows), slice(None))
            errors = self._lacking(decoded.pixels[part], part)
            total += float(np.square(errors, out=errors).sum(dtype=np.float64))
        count = decoded.pixels.size
        if self._hidden is not None:
            count = count // self._hidden.size * int(np.count_nonzero(~self._hidden))
        return float(10 * np.log10(255**2 * count / total)) if total else float("inf")

    def ssimulacra2(self, decoded: Picture, source: str) -> float:
        """SSIMULACRA2 of ``decoded``. Pixels that alpha hides count as equal. Raises ImageError for pictures
        that are too small.
        """
        from decant.ssimulacra2 import SMALLEST, ssimulacra2

        height, width = self._picture.height, self._picture.width
        if min(height, width) < SMALLEST:
            raise ImageError(
                f"{source}: {width}x{height} pixels; SSIMULACRA2 needs {SMALLEST} a side; give quality or "
                "target_psnr"
            )
        original, shown = self._picture.pixels, decoded.pixels
        if self._hidden is not None:
            shown = shown.copy()
            shown[self._hidden] = original[self._hidden]
        if self._picture.grey:
            original, shown = (np.repeat(pixels[:, :, None], 3, 2) for pixels in (original, shown))
        return ssimulacra2(original, shown)

    def _lacking(self, shown: np.ndarray, part: _Part) -> np.ndarray:
        """float32 (rows, columns[, 3]) in 0..255: a ``part`` of the picture minus ``shown``, 0 where alpha
        hides it.
        """
        lacking: np.ndarray = np.subtract(self._picture.pixels[part], shown, dtype=np.float32)
        if self._hidden is not None:
            lacking[self._hidden[part]] = 0
        return lacking

    def _weigh(self, values: np.ndarray, part: _Part) -> None:
        """Multiply the ``values`` of a ``part`` of the picture by their weights."""
        for rows, columns in self._border:
            values[_cut(rows, part[0]), _cut(columns, part[1])] *= BORDER_WEIGHT


def beyond(picture: Picture) -> Picture | None:
    """``picture`` with flat areas of 0 or 255 moved inwards by ``BEYOND``; None if there are almost none.

    If y are the latents of the picture and b those of this one, then 2 y - b aims beyond the range of 8 bits.
    """
    areas = [(value, _flat(picture, value)) for value in (0, 255)]
    if all(area is None for _, area in areas):
        return None
    pixels = picture.pixels.copy()
    for value, area in areas:
        if area is not None:
            pixels[area] = abs(value - BEYOND)
    return replace(picture, pixels=pixels)


def padded(picture: Picture, outer: Rectangle) -> np.ndarray:
    """uint8 (rows, columns, 3) of ``outer``. Beyond the picture, its last row and column are repeated."""
    pixels = picture.pixels[outer.y0 : outer.y1, outer.x0 : outer.x1]
    margins = [(0, outer.height - pixels.shape[0]), (0, outer.width - pixels.shape[1]), (0, 0)]
    filled: np.ndarray = np.pad(pixels, margins[: pixels.ndim], mode="edge")
    return np.repeat(filled[:, :, None], 3, axis=2) if picture.grey else np.ascontiguousarray(filled)


def with_neighbours(values: np.ndarray) -> np.ndarray:
    """Values (h, w) -> sums over 3 x 3 neighbourhoods, of the same shape."""
    near = np.lib.stride_tricks.sliding_window_view(np.pad(values, 1), (3, 3))
    sums: np.ndarray = near.sum((2, 3))
    return sums


def _flat(picture: Picture, value: int) -> np.ndarray | None:
    """bool (H, W): pixels that have ``value`` in all channels, and whose eight neighbours have it too. None
    if they are too few.
    """
    equal = picture.pixels == value
    mask = equal if picture.grey else equal.all(2)
    if mask.mean() < LEAST_FLAT:
        return None
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        near = mask.copy()
        near[one] &= mask[other]
        near[other] &= mask[one]
        mask = near
    return mask if mask.mean() >= LEAST_FLAT else None


def _border(height: int, width: int) -> Iterator[_Part]:
    """The outermost rows and columns in up to four parts, each pixel once."""
    yield slice(0, 1), slice(0, width)
    if height > 1:
        yield slice(height - 1, height), slice(0, width)
    if height > 2:
        yield slice(1, height - 1), slice(0, 1)
        if width > 1:
            yield slice(1, height - 1), slice(width - 1, width)


def _part(outer: Rectangle) -> _Part:
    return slice(outer.y0, outer.y1), slice(outer.x0, outer.x1)


def _cut(line: slice, part: slice) -> slice:
    """``line`` as counted from the start of ``part``; empty where they do not meet."""
    first = part.start or 0
    last = line.stop if part.stop is None else min(line.stop, part.stop)
    return slice(max(line.start - first, 0), max(last - first, 0))
