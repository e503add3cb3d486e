"""Which windows an int8 synthesis hands to its float branch: limits of the mixed latents, chosen by loss.

A window whose latents stay within their ranges can still saturate layers behind them: saturated squares and
edges did, by up to 13 dB. So limits are chosen on pictures on which int8 was measured: for each that loses,
the limit that fewest photographs reach is lowered until the picture is beyond it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from decant_export.families.codec.channel_copies import Copies

MARGIN = 0.07  # part of a mixed latent's magnitude by which its limit lies below it
LEAST = 0.2  # lowest limit: mixed latents are stored in the range -1 to 1
MOST = 0.05  # part of the photographs that one limit may send to the float branch


@dataclass(frozen=True)
class Limits:
    """The mixed latents, ``upper`` and ``lower`` float32 (M,), that are still decoded in int8; both count
    from 0 outwards.
    """

    upper: np.ndarray
    lower: np.ndarray

    @classmethod
    def of(cls, both: np.ndarray) -> Limits:
        """Of one array (2 M,), as ``reached`` gives them."""
        upper, lower = np.split(both.astype(np.float32), 2)
        return cls(upper, lower)

    @property
    def both(self) -> np.ndarray:
        """float32 (2 M,): upper, then lower."""
        return np.concatenate([self.upper, self.lower])

    def beyond(self, reached: np.ndarray) -> np.ndarray:
        """bool (n,): which windows the float branch decodes."""
        return np.asarray((reached > self.both).any(1))


def reached(copies: Copies, latents: Sequence[np.ndarray]) -> np.ndarray:
    """float32 (n, 2 M): the largest of each mixed latent of a window and minus the smallest, for latents
    float32 (1, M, h, w) each that are stored as ``copies`` says.
    """
    m = len(copies.factor)
    matrix, shift = copies.matrix()[:m].astype(np.float32), copies.shift[:m, None]
    rows = []
    for y in latents:
        mixed = matrix @ y[0].reshape(m, -1) + shift
        rows.append(np.concatenate([mixed.max(1), -mixed.min(1)]))
    return np.array(rows)


def lowered(start: Limits, wrong: np.ndarray, photos: np.ndarray, refused: int = 0) -> Limits:
    """``start`` lowered until every window of ``wrong`` (n, 2 M) is beyond it, so that few of ``photos``
    (k, 2 M) are: as ``reached`` gives them, those that lose most first. A window that only limits with more
    than MOST of the photographs would catch stays in int8, but for the first ``refused``: with these the
    graph would not pass the gate.
    """
    limits, sent = start.both, start.beyond(photos)
    for i, window in enumerate(wrong):
        if (window > limits).any():
            continue
        lower = window * (1 - MARGIN)
        more = ((photos > lower) & ~sent[:, None]).sum(0)
        # Among limits that as many photographs reach, the one that lies furthest above them.
        cost = more + 1e-3 * photos.max(0) / np.maximum(lower, 1e-3)
        cost[(lower < LEAST) | (more > (1.0 if i < refused else MOST) * len(photos))] = np.inf
        channel = int(np.argmin(cost))
        if np.isfinite(cost[channel]):
            limits[channel] = lower[channel]
            sent = np.asarray((photos > limits).any(1))
    return Limits.of(limits)
