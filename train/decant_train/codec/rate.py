"""Rate in bits, and the weights between rate and distortion."""

from typing import Any

import torch
from torch import Tensor

from decant_train.codec.config import CLASSES, LAMBDAS, RATE_POINTS, TAIL


def interpolated_lambdas(position: Tensor) -> Tensor:
    """Distortion weights of qualities ``position`` (n,), 0..ANCHORS-1, log-interpolated between anchors."""
    return between_rate_points(torch.tensor(LAMBDAS, device=position.device).log(), position).exp()


def between_rate_points(rows: Tensor, position: Tensor) -> Tensor:
    """Rows of the anchors (ANCHORS, ...) at ``position`` (n,), interpolated: (n, ...)."""
    low = position.floor().clamp(0, RATE_POINTS - 2).long()
    part = (position - low).reshape(-1, *[1] * (rows.ndim - 1))
    return torch.lerp(rows[low], rows[low + 1], part)


class Clipped(torch.autograd.Function):
    """Classes within those there are; beyond, only a gradient that leads back counts."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0, CLASSES - 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        ((x,), (gradient,)) = ctx.saved_tensors, gradients
        away = ((x < 0) & (gradient > 0)) | ((x > CLASSES - 1) & (gradient < 0))
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
    """Bits of ``symbols``, x rounded, with tables of deviations ``scale``.

    The scale's gradient is that of these bits. Rounding has none: x gets what the mean of the bits over x +
    uniform noise of one step has, the bits half a step above less those half a step below. That is what
    sampled noise gives on average, without its variance.
    """
    bits = symbol_bits(symbols.detach(), scale)
    with torch.no_grad():
        slope = symbol_bits(x + 0.5, scale) - symbol_bits(x - 0.5, scale)
    return bits + slope * (x - x.detach())
