"""Colours of pixels with alpha 0: before encoding, they are replaced by a smooth continuation of visible
ones.

These pixels are invisible. Whatever an editor left there would cost bits, and quality at the edge of the
visible part. They are filled by push-pull (Gortler, Grzeszczuk, Szeliski and Cohen, "The Lumigraph", 1996):
means of the visible pixels on ever coarser grids are interpolated back into the gaps.
"""

from dataclasses import replace

import numpy as np

from decant.formats.input_images import Picture

# Rows of the picture that are filled at once: an even number, for memory.
_STRIP = 256


def filled(picture: Picture) -> Picture:
    """``picture`` with new colours where its alpha is 0: a smooth continuation of those around. Visible
    pixels and alpha do not change. A picture without hidden pixels is returned unchanged.
    """
    if picture.alpha is None or picture.alpha.all():
        return picture
    visible = picture.alpha != 0
    channels = picture.pixels[:, :, None] if picture.grey else picture.pixels
    if not visible.any():
        return replace(picture, pixels=np.zeros_like(picture.pixels))
    coarse = _completed(*_halved(channels, visible))
    pixels = channels.copy()
    for top in range(0, picture.height, _STRIP):
        rows = slice(top, min(top + _STRIP, picture.height))
        gaps = ~visible[rows]
        if gaps.any():
            first = max(0, top // 2 - 1)
            part = coarse[first : rows.stop // 2 + 2]
            fill = _doubled(part, 2 * len(part), picture.width)[top - 2 * first :][: len(gaps)]
            pixels[rows][gaps] = np.rint(fill[gaps])
    return replace(picture, pixels=pixels[:, :, 0] if picture.grey else pixels)


def _completed(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """``values`` float32 (rows, columns, n) with those that are not ``known`` interpolated."""
    if known.all():
        return values
    coarse = _completed(*_halved(values, known))
    return np.where(known[:, :, None], values, _doubled(coarse, *known.shape))


def _halved(values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of the ``known`` of each two by two values, float32, and where there are any."""
    rows, columns = -(-known.shape[0] // 2), -(-known.shape[1] // 2)
    sums = np.zeros((rows, columns, values.shape[2]), np.float32)
    counts = np.zeros((rows, columns), np.float32)
    for y in (0, 1):
        for x in (0, 1):
            part = known[y::2, x::2]
            inside = (slice(part.shape[0]), slice(part.shape[1]))
            sums[inside] += values[y::2, x::2] * part[:, :, None]
            counts[inside] += part
    sums /= np.maximum(counts, 1)[:, :, None]
    return sums, counts > 0


def _doubled(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """``values`` (., ., n) bilinearly interpolated to twice the size, cut to ``rows`` and ``columns``."""
    for axis, size in ((0, rows), (1, columns)):
        values = np.moveaxis(values, axis, 0)
        padded = np.concatenate([values[:1], values, values[-1:]])
        fine = np.empty((2 * len(values), *values.shape[1:]), np.float32)
        inner = 0.75 * values
        fine[0::2] = inner + 0.25 * padded[:-2]
        fine[1::2] = inner + 0.25 * padded[2:]
        values = np.moveaxis(fine[:size], 0, axis)
    return values
