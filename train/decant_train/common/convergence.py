"""The published convergence test of the set autoencoder."""

from collections.abc import Sequence

import numpy as np

WINDOW = 100
SLOPE = 1e-6
SSIM_CHANGE = 1e-3


def converged(losses: Sequence[float], ssim: float, previous_ssim: float | None) -> bool:
    """Whether training may stop; asked every WINDOW epochs.

    ``losses`` are the mean losses of all epochs so far, one a number. True when the least-squares line
    through the last WINDOW of them has a slope below SLOPE in size and SSIM moved by less than SSIM_CHANGE
    since the checkpoint before.
    """
    if len(losses) < WINDOW or previous_ssim is None:
        return False
    slope = np.polynomial.polynomial.polyfit(np.arange(WINDOW), np.asarray(losses[-WINDOW:]), 1)[1]
    return bool(abs(slope) < SLOPE and abs(ssim - previous_ssim) < SSIM_CHANGE)
