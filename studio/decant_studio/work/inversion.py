"""Latents of a picture for a bundle that only decodes: searched through the decoder.

Levenberg (1944) and Marquardt (1963) for the squared error of a reduced picture, with derivatives from finite
differences, so that any graph will do. A set decoder of 16 latents finds the vectors of its own set again.
"""

from collections.abc import Callable

import numpy as np

from decant_studio.errors import Refused

MOST_LATENTS = 64
_ROUNDS = 24
_SIDE = 64  # the error is that of a picture reduced to at most this side
_STEP = 0.05  # of a finite difference, in standard deviations of the starts
_SMALLEST_GAIN = 1e-4  # of the error, below which a round counts as failed
_LARGEST_DAMPING = 1e5

# Latents float32 (n, dim) -> pixels uint8 (n, H, W, 3).
Decode = Callable[[np.ndarray], np.ndarray]


def latents_of(
    picture: np.ndarray, decode: Decode, starts: np.ndarray, report: Callable[[float], None]
) -> np.ndarray:
    """float32 (dim,): the latents whose picture comes nearest to ``picture`` uint8 (H, W, 3).

    The search begins at the best of ``starts`` float32 (n, dim). ``report`` is told how much is done, 0..1.
    Raises Refused for too many latents.
    """
    count = starts.shape[1]
    if count > MOST_LATENTS:
        raise Refused(400, f"This model only decodes, and {count} latents are too many to search for.")
    target = _reduced(picture[None])[0]
    scale = np.maximum(starts.std(axis=0), 1e-3) if len(starts) > 1 else np.ones(count, np.float32)

    def pictures(latents: np.ndarray) -> np.ndarray:
        return _reduced(decode(latents.astype(np.float32)))

    first = pictures(starts)
    best = int(np.argmin(np.square(first - target).mean(axis=1)))
    latents: np.ndarray = starts[best].astype(np.float32)
    shown = first[best]
    error, damping = float(np.square(shown - target).mean()), 1.0
    for index in range(_ROUNDS):
        report(index / _ROUNDS)
        slopes = (pictures(latents + np.diag(_STEP * scale)) - shown) / _STEP  # (dim, values)
        curvature, downhill = slopes @ slopes.T, slopes @ (target - shown)
        tried = damping * np.array([1 / 8, 1.0, 8.0])
        moves = [np.linalg.solve(_damped(curvature, one), downhill) for one in tried]
        candidates = (latents + scale * np.stack(moves)).astype(np.float32)
        found = pictures(candidates)
        errors = np.square(found - target).mean(axis=1)
        chosen = int(np.argmin(errors))
        if errors[chosen] < error * (1 - _SMALLEST_GAIN):
            latents, shown, error = candidates[chosen], found[chosen], float(errors[chosen])
            damping = max(float(tried[chosen]), 1e-4)
            continue
        damping *= 16
        if damping > _LARGEST_DAMPING:
            break
    return latents


def _damped(curvature: np.ndarray, damping: float) -> np.ndarray:
    matrix: np.ndarray = curvature + np.diag(damping * np.diag(curvature) + 1e-3)
    return matrix


def _reduced(pictures: np.ndarray) -> np.ndarray:
    """uint8 (n, H, W, 3) -> float32 (n, values): means of squares of pixels, where the picture is large."""
    n, height, width, _ = pictures.shape
    square = max(1, min(height, width) // _SIDE)
    cut = pictures[:, : height // square * square, : width // square * square]
    blocks = cut.reshape(n, height // square, square, width // square, square, 3)
    values: np.ndarray = blocks.mean(axis=(2, 4), dtype=np.float32).reshape(n, -1)
    return values
