"""Entropy model: hyperprior (Ballé et al. 2018, arXiv:1802.01436), channel groups (Minnen and Singh 2020,
arXiv:2007.08739) and checkerboard context (He et al. 2021, arXiv:2103.15306), with integer scale networks.

    z_hat --> scale network --> scale-index logits --+--> scale index of every latent
                   symbols of earlier groups --------+    (contexts)
                   symbols at anchor positions ------+    (checkerboard_contexts)
    z_hat --> hyper synthesis -----> mean -----------+--> mean of every latent
                   symbols of earlier groups --------+    (prediction)
                   symbols at anchor positions ------+    (checkerboard_means)

The scale path computes with the decoder's integers, so that every machine takes the same table. The mean path
is float: it affects pixels, never symbols.
"""

import math
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decant_train.codec.config import (
    HIDDEN_MAX,
    MAGNITUDE_MAX,
    SCALE_COUNT,
    SCALE_MAX,
    SCALE_MIN,
    VALUE_BITS,
    WEIGHT_BITS,
    CodecConfig,
)
from decant_train.codec.layers import Rectifier, zero
from decant_train.codec.rate import Clipped
from decant_train.common.serialized_names import keep_tensor_names

# Attribute -> its name in checkpoints, which keep the names of the first version.
TENSOR_NAMES = {
    "scale_hidden": "class_hidden",
    "scale_out": "class_out",
    "checkerboard_contexts": "half_contexts",
    "checkerboard_means": "half_means",
}
# Names from before more than one channel group had a checkerboard.
OLDER_NAMES = {"half_context": "half_contexts.0", "half_mean": "half_means.0"}


class Context(nn.Module):
    """Context network of one channel group, or of its non-anchor positions: known symbols -> a term of the
    scale-index logits.

    The network sees magnitudes at a position, the sum of the left and right neighbours, and the sum of the
    neighbours above and below. With ``mixed`` > 0 a second layer also sees the ``below`` hidden values of the
    scale network.
    """

    def __init__(self, known: int, width: int, channels: int, mixed: int = 0, below: int = 0) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(3 * known, width, 1)
        self.mixed = nn.Conv2d(width, mixed, 1) if mixed else None
        self.mixed_below = nn.Conv2d(below, 4 * mixed, 1, bias=False) if mixed else None
        self.out = nn.Conv2d(mixed or width, channels, 1, bias=False)
        zero(self.out)

    def forward(self, seen: Tensor, below: Tensor | None = None) -> Tensor:
        """Magnitudes (n, known, h, w) -> logits to add (n, channels, h, w). A mixing network also needs the
        scale network's hidden values (n, below, h/2, w/2).

        Computes in the decoder's integers, with straight-through gradients. Not for autocast.
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
    """Checkerboard mean context: corrects the means of non-anchors from the anchors among their four
    neighbours.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(4 * channels, width, 1)
        self.out = nn.Conv2d(width, channels, 1)
        self.relu = Rectifier()
        zero(self.out)

    def forward(self, residuals: Tensor) -> Tensor:
        """Residuals (n, channels, h, w) in units of deviations, 0 at non-anchors -> corrections of means
        (n, channels, h, w). Use the result at non-anchors only.
        """
        padded = F.pad(residuals, (1, 1, 1, 1))
        neighbours = (
            padded[:, :, 1:-1, :-2],
            padded[:, :, 1:-1, 2:],
            padded[:, :, :-2, 1:-1],
            padded[:, :, 2:, 1:-1],
        )
        added: Tensor = self.out(self.relu(self.hidden(torch.cat(neighbours, 1))))
        return added


class Hyperprior(nn.Module):
    """Hyperlatents from latents; means and scale indices of the latents from quantized hyperlatents."""

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
        self.scale_hidden = nn.Conv2d(hyper, 4 * config.scale_width, 3, padding=1)
        self.scale_out = nn.Conv2d(config.scale_width, 4 * m, 1, bias=False)
        nn.init.normal_(self.scale_out.weight, std=0.05)
        groups, checkerboards = config.channel_groups, range(config.checkerboard_groups)
        self.channel_groups = groups
        ends = list(accumulate(groups))

        def context(known: int, group: int) -> Context:
            return Context(known, config.context_width, groups[group], config.mixed_width, config.scale_width)

        self.contexts = nn.ModuleList(context(ends[i - 1], i) for i in range(1, len(ends)))
        self.checkerboard_contexts = nn.ModuleList(context(ends[i], i) for i in checkerboards)
        self.checkerboard_means = nn.ModuleList(
            CheckerboardMean(groups[i], config.context_width) for i in checkerboards
        )
        self.prediction: nn.Conv2d | None = None
        if config.predicted_channels:
            inputs = config.prediction_inputs or groups[0]
            self.prediction = nn.Conv2d(inputs, config.predicted_channels, 3, padding=1, bias=False)
            nn.init.zeros_(self.prediction.weight)
        keep_tensor_names(self, TENSOR_NAMES, OLDER_NAMES)

    def hyperlatents(self, y: Tensor) -> Tensor:
        """Latents (n, M, h, w) -> hyperlatents (n, N, h/4, w/4), before the gains of a rate point."""
        normal = torch.asinh(y / self.deviation[:, None, None])
        z: Tensor = self.analysis(torch.cat((normal, normal.abs()), 1))
        return z.float()

    def means(self, mean: Tensor, symbols: Tensor, gain: Tensor) -> Tensor:
        """Means of the latents (n, M, h, w), if all ``symbols`` (n, M, h, w) are known. ``gain`` is
        (n, M, 1, 1).

        Two terms are added to ``mean``, which comes from the hyperlatents: the checkerboard mean context at
        non-anchors, and the channel-conditional prediction from earlier to later groups.
        """
        added = [
            self.checkerboard_mean_of(i, symbols[:, channels], gain[:, channels])
            for i, channels in enumerate(self.channels()[: len(self.checkerboard_means)])
        ]
        count = sum(self.channel_groups[: len(added)])
        mean = torch.cat((mean[:, :count] + torch.cat(added, 1), mean[:, count:]), 1)
        if self.prediction is None:
            return mean
        inputs, start = self.prediction.in_channels, self.channel_groups[0]
        end = start + self.prediction.out_channels
        predicted = mean[:, start:end] + self.predicted(symbols[:, :inputs], gain[:, :inputs])
        return torch.cat((mean[:, :start], predicted, mean[:, end:]), 1)

    def channels(self) -> list[slice]:
        """The channels of each channel group."""
        counts = self.channel_groups
        return [slice(end - count, end) for end, count in zip(accumulate(counts), counts, strict=True)]

    def prediction_weight(self) -> Tensor:
        """Kernel of ``prediction`` (predicted, inputs, 3, 3), 0 where an input is not of an earlier group."""
        assert self.prediction is not None
        counts = torch.tensor(self.channel_groups)
        group = torch.repeat_interleave(torch.arange(len(counts)), counts).to(self.prediction.weight.device)
        start, (count, inputs) = self.channel_groups[0], self.prediction.weight.shape[:2]
        earlier = group[:inputs] < group[start : start + count, None]
        return self.prediction.weight * earlier[:, :, None, None]

    def predicted(self, symbols: Tensor, gain: Tensor, group: int | None = None) -> Tensor:
        """Channel-conditional mean prediction: ``symbols`` (n, inputs, h, w) and gains (n, inputs, 1, 1) ->
        corrections of the means of the channels after the first group, (n, predicted, h, w).

        With ``group``, only its channels are predicted, from the inputs that are given.
        """
        weight, unit, inputs = self.prediction_weight(), self.deviation[:, None, None], symbols.shape[1]
        start = self.channel_groups[0]
        end = start + len(weight)
        if group is not None:
            first, last = start, end
            channels = self.channels()[group]
            start, end = channels.start, min(channels.stop, last)
            weight = weight[start - first : max(end - first, 0), :inputs]
        if not len(weight):
            return symbols[:, :0]
        prediction: Tensor = F.conv2d(symbols / gain / unit[:inputs], weight, padding=1)
        return prediction * unit[start:end]

    def checkerboard_mean_of(self, group: int, symbols: Tensor, gain: Tensor) -> Tensor:
        """Corrections of the means of ``group`` by its anchors (n, c, h, w), 0 at anchors. Of ``symbols``
        (n, c, h, w) of the group, only the anchors are used. ``gain``: (n, c, 1, 1).
        """
        unit = self.deviation[self.channels()[group], None, None]
        anchors = anchor_positions(symbols)
        added: Tensor = self.checkerboard_means[group](symbols / gain / unit * anchors) * unit * ~anchors
        return added

    def scale_logits(self, z: Tensor, offsets: Tensor) -> tuple[list[Tensor], Tensor]:
        """Scale-index logits (n, channels, h, w) of each channel group, continuous in training, and the
        scale network's hidden values (n, scale_width, h/2, w/2).

        ``z``: dequantized hyperlatents (n, N, h/4, w/4) on the grid of 2^-VALUE_BITS; ``offsets``: (n, M).
        Weights, hidden values and sums are the decoder's integers, with straight-through gradients.
        """
        hidden = F.pixel_shuffle(_integer_hidden(self.scale_hidden, z), 2)
        logits = F.conv2d(hidden, grid(self.scale_out.weight, WEIGHT_BITS, 127))
        logits = F.pixel_shuffle(logits, 2) + offsets[:, :, None, None]
        return list(torch.split(logits, list(self.channel_groups), 1)), hidden

    def scale_indices(self, z: Tensor, offsets: Tensor, symbols: Tensor) -> Tensor:
        """Scale index of every latent (n, M, h, w), continuous: ``scale_logits`` plus the contexts of earlier
        ``symbols`` (n, M, h, w).
        """
        with torch.autocast(z.device.type, enabled=False):
            logits, hidden = self.scale_logits(z, offsets)
            indices, anchors, channels = [], anchor_positions(symbols), self.channels()
            last = max(channels[len(self.checkerboard_contexts) - 1].stop, channels[-1].start)
            seen = magnitude(symbols[:, :last].detach())
            for i, (own_logits, own) in enumerate(zip(logits, channels, strict=True)):
                earlier = seen[:, : own.start]
                added = self.contexts[i - 1](earlier, hidden) if i else torch.zeros_like(own_logits)
                if i < len(self.checkerboard_contexts):
                    known = torch.cat((earlier, seen[:, own] * anchors), 1)
                    added = torch.where(anchors, added, self.checkerboard_contexts[i](known, hidden))
                indices.append(own_logits + added)
        return torch.cat(indices, 1)


def scale_of_index(index: Tensor) -> Tensor:
    """Standard deviation, in quantization steps, of a continuous scale index: log-spaced from ``SCALE_MIN``
    to ``SCALE_MAX``. Clipped, with a gradient that leads back into the range.
    """
    clipped: Tensor = Clipped.apply(index)  # type: ignore[no-untyped-call]
    return torch.exp(math.log(SCALE_MIN) + clipped * (math.log(SCALE_MAX / SCALE_MIN) / (SCALE_COUNT - 1)))


def index_of_scale(scale: Tensor) -> Tensor:
    """Inverse of ``scale_of_index``, not clipped."""
    return (scale.log() - math.log(SCALE_MIN)) * ((SCALE_COUNT - 1) / math.log(SCALE_MAX / SCALE_MIN))


def magnitude(symbols: Tensor) -> Tensor:
    """Input of a context network: log2(1 + |symbol|), on the grid of 2^-VALUE_BITS."""
    return grid(torch.log2(1 + symbols.abs().clamp_max(MAGNITUDE_MAX)), VALUE_BITS, HIDDEN_MAX)


def anchor_positions(latents: Tensor) -> Tensor:
    """bool (h, w): the anchor positions of latents (n, c, h, w), where y + x is even. They are coded first
    (He et al. 2021, arXiv:2103.15306).
    """
    row, column = (torch.arange(size, device=latents.device) for size in latents.shape[2:])
    return (row[:, None] + column) % 2 == 0


def round(x: Tensor) -> Tensor:
    """x rounded, with a straight-through gradient (Bengio et al. 2013, arXiv:1308.3432)."""
    return x + (x.round() - x).detach()


def grid(x: Tensor, bits: int, most: int) -> Tensor:
    """x on the grid of 2^-bits, at most ``most`` steps from zero, with a straight-through gradient inside."""
    return round((x * 2.0**bits).clamp(-most, most)) / 2.0**bits


def _integer_hidden(layer: nn.Conv2d, x: Tensor, more: Tensor | float = 0.0) -> Tensor:
    """relu(layer(x) + more), x on the grid of 2^-VALUE_BITS, in the integers that the decoder has."""
    assert layer.bias is not None
    sums = F.conv2d(
        x,
        grid(layer.weight, WEIGHT_BITS, 127),
        grid(layer.bias, WEIGHT_BITS + VALUE_BITS, 2**23),
        padding=layer.padding,
    )
    return grid((sums + more).clamp_min(0), VALUE_BITS, HIDDEN_MAX)


def linear_path(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """layer(x) in float32: bfloat16 rounds large DC coefficients by half a quantization step."""
    with torch.autocast(x.device.type, enabled=False):
        result: Tensor = layer(x.float())
        return result
