"""Family ``codec``: a variable-rate image codec with a light decoder.

    pictures -> analysis -> y -------------------> round((y - mean) * gain) -> symbols -> rANS
                            |                             ^             ^ scale index
                            v                             |             |
                  hyper analysis -> z -> round -> hyper synthesis, scale network, contexts

    symbols / gain + mean -> channel-conditional mean -> synthesis -> pictures

Shapes: pictures (n, 3, H, W), y (n, M, H/16, W/16), z (n, N, H/64, W/64), symbols like y. The decoder is 1x1
and 3x3 convolutions, ReLU, Add, Concat and DepthToSpace. Training starts from a linear codec
(``decant_train.codec.initialise``): the principal components of 16x16 patches are the first analysis and
synthesis, and the branches on top start at 0.

Rate. The mean is a float network of z: it affects pixels, never symbols. The scale index is a network of two
layers in integers, so that every machine takes the same table (Ballé et al. 2018, arXiv:1802.01436; integer
networks: Ballé et al. 2019, openreview S1zz2i0cY7). Channels are coded in groups; a later group sees the
magnitudes of the earlier ones (Minnen and Singh 2020, arXiv:2007.08739). The first groups are coded as a
checkerboard: the anchor positions come first, and correct scale indices and means of the non-anchors (He et
al. 2021, arXiv:2103.15306).

Quality. A rate point is a row of gains for y (Cui et al. 2021, arXiv:2003.02012), gains for z as integer
multipliers that undo them, and offsets of scale indices. Between the trained rate points rows are
interpolated.

Training has two phases. In the first one everything trains on rounded latents, with straight-through
gradients. In the last one the decoder and the entropy model train on the symbols that the real encoder writes
into files (RDO quantization, ``decant_train.codec.encoder``). The analysis then trains separately, to invert
the frozen synthesis.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from decant_train.codec.config import (
    CONFIG_KEYS,
    MULTIPLIER_MAX,
    RATE_POINTS,
    SCALE_COUNT,
    SIZES,
    VALUE_BITS,
    CodecConfig,
    with_renderer,
)
from decant_train.codec.distortion import distortion, distortions
from decant_train.codec.entropy_model import Hyperprior, grid, round, scale_of_index
from decant_train.codec.rate import between_rate_points, rate
from decant_train.codec.transforms import Analysis, Synthesis
from decant_train.common.family import Family
from decant_train.common.serialized_names import keep_tensor_names

# Attribute -> its name in checkpoints.
TENSOR_NAMES = {"scale_offset": "class_offset", "hyper_scale_index": "hyper_class"}

# An encoder: pictures, their latents y (n, M, h, w), dequantized hyperlatents, the mean from these (n, M, h,
# w), gains (n, M, 1, 1), scale-index offsets (n, M) and rate points (n,) -> quantization targets (n, M, h, w)
# and their symbols.
Encode = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class Terms(NamedTuple):
    """Terms of the training loss for n pictures.

    * ``y_bits``, ``z_bits`` (n,): bits per pixel of latents and of hyperlatents;
    * ``error`` (syntheses, n): distortion of the pictures of each synthesis that ran;
    * ``analysis_error`` (n,): the distortion that trains the analysis while an encoder chooses the symbols;
    * ``hyper_square`` (n,): mean square of hyperlatents before their gains.
    """

    y_bits: Tensor
    z_bits: Tensor
    error: Tensor
    analysis_error: Tensor
    hyper_square: Tensor


class Codec(nn.Module):
    """The whole codec. ``forward`` gives rate and distortion of a batch at any rate points."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config)
        self.synthesis = Synthesis(config)
        self.beside = nn.ModuleDict({name: Synthesis(with_renderer(config, name)) for name in config.beside})
        self.hyperprior = Hyperprior(config)
        self._rate: Callable[[Tensor, Tensor, Tensor], Tensor] = rate
        # One row per rate point: natural logarithms of the gains of y and z, offsets of the latents'
        # scale-index logits, and scale indices of the hyperlatents.
        self.log_gain = nn.Parameter(torch.zeros(RATE_POINTS, config.latents))
        self.log_hyper_gain = nn.Parameter(torch.zeros(RATE_POINTS, config.hyper))
        self.scale_offset = nn.Parameter(torch.full((RATE_POINTS, config.latents), SCALE_COUNT / 2))
        self.hyper_scale_index = nn.Parameter(torch.full((RATE_POINTS, config.hyper), SCALE_COUNT / 2))
        keep_tensor_names(self, TENSOR_NAMES, {})

    def compile_rate(self) -> None:
        """Let PyTorch compile the rate term. It saves a tenth of a step on a CPU; needs a C++ compiler."""
        self._rate = torch.compile(rate)

    def quality(self, rate_point: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gains of y (n, M), gains of z (n, N), scale-index offsets of y (n, M) and scale indices of z (n, N)
        at ``rate_point`` (n,), 0..RATE_POINTS-1, interpolated.
        """
        rows = (self.log_gain, self.log_hyper_gain, self.scale_offset, self.hyper_scale_index)
        gain, hyper_gain, offset, hyper_index = (between_rate_points(row, rate_point) for row in rows)
        return gain.exp(), hyper_gain.exp(), offset, hyper_index

    def dequantized(self, z_symbols: Tensor, hyper_gain: Tensor) -> Tensor:
        """Symbols of hyperlatents (n, N, h/4, w/4), gains (n, N) -> the decoder's hyperlatents, which are
        symbols times integer multipliers.
        """
        return z_symbols * grid(1 / hyper_gain, VALUE_BITS, MULTIPLIER_MAX)[:, :, None, None]

    def syntheses(self) -> dict[str, Synthesis]:
        """All syntheses by name: its own is "", the others are those of ``config.beside``."""
        return {"": self.synthesis, **{name: self._beside(name) for name in self.beside}}

    def _beside(self, name: str) -> Synthesis:
        synthesis = self.beside[name]
        assert isinstance(synthesis, Synthesis)
        return synthesis

    def forward(self, pictures: Tensor, rate_point: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures float32 (n, 3, H, W) in [0, 1], H and W multiples of 64; ``rate_point`` (n,).

        Returns ``y_bits``, ``z_bits`` and ``error`` of ``Terms``, for plainly rounded latents.
        """
        return self.terms(pictures, rate_point)[:3]

    def terms(
        self,
        pictures: Tensor,
        rate_point: Tensor,
        encode: Encode | None = None,
        *,
        analysis: bool = True,
        syntheses: Collection[str] | None = None,
    ) -> Terms:
        """The terms of the loss of ``pictures`` (n, 3, H, W) in [0, 1] at ``rate_point`` (n,).

        Without ``encode``, latents are rounded. Everything gets gradients of rate (``rate``) and, straight
        through the rounding, of distortion. So do gains: the rounding error shrinks as they grow.

        With ``encode``, everything but the analysis trains on the symbols that it chooses. The analysis then
        has an error of its own. If ``analysis`` is False, the analysis gets no gradient. ``syntheses`` names
        those to run; None means all.

        Hyperlatents pass no gradient to the analysis. Their network sees latents in units of their
        deviations, also those whose symbols are always 0. No other term constrains the latter. With that
        gradient they drift, hyperlatents follow, and the training diverges within a few thousand steps.
        """
        names = self.syntheses() if syntheses is None else syntheses
        gain, hyper_gain, offset, hyper_index = self.quality(rate_point)
        with torch.set_grad_enabled(analysis and torch.is_grad_enabled()):
            y = self.analysis(pictures - 0.5)
        with torch.autocast(y.device.type, enabled=False):  # bfloat16 is too coarse for values that are coded
            z = self.hyperprior.hyperlatents(y.detach())
            hyper_square = z.square().mean((1, 2, 3))
            z = z * hyper_gain[:, :, None, None]
            z_symbols = round(z)
            z_bits = self._rate(z, z_symbols, scale_of_index(hyper_index)[:, :, None, None])
            z_hat = self.dequantized(z_symbols, hyper_gain)
            gain = gain[:, :, None, None]
            mean = self.hyperprior.mean(z_hat)
            if encode is None:
                targets, symbols = y, self.rounded(y, mean, gain)
            else:
                targets, symbols = encode(pictures, y.detach(), z_hat, mean, gain, offset, rate_point)
            residual = (targets - self.hyperprior.means(mean, symbols, gain)) * gain
            scale = scale_of_index(self.hyperprior.scale_indices(z_hat, offset, symbols))
            y_bits = self._rate(residual, symbols, scale)
            latents = targets + (symbols - residual).detach() / gain
        decoded = [synthesis(latents) for name, synthesis in self.syntheses().items() if name in names]
        error = distortions(decoded, pictures, self.config.measure)
        analysis_error = torch.zeros_like(error[0])
        if analysis and encode is not None:
            frozen = {name: value.detach() for name, value in self.synthesis.named_parameters()}
            unquantized = functional_call(self.synthesis, frozen, (y,))
            analysis_error = distortion(unquantized, pictures, self.config.measure)
        pixels = pictures.shape[2] * pictures.shape[3]
        y_bits, z_bits = (bits.sum((1, 2, 3)) / pixels for bits in (y_bits, z_bits))
        return Terms(y_bits, z_bits, error, analysis_error, hyper_square)

    @torch.no_grad()
    def rounded_hyperlatents(self, y: Tensor, hyper_gain: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Latents y (n, M, h, w), gains (n, N) -> symbols of the hyperlatents, dequantized hyperlatents, both
        (n, N, h/4, w/4), and the mean of y that these give (n, M, h, w).
        """
        z = (self.hyperprior.hyperlatents(y) * hyper_gain[:, :, None, None]).round()
        z_hat = self.dequantized(z, hyper_gain)
        return z, z_hat, self.hyperprior.mean(z_hat)

    @torch.no_grad()
    def decoded_latents(self, pictures: Tensor, rate_point: Tensor) -> Tensor:
        """The decoder's latents (n, M, H/16, W/16) of ``pictures`` float32 (n, 3, H, W) in [0, 1] at
        ``rate_point`` (n,), plainly rounded.
        """
        gain, hyper_gain, _, _ = self.quality(rate_point)
        y, gain = self.analysis(pictures - 0.5), gain[:, :, None, None]
        _, _, mean = self.rounded_hyperlatents(y, hyper_gain)
        symbols = self.rounded(y, mean, gain)
        return symbols / gain + self.hyperprior.means(mean, symbols, gain)

    @torch.no_grad()
    def rounded(self, y: Tensor, mean: Tensor, gain: Tensor) -> Tensor:
        """Symbols (n, M, h, w): rounded residuals of latents y with ``mean`` (both n, M, h, w) and ``gain``
        (n, M, 1, 1). Means depend on the symbols of earlier parts, hence the passes.
        """
        # Each pass makes the next part final: anchors, non-anchors, then group after group.
        symbols = ((y - mean) * gain).round()
        groups, checkerboards = len(self.config.channel_groups), self.config.checkerboard_groups
        for _ in range(checkerboards if self.hyperprior.prediction is None else groups + checkerboards - 1):
            symbols = ((y - self.hyperprior.means(mean, symbols, gain)) * gain).round()
        return symbols


def part(model: Codec, name: str) -> Codec:
    """A copy of ``model`` whose synthesis is ``name`` of ``model.config.beside``. All other weights are those
    of ``model``. Raises ValueError if there is no such synthesis.
    """
    if name not in model.config.beside:
        there = ", ".join(model.config.beside) or "none"
        raise ValueError(f"no synthesis {name!r} was trained beside this codec's own; there: {there}")
    return _part(model, replace(with_renderer(model.config, name), beside=()), f"beside.{name}")


def alone(model: Codec) -> Codec:
    """A copy of ``model`` with its own synthesis only."""
    return _part(model, replace(model.config, beside=()), "synthesis")


def _part(model: Codec, config: CodecConfig, synthesis: str) -> Codec:
    """A codec of ``config`` with ``model``'s weights and its ``synthesis`` of the given name."""
    single, state = Codec(config), model.state_dict()
    names = {name: name for name in single.state_dict()}
    names |= {
        name: name.replace("synthesis.", f"{synthesis}.", 1)
        for name in names
        if name.startswith("synthesis.")
    }
    single.load_state_dict({name: state[source] for name, source in names.items()})
    return single.eval()


FAMILY = Family(name="codec", config=CodecConfig, sizes=SIZES, build=Codec, config_keys=CONFIG_KEYS)
