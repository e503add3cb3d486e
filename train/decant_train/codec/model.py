"""Family ``codec``: a variable-rate image codec with a light decoder.

    pictures -> analysis -> y ----------------> round((y - mean) * gain) -> symbols -> rANS
                            |                          ^             ^ scale index
                            v                          |             |
                  hyper analysis -> z -> round -> hyper synthesis, scale network, contexts

    symbols / gain + mean -> channel-conditional mean -> synthesis -> pictures

Shapes: y (n, M, H/16, W/16), z (n, N, H/64, W/64), symbols like y. The decoder is 1x1 and 3x3 convolutions,
ReLU, Add, Concat and DepthToSpace. Training starts from a linear codec (``decant_train.codec.initialise``):
the principal components of 16x16 patches are the first analysis and synthesis, and the branches on top start
at 0.

Rate. The mean is a float network of z: it moves pixels, never symbols. The scale index is a network of two
layers in integers, so that every machine picks the same table (Ballé et al. 2018, arXiv:1802.01436). Channels
are coded in groups; a later group sees the magnitudes of the earlier ones (Minnen and Singh 2020,
arXiv:2007.08739). The first groups are coded in two halves, the colours of a checkerboard: the first half
adds to scale indices and means of the second (He et al. 2021, arXiv:2103.15306).

Quality. A rate point is a row of gains for y (Cui et al. 2021, arXiv:2003.02012), gains for z as integer
multipliers that undo them, and offsets of scale indices. Between the trained rate points rows are
interpolated.

Training ends on what files hold. First everything learns on rounded latents, straight through the rounding.
Then the decoder and the entropy model train on the symbols that the real encoder sends (RDO quantization,
``decant_train.codec.encoder``). The analysis trains separately, to invert the frozen synthesis.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from decant_train.codec.config import (
    CLASSES,
    MULTIPLIER_MAX,
    RATE_POINTS,
    SIZES,
    VALUE_BITS,
    CodecConfig,
    with_renderer,
)
from decant_train.codec.distortion import distortion, distortions
from decant_train.codec.entropy_model import Hyperprior, class_scale, grid, round
from decant_train.codec.rate import between_rate_points, rate
from decant_train.codec.transforms import Analysis, Synthesis
from decant_train.common.family import Family

# Pictures, their latents (n, M, h, w), dequantized hyperlatents, the mean from these (n, M, h, w), gains
# (n, M, 1, 1), class offsets (n, M) and qualities (n,) -> what is coded instead of the latents, and its
# symbols.
Encode = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


class Terms(NamedTuple):
    """What training weighs, for each picture: bits of y and of z per pixel (n,), the distortion of
    each synthesis that ran (their number, n) of what is decoded, and the analysis' (n,), of latents as they
    are.
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
        self.beside = nn.ModuleDict({name: Synthesis(with_renderer(config, name)) for name in config.beside})
        self.hyperprior = Hyperprior(config)
        self._rate: Callable[[Tensor, Tensor, Tensor], Tensor] = rate
        # Natural logarithms of the gains of each anchor, offsets of the latents' scale classes, and the scale
        # classes that hyperlatents have as they are.
        self.log_gain = nn.Parameter(torch.zeros(RATE_POINTS, config.latents))
        self.log_hyper_gain = nn.Parameter(torch.zeros(RATE_POINTS, config.hyper))
        self.class_offset = nn.Parameter(torch.full((RATE_POINTS, config.latents), CLASSES / 2))
        self.hyper_class = nn.Parameter(torch.full((RATE_POINTS, config.hyper), CLASSES / 2))

    def compile_rate(self) -> None:
        """Let PyTorch compile the rate of training, a tenth of a step on a CPU; it needs a C++ compiler."""
        self._rate = torch.compile(rate)

    def quality(self, position: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gains of y (n, M), gains of z (n, hyper), class offsets of y (n, M) and classes of z (n, hyper) at
        ``position`` (n,), 0..ANCHORS-1, interpolated.
        """
        rows = (self.log_gain, self.log_hyper_gain, self.class_offset, self.hyper_class)
        gain, hyper_gain, offset, hyper_class = (between_rate_points(row, position) for row in rows)
        return gain.exp(), hyper_gain.exp(), offset, hyper_class

    def dequantized(self, z_symbols: Tensor, hyper_gain: Tensor) -> Tensor:
        """Symbols of hyperlatents (n, hyper, h/4, w/4), gains (n, hyper) -> the hyperlatents that a decoder
        has: times integer multipliers.
        """
        return z_symbols * grid(1 / hyper_gain, VALUE_BITS, MULTIPLIER_MAX)[:, :, None, None]

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
        self,
        pictures: Tensor,
        position: Tensor,
        encode: Encode | None = None,
        *,
        analysis: bool = True,
        syntheses: Collection[str] | None = None,
    ) -> Terms:
        """The terms of the loss of ``pictures`` at qualities ``position`` (n,). Without ``analysis`` that has
        no gradient. ``syntheses``: those to run, by their names in ``syntheses()``; None for all.

        Of latents that are rounded and no more, everything gets gradients of rate (``rate``) and, straight
        through the rounding, of distortion. Of what ``encode`` sends, all but the analysis does, which has an
        error of its own. Gains see the error of rounding shrink as they grow.
        """
        names = self.syntheses() if syntheses is None else syntheses
        gain, hyper_gain, offset, hyper_class = self.quality(position)
        with torch.set_grad_enabled(analysis and torch.is_grad_enabled()):
            y = self.analysis(pictures - 0.5)
        with torch.autocast(y.device.type, enabled=False):  # bfloat16 is too coarse for what is coded
            z = self.hyperprior.hyperlatents(y if encode is None else y.detach())
            z = z * hyper_gain[:, :, None, None]
            z_symbols = round(z)
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
        made = [synthesis(latents) for name, synthesis in self.syntheses().items() if name in names]
        error = distortions(made, pictures, self.config.measure)
        plain = torch.zeros_like(error[0])
        if analysis and encode is not None:
            weights = {name: value.detach() for name, value in self.synthesis.named_parameters()}
            plain = distortion(functional_call(self.synthesis, weights, (y,)), pictures, self.config.measure)
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
    return _part(model, replace(with_renderer(model.config, name), beside=()), f"beside.{name}")


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


FAMILY = Family(name="codec", config=CodecConfig, sizes=SIZES, build=Codec)
