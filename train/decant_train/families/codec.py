"""Family ``codec``: the general, variable-rate image codec with a light decoder.

Analysis makes latents y (M channels) at 1/16 of the resolution and hyperlatents z (64) at 1/64; the decoder
is what docs/design names: 1x1 and 3x3 convolutions, ReLU, Add, Concat and DepthToSpace. Everything starts
from a linear codec (``codec_start``): the principal components of 16x16 patches are the first analysis and
synthesis, and the branches on top start at zero.

Rate: y is coded as round((y - mean) * gain) with the table of its scale class. The mean is a float network of
z: it moves pixels, never symbols. The scale class is a network of two layers in integers (weights and
activations of 8 bits, shifts), so that every machine picks the same table. Channels are coded in stages: to
the class of a later stage's symbols a second such network adds what the magnitudes of the earlier stages'
symbols, here and beside, say of it. The first stages, which have the most bits a symbol, are coded in two
halves, the colours of a checkerboard: the first half adds to classes and means of the second, and whole
stages to the means of the channels after them (the synthesis begins with that). A quality is a
row of gains for y, gains for z (as integer multipliers that undo them) and class offsets; rows between the
trained anchors are interpolated.

Training ends on what files have. First everything learns on rounded latents, straight through the rounding.
Then all that the decoder has learns on the symbols that an encoder chooses by rate and distortion
(``codec_encoding``), and the analysis what the synthesis, as it is, makes the picture of.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from pytorch_msssim import ms_ssim
from torch import Tensor, nn
from torch.func import functional_call

from decant_train.families.base import Family

ANCHORS = 8  # qualities with parameters of their own
CLASSES = 32  # scale classes, log-spaced
SCALE_MIN, SCALE_MAX = (
    0.11,
    64.0,
)  # standard deviations of the first and the last class, in quantization steps
WEIGHT_BITS = 6  # fraction bits of the scale network's int8 weights
VALUE_BITS = 4  # fraction bits of its inputs and hidden values
HIDDEN_MAX = 255  # its hidden values, in units of 2^-VALUE_BITS
MULTIPLIER_MAX = 255  # of quantized hyperlatents, in the same units
MAGNITUDE_MAX = 255  # symbols beyond look like it to the context networks
PATCH = 16
PIXELS = 3 * PATCH * PATCH
# Distortion weight of each anchor: loss = bits per pixel + lambda * 255^2 * MSE. From about 0.1 bpp to 40 dB
# on photos.
LAMBDAS = tuple(0.0009 * (0.35 / 0.0009) ** (i / (ANCHORS - 1)) for i in range(ANCHORS))
LEAK = 0.05  # gradient of rectifiers that are off
ANALYSIS_SLOPE = 0.1  # of the analysis' rectifiers below 0
LEAST_SQUARE = 1e-4  # added to the mean square that features are normalized by
# What 1 - MS-SSIM is multiplied by to stand beside the squared error of pixels in 0..1: on training photos
# both are then about the same, at every quality.
DISSIMILARITY = 0.0185
TAIL = 0.01  # share of the wide component in the latents' distribution: outliers keep a gradient


@dataclass(frozen=True)
class CodecConfig:
    """Decoder shape: ``latents`` M; renderer at 1/4 of ``render_width`` R channels and ``render_layers``
    residual layers of ``render_hidden`` rectified ones. ``analysis_width`` and ``analysis_blocks`` are the
    encoder's and cost the decoder nothing. ``halves``: so many stages are coded in two halves.
    ``mixed_width``: hidden values of a second layer of the context networks, which sees those of the scale
    network too; 0 for none. ``predicted``: so many channels after the first stage have means that latents of
    the stages before add to, of the first ``predicting`` channels (those of the first stage if 0).
    ``beside``: names of sizes whose syntheses are trained on the same latents (``part``). ``ms_ssim``: the
    share of the distortion that is 1 - MS-SSIM (``distortion``).
    """

    latents: int = 256
    render_width: int = 24
    render_layers: int = 2
    render_hidden: int = 48
    stages: tuple[int, ...] = (16, 48, 192)  # channels of each coding stage, together ``latents``
    hyper: int = 32
    class_width: int = 48  # hidden values of the scale network at 1/32
    context_width: int = 48  # hidden values of each part's context network at 1/16
    halves: int = 1
    mixed_width: int = 0
    predicted: int = 0
    predicting: int = 0
    analysis_width: int = 128
    analysis_blocks: int = 2
    beside: tuple[str, ...] = ()
    ms_ssim: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))  # from JSON they are lists
        object.__setattr__(self, "beside", tuple(self.beside))
        if unknown := set(self.beside) - set(SIZES):
            raise ValueError(f"no size {', '.join(sorted(unknown))}; there are {', '.join(SIZES)}")
        if sum(self.stages) != self.latents or min(self.stages) < 1:
            raise ValueError(f"stages {self.stages} do not add up to {self.latents} latents")
        if not 1 <= self.halves <= len(self.stages):
            raise ValueError(f"halves is {self.halves}; there are {len(self.stages)} stages")
        if not 0 <= self.predicting <= self.latents:
            raise ValueError(f"predicting is {self.predicting}; there are {self.latents} latents")
        if not 0 <= self.predicted <= self.latents - self.stages[0]:
            raise ValueError(f"predicted is {self.predicted}; the first stage has {self.stages[0]} latents")
        if not 0 <= self.ms_ssim <= 1:
            raise ValueError(f"ms_ssim is a share of the distortion, 0 to 1, got {self.ms_ssim}")


SIZES: dict[str, CodecConfig] = {}
# They differ in their renderers alone, so that all can be trained on the same latents.
SIZES |= {
    "nano": CodecConfig(render_layers=0, predicted=112),
    "lite": CodecConfig(predicted=112),
    "full": CodecConfig(render_width=32, render_layers=5, render_hidden=64, predicted=112),
}


# A prior of one bundle's own: what a decoder of several times the multiplications can afford.
OWN_PRIOR: dict[str, Any] = {
    "stages": (16, 16, 32, 64, 128),
    "halves": 4,
    "context_width": 80,
    "mixed_width": 80,
    "predicted": 240,
    "predicting": 64,
}


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
        _zero(self.second)

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
        _zero(self.second)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.second(F.leaky_relu(self.first(normalized(x)), ANALYSIS_SLOPE))
        return x + added


class Analysis(nn.Module):
    """Pictures (n, 3, H, W) in [-0.5, 0.5] -> latents (n, M, H/16, W/16); H and W multiples of 64."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        width, blocks = config.analysis_width, config.analysis_blocks
        self.linear = nn.Conv2d(3, config.latents, PATCH, stride=PATCH)
        self.stem = nn.Conv2d(48, width // 2, 3, padding=1)
        self.eighth_in = nn.Conv2d(2 * width, width, 1)
        self.eighth = nn.Sequential(*(NormalizedResidual(width, 3) for _ in range(blocks)))
        self.sixteenth_in = nn.Conv2d(4 * width, 2 * width, 1)
        self.sixteenth = nn.Sequential(*(NormalizedResidual(2 * width, 1) for _ in range(blocks)))
        self.out = nn.Conv2d(2 * width, config.latents, 3, padding=1)
        _zero(self.out)

    def forward(self, pictures: Tensor) -> Tensor:
        x = F.leaky_relu(self.stem(F.pixel_unshuffle(pictures, 4)), ANALYSIS_SLOPE)
        x = self.eighth(self.eighth_in(F.pixel_unshuffle(x, 2)))
        x = self.sixteenth(self.sixteenth_in(F.pixel_unshuffle(x, 2)))
        added: Tensor = self.out(normalized(x))
        return _linear_path(self.linear, pictures) + added.float()


class Synthesis(nn.Module):
    """Latents (n, M, h, w) -> pictures (n, 3, 16 h, 16 w) in [-0.5, 0.5], not clipped."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        m, r = config.latents, config.render_width
        self.up = nn.Conv2d(m, 16 * r, 1)
        self.render = nn.ModuleList(Residual(r, config.render_hidden, 1) for _ in range(config.render_layers))
        self.last = nn.Conv2d(r, 48, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        x = F.pixel_shuffle(_linear_path(self.up, latents), 4)
        for layer in self.render:
            x = layer(x)
        pictures: Tensor = F.pixel_shuffle(_linear_path(self.last, x), 4)
        return pictures


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
        _zero(self.out)

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
            more = F.conv2d(below, _grid(self.mixed_below.weight, WEIGHT_BITS, 127))
            hidden = _integer_hidden(self.mixed, hidden, F.pixel_shuffle(more, 2))
        return F.conv2d(hidden, _grid(self.out.weight, WEIGHT_BITS, 127))


class NeighbourMean(nn.Module):
    """What the first half of a stage's latents adds to the means of the second half, from the four neighbours
    of each.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(4 * channels, width, 1)
        self.out = nn.Conv2d(width, channels, 1)
        self.relu = Rectifier()
        _zero(self.out)

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
        _zero(self.mean[-1])
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
            NeighbourMean(config.stages[i], config.context_width) for i in range(config.halves)
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
        first = first_half(symbols)
        added: Tensor = self.half_means[stage](symbols / gain / unit * first) * unit * ~first
        return added

    def forms(self, z: Tensor, offsets: Tensor) -> tuple[list[Tensor], Tensor]:
        """What dequantized hyperlatents z (n, hyper, h/4, w/4), on the grid of 2^-VALUE_BITS, and offsets
        (n, M) say of the classes of each stage: (n, channels, h, w), continuous in training; and the hidden
        values of that (n, class_width, h/2, w/2).

        Weights, hidden values and sums are the integers the decoder has, with straight-through gradients.
        """
        hidden = F.pixel_shuffle(_integer_hidden(self.class_hidden, z), 2)
        form = F.conv2d(hidden, _grid(self.class_out.weight, WEIGHT_BITS, 127))
        form = F.pixel_shuffle(form, 2) + offsets[:, :, None, None]
        return list(torch.split(form, list(self.stages), 1)), hidden

    def scale_class(self, z: Tensor, offsets: Tensor, symbols: Tensor) -> Tensor:
        """Class of every latent (n, M, h, w): ``forms``, and what the symbols (n, M, h, w) of the parts
        before add.
        """
        with torch.autocast(z.device.type, enabled=False):
            forms, hidden = self.forms(z, offsets)
            found, first, channels = [], first_half(symbols), self.channels()
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


# Pictures, their latents (n, M, h, w), dequantized hyperlatents, the mean from these (n, M, h, w), gains
# (n, M, 1, 1), class offsets (n, M) and qualities (n,) -> what is coded instead of the latents, and its
# symbols.
Encode = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class Terms(NamedTuple):
    """What training weighs, for each picture: bits of y and of z per pixel (n,), the distortion of
    each synthesis (1 + beside, n) of what is decoded, and the analysis' (n,), of latents as they are.
    """

    y_bits: Tensor
    z_bits: Tensor
    error: Tensor
    analysis_error: Tensor


class Codec(nn.Module):
    """The whole codec. ``forward`` gives rate and distortion of a batch at the anchors' qualities."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config)
        self.synthesis = Synthesis(config)
        self.beside = nn.ModuleDict({name: Synthesis(_with_renderer(config, name)) for name in config.beside})
        self.hyperprior = Hyperprior(config)
        self._rate: Callable[[Tensor, Tensor, Tensor], Tensor] = rate
        # Natural logarithms of the gains of each anchor, offsets of the latents' scale classes, and the scale
        # classes that hyperlatents have as they are.
        self.log_gain = nn.Parameter(torch.zeros(ANCHORS, config.latents))
        self.log_hyper_gain = nn.Parameter(torch.zeros(ANCHORS, config.hyper))
        self.class_offset = nn.Parameter(torch.full((ANCHORS, config.latents), CLASSES / 2))
        self.hyper_class = nn.Parameter(torch.full((ANCHORS, config.hyper), CLASSES / 2))

    def compile_rate(self) -> None:
        """Let PyTorch compile the rate of training, a tenth of a step on a CPU; it needs a C++ compiler."""
        self._rate = torch.compile(rate)

    def quality(self, position: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gains of y (n, M), gains of z (n, hyper), class offsets of y (n, M) and classes of z (n, hyper) at
        ``position`` (n,), 0..ANCHORS-1, interpolated.
        """
        rows = (self.log_gain, self.log_hyper_gain, self.class_offset, self.hyper_class)
        gain, hyper_gain, offset, hyper_class = (_between_anchors(row, position) for row in rows)
        return gain.exp(), hyper_gain.exp(), offset, hyper_class

    def dequantized(self, z_symbols: Tensor, hyper_gain: Tensor) -> Tensor:
        """Symbols of hyperlatents (n, hyper, h/4, w/4), gains (n, hyper) -> the hyperlatents that a decoder
        has: times integer multipliers.
        """
        return z_symbols * _grid(1 / hyper_gain, VALUE_BITS, MULTIPLIER_MAX)[:, :, None, None]

    def syntheses(self) -> dict[str, Synthesis]:
        """Its own, under the name "", and those beside it."""
        return {"": self.synthesis, **{name: self._beside(name) for name in self.beside}}

    def _beside(self, name: str) -> Synthesis:
        found = self.beside[name]
        assert isinstance(found, Synthesis)
        return found

    def forward(self, pictures: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures float32 (n, 3, H, W) in [0, 1], H and W multiples of 64; quality ``position`` (n,).

        Returns what ``Terms`` begins with, of latents that are rounded and no more.
        """
        return self.terms(pictures, position)[:3]

    def terms(
        self, pictures: Tensor, position: Tensor, encode: Encode | None = None, *, analysis: bool = True
    ) -> Terms:
        """The terms of the loss of ``pictures`` at qualities ``position`` (n,). Without ``analysis`` that has
        no gradient.

        Of latents that are rounded and no more, everything gets gradients of rate (``rate``) and, straight
        through the rounding, of distortion. Of what ``encode`` sends, all but the analysis does, which has an
        error of its own. Gains see the error of rounding shrink as they grow.
        """
        gain, hyper_gain, offset, hyper_class = self.quality(position)
        with torch.set_grad_enabled(analysis and torch.is_grad_enabled()):
            y = self.analysis(pictures - 0.5)
        with torch.autocast(y.device.type, enabled=False):  # bfloat16 is too coarse for what is coded
            z = self.hyperprior.hyperlatents(y if encode is None else y.detach())
            z = z * hyper_gain[:, :, None, None]
            z_symbols = _round(z)
            z_bits = self._rate(z, z_symbols, class_scale(hyper_class)[:, :, None, None])
            z_hat = self.dequantized(z_symbols, hyper_gain)
            gain = gain[:, :, None, None]
            mean = self.hyperprior.mean(z_hat)
            if encode is None:
                aims, symbols = y, self._rounded(y, mean, gain)
            else:
                aims, symbols = encode(pictures, y.detach(), z_hat, mean, gain, offset, position)
            residual = (aims - self.hyperprior.means(mean, symbols, gain)) * gain
            scale = class_scale(self.hyperprior.scale_class(z_hat, offset, symbols))
            y_bits = self._rate(residual, symbols, scale)
            latents = aims + (symbols - residual).detach() / gain
        share = self.config.ms_ssim
        error = torch.stack(
            [distortion(made(latents), pictures, share) for made in self.syntheses().values()]
        )
        plain = torch.zeros_like(error[0])
        if analysis and encode is not None:
            weights = {name: value.detach() for name, value in self.synthesis.named_parameters()}
            plain = distortion(functional_call(self.synthesis, weights, (y,)), pictures, share)
        pixels = pictures.shape[2] * pictures.shape[3]
        return Terms(y_bits.sum((1, 2, 3)) / pixels, z_bits.sum((1, 2, 3)) / pixels, error, plain)

    @torch.no_grad()
    def rounded_hyperlatents(self, y: Tensor, hyper_gain: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Symbols of the hyperlatents of y (n, M, h, w), the hyperlatents that a decoder has, and the mean of
        y that it makes of them (n, M, h, w); gains (n, hyper).
        """
        z = (self.hyperprior.hyperlatents(y) * hyper_gain[:, :, None, None]).round()
        z_hat = self.dequantized(z, hyper_gain)
        return z, z_hat, self.hyperprior.mean(z_hat)

    @torch.no_grad()
    def decoded_latents(self, pictures: Tensor, position: Tensor) -> Tensor:
        """What a decoder has of ``pictures`` float32 (n, 3, H, W) in [0, 1] at qualities ``position`` (n,),
        plainly rounded: latents (n, M, H/16, W/16).
        """
        gain, hyper_gain, _, _ = self.quality(position)
        y, gain = self.analysis(pictures - 0.5), gain[:, :, None, None]
        _, _, mean = self.rounded_hyperlatents(y, hyper_gain)
        symbols = self._rounded(y, mean, gain)
        return symbols / gain + self.hyperprior.means(mean, symbols, gain)

    @torch.no_grad()
    def _rounded(self, y: Tensor, mean: Tensor, gain: Tensor) -> Tensor:
        symbols = ((y - mean) * gain).round()  # right in the first half, then in one part after the other
        parts = len(self.config.stages) + self.config.halves
        for _ in range(self.config.halves if self.hyperprior.prediction is None else parts - 1):
            symbols = ((y - self.hyperprior.means(mean, symbols, gain)) * gain).round()
        return symbols


def part(model: Codec, name: str) -> Codec:
    """The codec of the synthesis ``name`` that was trained beside ``model``'s own; all else is shared. Raises
    ValueError when there is none.
    """
    if name not in model.config.beside:
        there = ", ".join(model.config.beside) or "none"
        raise ValueError(f"no synthesis {name!r} was trained beside this codec's own; there: {there}")
    return _part(model, replace(_with_renderer(model.config, name), beside=()), f"beside.{name}")


def alone(model: Codec) -> Codec:
    """The codec of ``model``'s own synthesis; a copy."""
    return _part(model, replace(model.config, beside=()), "synthesis")


def _part(model: Codec, config: CodecConfig, synthesis: str) -> Codec:
    """A codec of ``config`` with ``model``'s weights, of its syntheses that of the given name."""
    found, state = Codec(config), model.state_dict()
    names = {name: name for name in found.state_dict()}
    names |= {
        name: name.replace("synthesis.", f"{synthesis}.", 1)
        for name in names
        if name.startswith("synthesis.")
    }
    found.load_state_dict({name: state[source] for name, source in names.items()})
    return found.eval()


def _with_renderer(config: CodecConfig, name: str) -> CodecConfig:
    """``config`` with the renderer of the size ``name``."""
    size = SIZES[name]
    return replace(
        config,
        render_width=size.render_width,
        render_layers=size.render_layers,
        render_hidden=size.render_hidden,
    )


def normalized(x: Tensor) -> Tensor:
    """x (n, c, h, w) over the root mean square of the channels of each place."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + LEAST_SQUARE)


def picture_error(made: Tensor, pictures: Tensor) -> Tensor:
    """Mean squared error (n,) of what a synthesis made of ``pictures``."""
    return (made - (pictures - 0.5)).square().mean((1, 2, 3))


def distortion(made: Tensor, pictures: Tensor, share: float) -> Tensor:
    """What a codec is trained to keep small (n,): the squared error of what a synthesis made of ``pictures``,
    and for a ``share`` of it 1 - MS-SSIM instead, times ``DISSIMILARITY``. That needs 161 pixels a side.
    """
    error = picture_error(made, pictures)
    if not share:
        return error
    similar = ms_ssim(made.float() + 0.5, pictures, data_range=1.0, size_average=False)
    mixed: Tensor = (1 - share) * error + share * DISSIMILARITY * (1 - similar)
    return mixed


def interpolated_lambdas(position: Tensor) -> Tensor:
    """Distortion weights of qualities ``position`` (n,), 0..ANCHORS-1, log-interpolated between anchors."""
    return _between_anchors(torch.tensor(LAMBDAS, device=position.device).log(), position).exp()


def _between_anchors(rows: Tensor, position: Tensor) -> Tensor:
    """Rows of the anchors (ANCHORS, ...) at ``position`` (n,), interpolated: (n, ...)."""
    low = position.floor().clamp(0, ANCHORS - 2).long()
    part = (position - low).reshape(-1, *[1] * (rows.ndim - 1))
    return torch.lerp(rows[low], rows[low + 1], part)


class _Clipped(torch.autograd.Function):
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


def class_scale(index: Tensor) -> Tensor:
    """Standard deviation of a (continuous) scale class; clipped with a gradient that lets it come back."""
    clipped: Tensor = _Clipped.apply(index)  # type: ignore[no-untyped-call]
    return torch.exp(math.log(SCALE_MIN) + clipped * (math.log(SCALE_MAX / SCALE_MIN) / (CLASSES - 1)))


def scale_to_class(scale: Tensor) -> Tensor:
    """Inverse of ``class_scale``, not clipped."""
    return (scale.log() - math.log(SCALE_MIN)) * ((CLASSES - 1) / math.log(SCALE_MAX / SCALE_MIN))


def magnitude(symbols: Tensor) -> Tensor:
    """What a context network sees of symbols: log2(1 + |symbol|), on the grid of 2^-VALUE_BITS."""
    return _grid(torch.log2(1 + symbols.abs().clamp_max(MAGNITUDE_MAX)), VALUE_BITS, HIDDEN_MAX)


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


def first_half(latents: Tensor) -> Tensor:
    """bool (h, w): the places of latents (n, c, h, w) of the first stage that are coded first, those of an
    even y + x.
    """
    row, column = (torch.arange(size, device=latents.device) for size in latents.shape[2:])
    return (row[:, None] + column) % 2 == 0


def _round(x: Tensor) -> Tensor:
    return x + (x.round() - x).detach()


def _grid(x: Tensor, bits: int, most: int) -> Tensor:
    """x on the grid of 2^-bits, at most ``most`` steps from zero, with a straight-through gradient inside."""
    return _round((x * 2.0**bits).clamp(-most, most)) / 2.0**bits


def _integer_hidden(layer: nn.Conv2d, x: Tensor, more: Tensor | float = 0.0) -> Tensor:
    """relu(layer(x) + more), x on the grid of 2^-VALUE_BITS, with the integers that the decoder has."""
    assert layer.bias is not None
    sums = F.conv2d(
        x,
        _grid(layer.weight, WEIGHT_BITS, 127),
        _grid(layer.bias, WEIGHT_BITS + VALUE_BITS, 2**23),
        padding=layer.padding,
    )
    return _grid((sums + more).clamp_min(0), VALUE_BITS, HIDDEN_MAX)


def _linear_path(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """The linear path stays in float32: bfloat16 rounds large DC coefficients by half a quantization step."""
    with torch.autocast(x.device.type, enabled=False):
        result: Tensor = layer(x.float())
        return result


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


FAMILY = Family(name="codec", config=CodecConfig, sizes=SIZES, build=Codec)
