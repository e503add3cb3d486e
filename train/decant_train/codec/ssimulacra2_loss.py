"""SSIMULACRA2 (``decant.ssimulacra2``) with a gradient, to train for it.

Maps whose weights are below ``LEAST_WEIGHT`` are left out: at the full size X and B - Y, and the coarsest of
the six scales. Scores differ from the metric by less than 0.2 points for that.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from decant.ssimulacra2 import ABSORBANCE, BIAS, C2, SMALLEST, WEIGHTS, blur_taps
from torch import Tensor

LEAST_WEIGHT = 0.01  # of the greatest of a channel and scale: those below are not measured
LEAST_FOURTH_POWER = 1e-22  # mean of a map's fourth powers: the fourth root has no gradient at 0
LEAST_TOTAL = 1e-2  # sum of weighted terms, 0.5 points: the score has no finite slope at 0
LEAST_LIGHT = 1e-4  # of absorbed light, against the infinite slope of the cube root


def lost_points(decoded: Sequence[Tensor], original: Tensor) -> Tensor:
    """100 - SSIMULACRA2 (count, n) of several ``decoded`` (n, 3, H, W) to the ``original``: float32, sRGB in
    0..1, which ``decoded`` may leave. Raises ValueError for sides below ``decant.ssimulacra2.SMALLEST``.
    """
    if min(original.shape[2:]) < SMALLEST:
        raise ValueError(f"SSIMULACRA2 needs {SMALLEST} pixels a side, got {tuple(original.shape[2:])}")
    count = len(decoded)
    pair = [_linear(original), _linear(torch.cat(tuple(decoded)))]
    total = original.new_zeros(count * len(original))
    for scale in range(WEIGHTS.shape[1]):
        if scale:
            if min(pair[0].shape[2:]) < SMALLEST:
                break
            pair = [_halved(picture) for picture in pair]
        channels = [c for c in range(3) if WEIGHTS[c, scale].max() >= LEAST_WEIGHT]
        if not channels:
            continue
        weights = WEIGHTS[channels, scale]
        total = total + _weighted_terms(_xyb(pair[0], channels), _xyb(pair[1], channels), weights, count)
    value = 0.9562382616834844 * total.clamp_min(LEAST_TOTAL)
    value = 2.326765642916932 * value - 0.020884521182843837 * value**2 + 6.248496625763138e-05 * value**3
    lost: Tensor = 10 * value**0.6276336467831387
    return lost.reshape(count, -1)


def _weighted_terms(x: Tensor, y: Tensor, weights: np.ndarray, count: int) -> Tensor:
    """Sums (count * n,) of the weighted terms of one scale: ``x`` (n, c, h, w) of the original, ``y`` of
    ``count`` decoded pictures of it, ``weights`` (c, norms, maps).
    """
    mean_x, square_x = _blurred(x), _blurred(x * x)
    variance_x, edges_x = square_x - mean_x * mean_x, 1 / (1 + (x - mean_x).abs())
    x, mean_x, variance_x, edges_x = (one.repeat(count, 1, 1, 1) for one in (x, mean_x, variance_x, edges_x))
    mean_y = _blurred(y)
    numerator = 2 * (_blurred(x * y) - mean_x * mean_y) + float(C2)
    denominator = variance_x + (_blurred(y * y) - mean_y * mean_y) + float(C2)
    loss = (1 - (1 - (mean_x - mean_y).square()) * numerator / denominator).clamp_min(0)
    edges = (1 + (y - mean_y).abs()) * edges_x - 1
    total = x.new_zeros(len(x))
    for i, one in enumerate((loss, edges.clamp_min(0), (-edges).clamp_min(0))):
        of_mean, of_norm = (
            torch.tensor(weights[:, norm, i], dtype=torch.float32, device=x.device) for norm in (0, 1)
        )
        if weights[:, 0, i].max() >= LEAST_WEIGHT:
            total = total + one.mean((2, 3)) @ of_mean
        if weights[:, 1, i].max() >= LEAST_WEIGHT:
            norms = one.square().square().mean((2, 3)).clamp_min(LEAST_FOURTH_POWER) ** 0.25
            total = total + norms @ of_norm
    return total


def _linear(pictures: Tensor) -> Tensor:
    """sRGB -> linear light (IEC 61966-2-1)."""
    curved = ((pictures.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(pictures <= 0.04045, pictures / 12.92, curved)


def _xyb(linear: Tensor, channels: Sequence[int]) -> Tensor:
    """The ``channels`` of X, Y and B - Y of linear RGB (n, 3, h, w), scaled as the metric does."""
    rows = ABSORBANCE if 2 in channels else ABSORBANCE[:2]
    mixed = torch.einsum("ij,njhw->nihw", torch.from_numpy(rows).to(linear.device), linear) + float(BIAS)
    absorbed = mixed.clamp_min(LEAST_LIGHT) ** (1 / 3) - float(BIAS) ** (1 / 3)
    red, green = absorbed[:, 0], absorbed[:, 1]
    y = (red + green) / 2
    found = []
    for channel in channels:
        if channel == 0:
            found.append((red - green) * 7 + 0.42)
        elif channel == 1:
            found.append(y + 0.01)
        else:
            found.append(absorbed[:, 2] - y + 0.55)
    return torch.stack(found, 1)


def _halved(pictures: Tensor) -> Tensor:
    """Means of 2 x 2 pixels; the last row and column of odd sides count twice."""
    height, width = pictures.shape[2:]
    if height % 2 or width % 2:
        pictures = F.pad(pictures, (0, width % 2, 0, height % 2), mode="replicate")
    return F.avg_pool2d(pictures, 2)


def _blurred(planes: Tensor) -> Tensor:
    """Blur of (n, c, h, w); what lies outside counts as 0. Matrix products, as in ``distortion.ms_ssim``."""
    rows, columns = (_band(side, planes.device) for side in planes.shape[2:])
    return rows @ planes @ columns.T


@cache
def _band(side: int, device: torch.device) -> Tensor:
    """(side, side): one row per output position, with the taps of the blur around it."""
    taps = blur_taps()
    radius, band = len(taps) // 2, torch.zeros(side, side, dtype=torch.float64)
    for k, tap in enumerate(taps):
        offset = k - radius
        if abs(offset) < side:
            band.diagonal(offset).fill_(float(tap))
    return band.float().to(device)
