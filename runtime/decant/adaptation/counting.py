"""What the files of an archive hold: how often each symbol comes at each scale-index logit.

Scale indices are floor(logit + offset of the channel), clipped to 0..31. Offsets are stored in quarters, and
contexts depend on symbols alone, so that counts by quarter give the bits of every offset at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from decant.codec.layout import GridLayout, Quality
from decant.formats import container

QUARTER = 256  # of a scale index, in the units of ``Quality.scale_offset``
LARGEST_SHIFT = 12  # quarters that an offset can move either way
LARGEST_SIZE = 127  # larger symbols count as this one
QUARTERS = 4 * 32 + 2 * LARGEST_SHIFT  # rows of counts: logits from -LARGEST_SHIFT quarters on


@dataclass(frozen=True)
class Counts:
    """``latents`` int64 (M, QUARTERS, LARGEST_SIZE + 1): how often each size of a symbol came in each channel
    at each logit, in quarters from -LARGEST_SHIFT on. ``hyper`` int64 (hyper, LARGEST_SIZE + 1): sizes of the
    hyperlatents; ``hyper_at`` int64 (hyper, 32): their scale indices.
    """

    latents: np.ndarray
    hyper: np.ndarray
    hyper_at: np.ndarray


def counted(layout: GridLayout, files: Iterable[bytes], reference: GridLayout | None = None) -> Counts:
    """Count the symbols of ``files`` of ``layout``, at the logits and scale indices that ``reference`` gives
    them: a layout that differs in offsets and probability tables alone, ``layout`` itself where None. Raises
    FormatError.
    """
    reference = reference or layout
    latents = np.zeros((layout.channels, QUARTERS, LARGEST_SIZE + 1), np.int64)
    hyper = np.zeros((layout.hyper, LARGEST_SIZE + 1), np.int64)
    hyper_at = np.zeros((layout.hyper, 32), np.int64)
    channels = np.arange(layout.channels)[:, None]
    for data in files:
        file = container.parse(data)
        row, shape = layout.quality(file.quality), layout.grid(file.width, file.height)
        counted_row = reference.quality(file.quality)
        payload = layout.parse(file.latents, file.width, file.height, file.name)
        z = layout.decode_hyper(payload, shape, row, file.name)
        np.add.at(hyper, (np.arange(layout.hyper)[:, None, None], sizes_of(z)), 1)
        hyper_at[np.arange(layout.hyper), counted_row.hyper_scale_index] += z[0].size
        v = row.scaled(z)
        for index, tile in enumerate(shape.tiles):
            symbols = layout.decode_tile(payload, index, v, shape, row, file.name)[0].astype(np.int32)
            at = quarters_of(reference, v, counted_row, tile, symbols) + LARGEST_SHIFT
            flat = (channels * QUARTERS + at.reshape(layout.channels, -1)) * (LARGEST_SIZE + 1)
            flat += sizes_of(symbols).reshape(layout.channels, -1)
            latents += np.bincount(flat.ravel(), minlength=latents.size).reshape(latents.shape)
    return Counts(latents, hyper, hyper_at)


def sizes_of(symbols: np.ndarray) -> np.ndarray:
    """|symbols|, at most LARGEST_SIZE."""
    sizes: np.ndarray = np.minimum(np.abs(symbols), LARGEST_SIZE)
    return sizes


def quarters_of(
    layout: GridLayout, v: np.ndarray, row: Quality, tile: tuple[int, int, int, int], symbols: np.ndarray
) -> np.ndarray:
    """int64 (M, rows, columns): floor(4 x logit) of the scale indices of a tile with these ``symbols``,
    clipped to -LARGEST_SHIFT..QUARTERS - LARGEST_SHIFT - 1.

    floor(x) is the sum of floor((x + i) / 4) over i in 0..3 (Hermite's identity), so that four scale
    indices with offsets a quarter apart give it.
    """

    def at(shift: int) -> np.ndarray:
        rows = [replace(row, scale_offset=row.scale_offset + QUARTER * i) for i in range(shift, shift + 4)]
        found = [scale_indices_of(layout, v, moved, tile, symbols) for moved in rows]
        total: np.ndarray = np.sum(found, axis=0) - shift
        return total

    # Scale indices are clipped at both ends: each of the three is exact where the others may not be.
    middle, low, high = at(0), at(LARGEST_SHIFT), at(-LARGEST_SHIFT)
    ends = 2 * LARGEST_SHIFT, 4 * 31 - 2 * LARGEST_SHIFT
    quarters: np.ndarray = np.where(middle < ends[0], low, np.where(middle > ends[1], high, middle))
    return quarters


def scale_indices_of(
    layout: GridLayout, v: np.ndarray, row: Quality, tile: tuple[int, int, int, int], symbols: np.ndarray
) -> np.ndarray:
    """int64 (M, rows, columns): the scale indices of a tile with these ``symbols``."""

    def known(channels: slice, scale_indices: np.ndarray) -> np.ndarray:
        return symbols[channels]

    return layout.choose_symbols(v, row, tile, known)[1].astype(np.int64)
