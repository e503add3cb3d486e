"""Layers of the codec: ReLU with a leaky gradient in training, and residual blocks (He et al. 2016,
arXiv:1512.03385).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decant_train.codec.config import ANALYSIS_SLOPE, LEAK, LEAST_SQUARE


class _Rectified(torch.autograd.Function):
    """ReLU with the gradient of a leaky one, in one pass each way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp_min(0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        gradient: Tensor = torch.ops.aten.leaky_relu_backward(gradients[0], x, LEAK, False)
        return gradient


class Rectifier(nn.Module):
    """ReLU whose gradient in training is ``LEAK`` where it is off.

    Learning rates that train in hours switch some units off for all inputs; without a gradient these would
    never recover.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.relu(x)
        rectified: Tensor = _Rectified.apply(x)  # type: ignore[no-untyped-call]
        return rectified


class Residual(nn.Module):
    """x + conv(relu(conv(x))): a 3x3 convolution to ``hidden`` channels (``width`` of them if None), and one
    of ``side`` x ``side`` back, zero at the start.
    """

    def __init__(self, width: int, hidden: int | None = None, side: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, hidden or width, 3, padding=1)
        self.second = nn.Conv2d(hidden or width, width, side, padding=side // 2)
        self.relu = Rectifier()
        zero(self.second)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.second(self.relu(self.first(x)))
        return x + added


class NormalizedResidual(nn.Module):
    """x + conv(leaky(conv(x / rms(x)))), where rms is the root mean square over the channels of a position.

    A 3x3 convolution, and one of ``side`` x ``side`` back, zero at the start. Without the normalization,
    layers here end switched off.
    """

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, side, padding=side // 2)
        zero(self.second)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.second(F.leaky_relu(self.first(normalized(x)), ANALYSIS_SLOPE))
        return x + added


def normalized(x: Tensor) -> Tensor:
    """x (n, c, h, w) divided by the root mean square of the channels of each position (RMSNorm: Zhang and
    Sennrich 2019, arXiv:1910.07467).
    """
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + LEAST_SQUARE)


def zero(layer: nn.Module) -> None:
    """Set all parameters of ``layer`` to 0."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
