"""The rate-point curriculum: training starts at the middle quality, and the range of qualities grows."""

import torch
from torch import Tensor

from decant_train.codec.config import RATE_POINTS
from decant_train.codec.model import Codec
from decant_train.codec.options import CodecOptions

MIDDLE = (RATE_POINTS - 1) / 2


def curriculum_range(options: CodecOptions, done: float) -> float:
    """Share of the range of rate points (0..1) to train at, after the part ``done`` (0..1) of the budget."""
    start, length = options.curriculum_start, options.curriculum_length
    if done < start:
        return 0.0
    return options.curriculum_range * min(1.0, (done - start) / length if length else 1.0)


def rate_points(count: int, spread: float, generator: torch.Generator) -> Tensor:
    """Random rate points (count,) of a batch, uniform around the middle one. With a ``spread`` of 1 they span
    all rate points.
    """
    return MIDDLE * (1 + spread * (2 * torch.rand(count, generator=generator) - 1))


def share_gradients(model: Codec, spread: float) -> None:
    """Share gradients between rate points, so that those that are missing in a batch are updated too.

    With a ``spread`` of 0, the gains and scale indices of every rate point get the sum of all gradients. With
    1, each rate point gets its own gradient.
    """
    for rows in (model.log_gain, model.log_hyper_gain, model.scale_offset, model.hyper_scale_index):
        if rows.grad is not None:
            rows.grad.lerp_(rows.grad.sum(0, keepdim=True).expand_as(rows), 1 - spread)
