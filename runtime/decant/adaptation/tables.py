"""Tables fitted to the symbols of an archive: one offset for each channel, scale indices of hyperlatents, and
the 32 probability tables.

Offsets and tables decide each other: each is fitted to the other in turn. Everything is integer counts, so
that the same files give the same tables on every machine.
"""

from collections.abc import Mapping

import numpy as np

from decant.adaptation.counting import LARGEST_SHIFT, LARGEST_SIZE, Counts
from decant.codec.entropy.fitting import MOST_RADIUS, distributions_of, refitted
from decant.codec.entropy.rans import SCALES, EntropyTables

ROUNDS = 4
PRIOR = 200.0  # symbols of each scale index that the bundle's own table counts for
LOST_BITS = 20.0  # cost of a symbol at index 0, which cannot be coded
# Bits that a new number of a table, of an offset or of a scale index costs the archive, about.
COUNT_BITS, ROW_BITS = 20.0, 24.0


def fitted(tables: Mapping[str, np.ndarray], counts: Counts, share: float = 1.0) -> dict[str, np.ndarray]:
    """``tables`` of a bundle of the codec with those of the entropy model fitted to ``counts``.

    ``share``: how much of the archive was counted. A table or offset changes only where that saves the
    archive more bits than the change costs it.
    """
    entropy = EntropyTables.from_tensors(tables)
    own = distributions_of(entropy)
    lengths = np.array([len(a) + len(b) for a, b in zip(entropy.counts, entropy.run_counts, strict=True)])
    distributions, shifts = own, np.zeros(len(counts.latents), np.int64)
    hyper_indices = np.argmax(counts.hyper_at, axis=1)
    for _ in range(ROUNDS):
        bits = _size_bits(distributions)
        shifts = _cheapest_shifts(counts.latents, bits, share * ROW_BITS)
        hyper_indices = _cheapest_indices(counts, bits, share * ROW_BITS)
        sizes = _sizes(counts, shifts, hyper_indices)
        even = np.concatenate([sizes[:, :0:-1] / 2, sizes[:, :1], sizes[:, 1:] / 2], axis=1)
        distributions = (even + PRIOR * own) / (even.sum(axis=1, keepdims=True) + PRIOR)
        saved = ((_size_bits(own) - _size_bits(distributions)) * sizes).sum(axis=1)
        changed = saved > share * COUNT_BITS * lengths
        distributions = np.where(changed[:, None], distributions, own)
    moved_offsets = tables["quality.class_offset"].astype(np.int64) + shifts
    moved_hyper = tables["quality.hyper_class"].astype(np.int64)
    moved_hyper += hyper_indices - np.argmax(counts.hyper_at, axis=1)
    return dict(tables) | {
        "quality.class_offset": np.clip(moved_offsets, 0, 255).astype(np.uint8),
        "quality.hyper_class": np.clip(moved_hyper, 1, SCALES - 1).astype(np.uint8),
        **refitted(entropy, distributions, changed),
    }


def _size_bits(distributions: np.ndarray) -> np.ndarray:
    """float64 (32, LARGEST_SIZE + 1): bits of a symbol of each size, its sign included."""
    positive = distributions[:, MOST_RADIUS : MOST_RADIUS + LARGEST_SIZE + 1]
    negative = distributions[:, MOST_RADIUS - LARGEST_SIZE : MOST_RADIUS + 1][:, ::-1]
    bits: np.ndarray = -np.log2(np.maximum((positive + negative) / 2, 1e-12))
    bits[0, 0], bits[0, 1:] = 0, LOST_BITS
    return bits


def _indices(rows: int, shift: int) -> np.ndarray:
    """The scale index of each row of counts where an offset moves by ``shift`` quarters."""
    found: np.ndarray = np.clip((np.arange(rows) - LARGEST_SHIFT + shift) // 4, 0, SCALES - 1)
    return found


def _cheapest_shifts(counts: np.ndarray, bits: np.ndarray, least: float) -> np.ndarray:
    """int64 (M,): for each channel of counts (M, rows, sizes) the shift of least bits, or 0 where it saves
    less than ``least`` bits.
    """
    tried = np.array(sorted(range(-LARGEST_SHIFT, LARGEST_SHIFT + 1), key=abs))
    costs = np.array([np.tensordot(counts, bits[_indices(counts.shape[1], shift)], 2) for shift in tried])
    return np.where(costs[0] - costs.min(axis=0) > least, tried[np.argmin(costs, axis=0)], 0)


def _cheapest_indices(counts: Counts, bits: np.ndarray, least: float) -> np.ndarray:
    """int64 (hyper,): the scale index of least bits for each hyperlatent, or its own where that saves less
    than ``least`` bits.
    """
    costs, own = counts.hyper @ bits.T, np.argmax(counts.hyper_at, axis=1)
    costs[:, 0] = np.inf
    saved = np.take_along_axis(costs, own[:, None], 1)[:, 0] - costs.min(axis=1)
    cheapest: np.ndarray = np.where(saved > least, np.argmin(costs, axis=1), own)
    return cheapest


def _sizes(counts: Counts, shifts: np.ndarray, hyper_indices: np.ndarray) -> np.ndarray:
    """float64 (32, LARGEST_SIZE + 1): how often each size of a symbol comes at each scale index."""
    sizes = np.zeros((SCALES, LARGEST_SIZE + 1))
    for shift in np.unique(shifts):
        rows = counts.latents[shifts == shift].sum(axis=0)
        np.add.at(sizes, _indices(len(rows), int(shift)), rows)
    np.add.at(sizes, hyper_indices, counts.hyper)
    return sizes
