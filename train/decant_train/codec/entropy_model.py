"""Entropy model: hyperprior (Ballé et al. 2018, arXiv:1802.01436), channel groups (Minnen and Singh 2020,
arXiv:2007.08739) and checkerboard context (He et al. 2021, arXiv:2103.15306), with integer scale networks.
"""

import math
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decant_train.codec.config import (
    CLASSES,
    HIDDEN_MAX,
    MAGNITUDE_MAX,
    SCALE_MAX,
    SCALE_MIN,
    VALUE_BITS,
    WEIGHT_BITS,
    CodecConfig,
)
from decant_train.codec.layers import Rectifier, zero
from decant_train.codec.rate import Clipped


class Context(nn.Module):
    """What the magnitudes of symbols known before add to the classes of one part: those at a place, of its
    neighbours left and right together, and of those above and below. With ``mixed`` values in a second layer,
    that sees the ``below`` hidden values of the scale network beside them.
    """

    def __init__(self, known: int, width: int, channels: int, mixed: int = 0, below: int = 0) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(3 * known, width, 1)
        self.mixed = nn.Conv2d(width, mixed, 1) if mixed else None
        self.mixed_below = nn.Conv2d(below, 4 * mixed, 1, bias=False) if mixed else None
        self.out = nn.Conv2d(mixed or width, channels, 1, bias=False)
        zero(self.out)

    def forward(self, seen: Tensor, below: Tensor | None = None) -> Tensor:
        """Magnitudes (n, known, h, w), and where it mixes, the scale network's hidden values (n, below, h/2,
        w/2) -> classes to add (n, channels, h, w), in the decoder's integers with straight-through gradients.
        Not for autocast.
        """
        padded = F.pad(seen, (1, 1, 1, 1))
        beside = padded[:, :, 1:-1, :-2] + padded[:, :, 1:-1, 2:]
        above = padded[:, :, :-2, 1:-1] + padded[:, :, 2:, 1:-1]
        hidden = _integer_hidden(self.hidden, torch.cat((seen, beside, above), 1))
        if self.mixed is not None:
            assert self.mixed_below is not None
            assert below is not None
            more = F.conv2d(below, grid(self.mixed_below.weight, WEIGHT_BITS, 127))
            hidden = _integer_hidden(self.mixed, hidden, F.pixel_shuffle(more, 2))
        return F.conv2d(hidden, grid(self.out.weight, WEIGHT_BITS, 127))


class CheckerboardMean(nn.Module):
    """What the first half of a stage's latents adds to the means of the second half, from the four neighbours
    of each.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(4 * channels, width, 1)
        self.out = nn.Conv2d(width, channels, 1)
        self.relu = Rectifier()
        zero(self.out)

    def forward(self, known: Tensor) -> Tensor:
        """How far latents are from their means (n, channels, h, w), in deviations, 0 in the second half ->
        what to add to the means, alike; to be used in the second half only.
        """
        padded = F.pad(known, (1, 1, 1, 1))
        near = (
            padded[:, :, 1:-1, :-2],
            padded[:, :, 1:-1, 2:],
            padded[:, :, :-2, 1:-1],
            padded[:, :, 2:, 1:-1],
        )
        added: Tensor = self.out(self.relu(self.hidden(torch.cat(near, 1))))
        return added


class Hyperprior(nn.Module):
    """Hyperlatents from latents, and means and scale classes of the latents from quantized hyperlatents."""

    deviation: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        m, hyper, width = config.latents, config.hyper, 192
        self.register_buffer("deviation", torch.ones(m))  # of each latent at the start, for normalization
        self.analysis = nn.Sequential(
            nn.Conv2d(2 * m, width, 1), Rectifier(), nn.PixelUnshuffle(2),
            nn.Conv2d(4 * width, width, 3, padding=1), Rectifier(), nn.PixelUnshuffle(2),
            nn.Conv2d(4 * width, hyper, 3, padding=1),
        )  # fmt: skip
        self.mean = nn.Sequential(
            nn.Conv2d(hyper, 256, 3, padding=1), nn.PixelShuffle(2), Rectifier(),
            nn.Conv2d(64, 256, 3, padding=1), nn.PixelShuffle(2), Rectifier(), nn.Conv2d(64, m, 1),
        )  # fmt: skip
        zero(self.mean[-1])
        self.class_hidden = nn.Conv2d(hyper, 4 * config.class_width, 3, padding=1)
        self.class_out = nn.Conv2d(config.class_width, 4 * m, 1, bias=False)
        nn.init.normal_(self.class_out.weight, std=0.05)
        self.stages = config.stages
        ends = list(accumulate(config.stages))
        widths = config.context_width, config.mixed_width, config.class_width

        def context(known: int, stage: int) -> Context:
            width, mixed, below = widths
            return Context(known, width, config.stages[stage], mixed, below)

        self.contexts = nn.ModuleList(context(ends[i - 1], i) for i in range(1, len(ends)))
        self.half_contexts = nn.ModuleList(context(ends[i], i) for i in range(config.halves))
        self.half_means = nn.ModuleList(
            CheckerboardMean(config.stages[i], config.context_width) for i in range(config.halves)
        )
        self.prediction: nn.Conv2d | None = None
        if config.predicted:
            known = config.predicting or config.stages[0]
            self.prediction = nn.Conv2d(known, config.predicted, 3, padding=1, bias=False)
            nn.init.zeros_(self.prediction.weight)
        self.register_load_state_dict_pre_hook(_renamed)  # type: ignore[no-untyped-call]

    def hyperlatents(self, y: Tensor) -> Tensor:
        """Latents (n, M, h, w) -> hyperlatents (n, hyper, h/4, w/4), not yet scaled by a quality's gains."""
        normal = torch.asinh(y / self.deviation[:, None, None])
        z: Tensor = self.analysis(torch.cat((normal, normal.abs()), 1))
        return z.float()

    def means(self, mean: Tensor, symbols: Tensor, gain: Tensor) -> Tensor:
        """Means of the latents (n, M, h, w): ``mean`` from the hyperlatents, and what ``symbols`` (n, M, h,
        w) add: in the second half of a stage those of the first, and in later stages those of the stages
        before; gains (n, M, 1, 1).
        """
        added = [
            self.half_mean_of(i, symbols[:, channels], gain[:, channels])
            for i, channels in enumerate(self.channels()[: len(self.half_means)])
        ]
        halved = sum(self.stages[: len(added)])
        mean = torch.cat((mean[:, :halved] + torch.cat(added, 1), mean[:, halved:]), 1)
        if self.prediction is None:
            return mean
        known, start = self.prediction.in_channels, self.stages[0]
        end = start + self.prediction.out_channels
        predicted = mean[:, start:end] + self.predicted(symbols[:, :known], gain[:, :known])
        return torch.cat((mean[:, :start], predicted, mean[:, end:]), 1)

    def channels(self) -> list[slice]:
        """The channels of each stage."""
        return [
            slice(end - count, end) for end, count in zip(accumulate(self.stages), self.stages, strict=True)
        ]

    def prediction_weight(self) -> Tensor:
        """(predicted, known, 3, 3): of ``prediction``, 0 where a channel is not of an earlier stage."""
        assert self.prediction is not None
        stage = torch.repeat_interleave(torch.arange(len(self.stages)), torch.tensor(self.stages))
        stage = stage.to(self.prediction.weight.device)
        start, (count, known) = self.stages[0], self.prediction.weight.shape[:2]
        earlier = stage[:known] < stage[start : start + count, None]
        return self.prediction.weight * earlier[:, :, None, None]

    def predicted(self, symbols: Tensor, gain: Tensor, stage: int | None = None) -> Tensor:
        """What stages add to the means of the channels after the first (n, predicted, h, w): ``symbols`` of
        the channels that means are predicted from (n, known, h, w) and their gains (n, known, 1, 1). Of one
        ``stage``: to its channels alone, (n, up to its number, h, w), from as many of them as are known.
        """
        weight, unit, known = self.prediction_weight(), self.deviation[:, None, None], symbols.shape[1]
        start = self.stages[0]
        end = start + len(weight)
        if stage is not None:
            first, last = start, end
            channels = self.channels()[stage]
            start, end = channels.start, min(channels.stop, last)
            weight = weight[start - first : max(end - first, 0), :known]
        if not len(weight):
            return symbols[:, :0]
        found: Tensor = F.conv2d(symbols / gain / unit[:known], weight, padding=1)
        return found * unit[start:end]

    def half_mean_of(self, stage: int, symbols: Tensor, gain: Tensor) -> Tensor:
        """What the first half adds to the means of ``stage``, 0 in the first half: ``symbols`` of the stage
        (n, c, h, w), of which those of the first half count, and their gains (n, c, 1, 1).
        """
        unit = self.deviation[self.channels()[stage], None, None]
        first = anchor_positions(symbols)
        added: Tensor = self.half_means[stage](symbols / gain / unit * first) * unit * ~first
        return added

    def forms(self, z: Tensor, offsets: Tensor) -> tuple[list[Tensor], Tensor]:
        """What dequantized hyperlatents z (n, hyper, h/4, w/4), on the grid of 2^-VALUE_BITS, and offsets
        (n, M) say of the classes of each stage: (n, channels, h, w), continuous in training; and the hidden
        values of that (n, class_width, h/2, w/2).

        Weights, hidden values and sums are the integers the decoder has, with straight-through gradients.
        """
        hidden = F.pixel_shuffle(_integer_hidden(self.class_hidden, z), 2)
        form = F.conv2d(hidden, grid(self.class_out.weight, WEIGHT_BITS, 127))
        form = F.pixel_shuffle(form, 2) + offsets[:, :, None, None]
        return list(torch.split(form, list(self.stages), 1)), hidden

    def scale_class(self, z: Tensor, offsets: Tensor, symbols: Tensor) -> Tensor:
        """Class of every latent (n, M, h, w): ``forms``, and what the symbols (n, M, h, w) of the parts
        before add.
        """
        with torch.autocast(z.device.type, enabled=False):
            forms, hidden = self.forms(z, offsets)
            found, first, channels = [], anchor_positions(symbols), self.channels()
            last = max(channels[len(self.half_contexts) - 1].stop, channels[-1].start)
            seen = magnitude(symbols[:, :last].detach())
            for i, (form, own) in enumerate(zip(forms, channels, strict=True)):
                added = self.contexts[i - 1](seen[:, : own.start], hidden) if i else torch.zeros_like(form)
                if i < len(self.half_contexts):
                    known = torch.cat((seen[:, : own.start], seen[:, own] * first), 1)
                    added = torch.where(first, added, self.half_contexts[i](known, hidden))
                found.append(form + added)
        return torch.cat(found, 1)


def _renamed(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Weights as they were named when only the first stage had halves."""
    for old in ("half_context", "half_mean"):
        for name in [name for name in state if name.startswith(f"{prefix}{old}.")]:
            state[name.replace(f"{old}.", f"{old}s.0.", 1)] = state.pop(name)


def class_scale(index: Tensor) -> Tensor:
    """Standard deviation of a (continuous) scale class; clipped with a gradient that lets it come back."""
    clipped: Tensor = Clipped.apply(index)  # type: ignore[no-untyped-call]
    return torch.exp(math.log(SCALE_MIN) + clipped * (math.log(SCALE_MAX / SCALE_MIN) / (CLASSES - 1)))


def scale_to_class(scale: Tensor) -> Tensor:
    """Inverse of ``class_scale``, not clipped."""
    return (scale.log() - math.log(SCALE_MIN)) * ((CLASSES - 1) / math.log(SCALE_MAX / SCALE_MIN))


def magnitude(symbols: Tensor) -> Tensor:
    """What a context network sees of symbols: log2(1 + |symbol|), on the grid of 2^-VALUE_BITS."""
    return grid(torch.log2(1 + symbols.abs().clamp_max(MAGNITUDE_MAX)), VALUE_BITS, HIDDEN_MAX)


def anchor_positions(latents: Tensor) -> Tensor:
    """bool (h, w): the places of latents (n, c, h, w) of the first stage that are coded first, those of an
    even y + x.
    """
    row, column = (torch.arange(size, device=latents.device) for size in latents.shape[2:])
    return (row[:, None] + column) % 2 == 0


def round(x: Tensor) -> Tensor:
    return x + (x.round() - x).detach()


def grid(x: Tensor, bits: int, most: int) -> Tensor:
    """x on the grid of 2^-bits, at most ``most`` steps from zero, with a straight-through gradient inside."""
    return round((x * 2.0**bits).clamp(-most, most)) / 2.0**bits


def _integer_hidden(layer: nn.Conv2d, x: Tensor, more: Tensor | float = 0.0) -> Tensor:
    """relu(layer(x) + more), x on the grid of 2^-VALUE_BITS, with the integers that the decoder has."""
    assert layer.bias is not None
    sums = F.conv2d(
        x,
        grid(layer.weight, WEIGHT_BITS, 127),
        grid(layer.bias, WEIGHT_BITS + VALUE_BITS, 2**23),
        padding=layer.padding,
    )
    return grid((sums + more).clamp_min(0), VALUE_BITS, HIDDEN_MAX)


def linear_path(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """The linear path stays in float32: bfloat16 rounds large DC coefficients by half a quantization step."""
    with torch.autocast(x.device.type, enabled=False):
        result: Tensor = layer(x.float())
        return result
