"""What the int8 synthesis is calibrated on: values, largest magnitudes and second moments of its tensors."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from decant_train.codec.layers import Residual
from decant_train.codec.transforms import Synthesis

from decant_export.families.codec.channel_copies import EVEN, Copies

SKIPPED = 4  # of positions at 1/4, so many a one measured
# Rectified channels with less than this part of the largest range are not made larger than so.
LEAST_RANGE = 0.02


class Storage(Protocol):
    """How the tensors between layers are stored."""

    latents: Copies
    quarter: Copies
    added: Copies | None


@dataclass
class Seen:
    """What was measured: values (channels, n) of every tensor, or the second moments (k, k) of what the
    kernels of every layer are multiplied with.
    """

    samples: dict[str, np.ndarray] = field(default_factory=dict)
    moments: dict[str, np.ndarray] = field(default_factory=dict)


@torch.no_grad()
def measure(
    network: Synthesis,
    latents: Sequence[np.ndarray],
    stored: Storage | None = None,
    *,
    skipped: int = SKIPPED,
    clamped: bool = True,
) -> Seen:
    """Over all ``latents``, float32 (1, M, h, w) each: samples, at 1/4 of the resolution one of ``skipped``,
    or moments when it is known how tensors are ``stored``: as int8 holds them, or not ``clamped``.
    """
    found = Seen()
    samples: dict[str, list[np.ndarray]] = {}

    def see(name: str, x: torch.Tensor) -> torch.Tensor:
        if stored is None:
            part = skipped if x.shape[2] > latent.shape[2] else 1
            samples.setdefault(name, []).append(x[0].flatten(1).numpy()[:, ::part])
        return x

    def given(name: str, x: torch.Tensor, side: int, noise: float = 0.0) -> None:
        rows = F.unfold(x, side, padding=side // 2)[0]
        if x.shape[2] > latent.shape[2]:
            rows = rows[:, ::SKIPPED]
        moment = (rows @ rows.T).double().numpy() / rows.shape[1]
        moment += np.eye(len(moment)) * noise
        found.moments[name] = found.moments.get(name, 0) + moment / len(latents)

    rounding = EVEN.step**2 / 12
    for latent in latents:
        y = see("latents", torch.from_numpy(latent))
        start = x = see("quarter", F.pixel_shuffle(network.up(y), 4))
        hidden = []
        for i, layer in enumerate(network.render):
            assert isinstance(layer, Residual)
            hidden.append(see(f"render.{i}.first", F.relu(layer.first(x))))
            if stored is not None:
                given(f"render.{i}.first", stored.quarter.first().store(x, clamped), 3, rounding)
                given(f"render.{i}.second", hidden[-1], 1)
            x = x + layer.second(hidden[-1])
            if i + 1 < len(network.render):
                see(f"render.{i}.sum", x)
        if hidden:
            see("added", x - start)
        if stored is not None:
            given("up", stored.latents.store(y, clamped), 1, rounding)
            kept = [stored.quarter.store(start, clamped)]
            if stored.added is not None:
                given("added", torch.cat(hidden, 1), 1)
                kept.append(stored.added.store(x - start, clamped))
            given("last", torch.cat(kept, 1), 3, rounding)
    found.samples = {name: np.concatenate(rows, axis=1) for name, rows in samples.items()}
    return found


@torch.no_grad()
def evened(network: Synthesis, ranges: dict[str, np.ndarray]) -> Synthesis:
    """A copy of ``network`` that decodes alike, in whose renderer every rectified channel has the same range:
    ReLU takes a positive factor through, so the layer before is multiplied with it and that after divided.
    """
    network = copy.deepcopy(network)
    for i, layer in enumerate(network.render):
        assert isinstance(layer, Residual)
        factor = torch.from_numpy(_even_factor(ranges[f"render.{i}.first"]))
        layer.first.weight *= factor[:, None, None, None]
        bias_of(layer.first).mul_(factor)
        layer.second.weight /= factor[:, None, None]
    return network


def _even_factor(ranges: np.ndarray) -> np.ndarray:
    found: np.ndarray = 1 / np.maximum(ranges, max(float(ranges.max()) * LEAST_RANGE, 1e-6))
    return found


@torch.no_grad()
def latent_gains(network: Synthesis) -> np.ndarray:
    """Squared error of all pixels for an error of 1 in one latent of each channel (channels,), by the linear
    path.
    """
    m = network.up.in_channels
    gains = np.zeros(m, np.float32)
    for channels in torch.split(torch.arange(m), 32):
        single = torch.zeros(len(channels), m, 3, 3)
        single[torch.arange(len(channels)), channels, 1, 1] = 1
        made = F.conv2d(
            F.pixel_shuffle(F.conv2d(single, network.up.weight), 4), network.last.weight, padding=1
        )
        gains[channels.numpy()] = made.square().sum((1, 2, 3)).numpy()
    return gains


def bias_of(layer: torch.nn.Conv2d) -> torch.Tensor:
    """The bias of a layer that has one."""
    assert layer.bias is not None
    return layer.bias
