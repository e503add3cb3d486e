"""Probability tables from distributions of symbols: the tensors ``entropy.*`` of a bundle."""

from collections.abc import Sequence

import numpy as np

from decant.codec.entropy.counts import integer_counts, recommended_runs, run_counts_of
from decant.codec.entropy.rans import SCALES, EntropyTables

MOST_RADIUS = 127  # largest symbol that a table can hold without bypass bits
ESCAPED = 1e-4  # approximate share of the symbols of a scale index that need bypass bits
_LEAST_ESCAPED = 1e-7


def tensors_of(distributions: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """The probabilities of symbols -MOST_RADIUS..MOST_RADIUS, one row per scale index -> tensors
    ``entropy.*``. Scale index 0 is not coded, so its row is ignored.
    """
    radius, runs = np.zeros(SCALES, np.uint8), np.zeros(SCALES, np.uint16)
    counts, run_counts = [], [np.zeros(0, np.uint32)]
    for c in range(1, SCALES):
        p = distributions[c]
        zero = float(p[MOST_RADIUS])
        runs[c] = recommended_runs(zero)
        if runs[c]:  # only symbols that are not 0 are coded
            run_counts.append(run_counts_of(zero, int(runs[c])))
            p = p / (1 - zero)
            p[MOST_RADIUS] = 0
        tails = np.array([1 - p[MOST_RADIUS - r : MOST_RADIUS + r + 1].sum() for r in range(MOST_RADIUS + 1)])
        r = int(np.argmax(tails < ESCAPED)) if (tails < ESCAPED).any() else MOST_RADIUS
        r = max(r, 1)
        radius[c] = r
        counts.append(_symbol_counts(p, r, bool(runs[c])))
    return {
        "entropy.radius": radius,
        "entropy.runs": runs,
        "entropy.counts": np.concatenate(counts),
        "entropy.run_counts": np.concatenate(run_counts),
    }


def distributions_of(tables: EntropyTables) -> np.ndarray:
    """The probabilities of symbols -MOST_RADIUS..MOST_RADIUS by ``tables``: float64 (32, 255).
    In row 0, symbol 0 has probability 1.
    """
    bits = tables.cost_bits().astype(np.float64)
    radius = bits.shape[1] // 2
    if radius < MOST_RADIUS:
        wider = np.full((SCALES, 2 * MOST_RADIUS + 1), np.inf)
        wider[:, MOST_RADIUS - radius : MOST_RADIUS + radius + 1] = bits
        bits = wider
    p: np.ndarray = np.exp2(-bits[:, bits.shape[1] // 2 - MOST_RADIUS :][:, : 2 * MOST_RADIUS + 1])
    p /= p.sum(axis=1, keepdims=True)
    return p


def refitted(own: EntropyTables, distributions: np.ndarray, changed: np.ndarray) -> dict[str, np.ndarray]:
    """``own`` with new counts, as tensors ``entropy.*`` of the same shapes.

    Scale indices that are ``changed`` bool (32,) get counts from ``distributions`` float64
    (32, 2 * MOST_RADIUS + 1). The others keep theirs.
    """
    counts, run_counts = list(own.counts), list(own.run_counts)
    for c in np.flatnonzero(changed[1:]) + 1:
        p, r, run = distributions[c].copy(), int(own.radius[c]), int(own.runs[c])
        if r > MOST_RADIUS:
            continue
        if run:
            zero = float(p[MOST_RADIUS])
            run_counts[c] = run_counts_of(zero, run)
            p[MOST_RADIUS] = 0
            p /= max(1 - zero, _LEAST_ESCAPED)
        counts[c] = _symbol_counts(p, r, bool(run))
    return own.to_tensors() | {
        "entropy.counts": np.concatenate(counts),
        "entropy.run_counts": np.concatenate(run_counts),
    }


def _symbol_counts(p: np.ndarray, radius: int, runs: bool) -> np.ndarray:
    """uint32 counts of symbols -radius..radius and, last, of escapes, from the probabilities ``p``. With
    ``runs``, zeros are coded as runs, so symbol 0 has no count.
    """
    inside = p[MOST_RADIUS - radius : MOST_RADIUS + radius + 1]
    coded = np.delete(inside, radius) if runs else inside
    return integer_counts(np.append(coded, max(1 - inside.sum(), _LEAST_ESCAPED)))
