"""Layers of the codec: rectifiers with a leaking gradient, residual blocks."""

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
        found: Tensor = torch.ops.aten.leaky_relu_backward(gradients[0], x, LEAK, False)
        return found


class Rectifier(nn.Module):
    """ReLU. In training its gradient is ``LEAK`` where it is off: steps large enough to learn in hours switch
    some units off for all inputs, and without a gradient they would stay so.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return F.relu(x)
        made: Tensor = _Rectified.apply(x)  # type: ignore[no-untyped-call]
        return made


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
    """x + conv(leaky(conv(x / rms(x)))), the root mean square over the channels of a place: a 3x3 convolution
    and one of ``side`` x ``side`` back, zero at the start. Without the division layers here end switched off.
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
    """x (n, c, h, w) over the root mean square of the channels of each place."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + LEAST_SQUARE)


def zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
