"""Rate in bits, and the weights between rate and distortion.

Symbols are rounded Gaussians (Ballé et al. 2018, arXiv:1802.01436). Their cost is that of the tables by which
rANS (Duda 2013, arXiv:1311.2540) codes them.
"""

from typing import Any

import torch
from torch import Tensor

from decant_train.codec.config import LOWEST_LAMBDA, RATE_POINTS, SCALE_COUNT, TAIL, CodecConfig

# Exponent of the weight of an image in the loss. With it, a step at every rate point changes the logarithm of
# the loss by about as much: 1 would favour low rates, 0 high ones.
BALANCE = 0.4


def interpolated_lambdas(config: CodecConfig, rate_point: Tensor) -> Tensor:
    """Distortion weights (n,) at ``rate_point`` (n,), 0..RATE_POINTS-1, interpolated in their logarithm."""
    ratio = config.highest_lambda / LOWEST_LAMBDA
    lambdas: Tensor = LOWEST_LAMBDA * ratio ** (rate_point / (RATE_POINTS - 1))
    return lambdas


def between_rate_points(rows: Tensor, rate_point: Tensor) -> Tensor:
    """Rows (RATE_POINTS, ...) interpolated at ``rate_point`` (n,): (n, ...)."""
    low = rate_point.floor().clamp(0, RATE_POINTS - 2).long()
    part = (rate_point - low).reshape(-1, *[1] * (rows.ndim - 1))
    return torch.lerp(rows[low], rows[low + 1], part)


def weighted_loss(config: CodecConfig, rate_point: Tensor, bits_per_pixel: Tensor, error: Tensor) -> Tensor:
    """Mean of rate + lambda distortion over a batch, all (n,). Each image is weighted by lambda**-BALANCE (1
    at 0.0067), so that high rates do not drown low ones.
    """
    weight = interpolated_lambdas(config, rate_point)
    return ((bits_per_pixel + weight * 255**2 * error) * (0.0067 / weight) ** BALANCE).mean()


class Clipped(torch.autograd.Function):
    """Scale indices clipped to 0..SCALE_COUNT-1. Beyond, only a gradient that leads back counts."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0, SCALE_COUNT - 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        ((x,), (gradient,)) = ctx.saved_tensors, gradients
        away = ((x < 0) & (gradient > 0)) | ((x > SCALE_COUNT - 1) & (gradient < 0))
        return gradient.masked_fill(away, 0)


def symbol_bits(x: Tensor, scale: Tensor) -> Tensor:
    """-log2 of the mass on [x - 0.5, x + 0.5] of a zero-mean Gaussian of deviation ``scale`` with a share
    TAIL of a wider Laplacian.
    """
    x = x.abs()
    normal = torch.special.ndtr((0.5 - x) / scale) - torch.special.ndtr((-0.5 - x) / scale)
    width = 1.0 + 2.0 * scale
    inner = 1 - 0.5 * (torch.exp((x.clamp_max(0.5) - 0.5) / width) + torch.exp((-0.5 - x) / width))
    outer = 0.5 * (torch.exp((0.5 - x.clamp_min(0.5)) / width) - torch.exp((-0.5 - x) / width))
    wide = torch.where(x < 0.5, inner, outer)
    mass: Tensor = (1 - TAIL) * normal + TAIL * wide
    return -mass.clamp_min(1e-12).log2()


def rate(x: Tensor, symbols: Tensor, scale: Tensor) -> Tensor:
    """Bits of ``symbols``, which are x rounded, in tables of deviations ``scale``.

    ``scale`` gets the gradient of these bits. Rounding has no gradient: x gets the expected gradient under
    additive uniform noise (Ballé et al. 2017, arXiv:1611.01704), which is the bits half a step above minus
    the bits half a step below. Sampled noise has the same mean and more variance.
    """
    bits = symbol_bits(symbols.detach(), scale)
    with torch.no_grad():
        slope = symbol_bits(x + 0.5, scale) - symbol_bits(x - 0.5, scale)
    return bits + slope * (x - x.detach())
