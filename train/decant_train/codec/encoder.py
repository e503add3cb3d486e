"""The encoder of training: the runtime's encoder at its default effort, in PyTorch.

RDO quantization picks every symbol by bits + lambda times squared error (RDOQ: Karczewicz, Ye and Chong 2008,
ITU-T VCEG-AH21). Latent refinement then decodes, takes the pixel errors back to the
latents through the adjoint of the synthesis, moves the quantization targets and quantizes again (iterative
inference: Yang, Bamler and Mandt 2020, arXiv:2006.04240). Probability tables are counted on its symbols.

    y -> targets --> RDO quantization --> symbols --> latents --> synthesis --> pixels
            ^                                                                     |
            +---- momentum step / curvature <---- adjoint of the synthesis <---- errors
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from decant.codec.quantization import FAR
from decant.codec.refinement import MOMENTUM, overshoot
from decant.settings import DEFAULT_EFFORT, ROUNDS
from torch import Tensor

from decant_train.codec.config import PATCH, SCALE_COUNT
from decant_train.codec.entropy_model import anchor_positions, magnitude, scale_of_index
from decant_train.codec.model import Codec
from decant_train.codec.rate import interpolated_lambdas, symbol_bits
from decant_train.codec.sensitivity import sensitivity

FILE_ROUNDS = ROUNDS[DEFAULT_EFFORT]  # rounds of latent refinement in files
TRAINING_ROUNDS = 3  # they bring most of the gain
# The table of symbol costs has INDEX_STEPS rows per scale index, and sizes up to COST_SIZES - 1. Larger sizes
# cost the same: there, a symbol nearer to 0 is never worth its error.
INDEX_STEPS, COST_SIZES = 8, 48


class Sent(NamedTuple):
    """The result of encoding n pictures.

    ``targets`` (n, M, h, w): the latents that are quantized in the end; their ``symbols``, like them;
    ``z_hat`` (n, N, h/4, w/4): the dequantized hyperlatents; ``offset`` (n, M): scale-index offsets;
    ``latents`` (n, M, h, w): what the decoder has; ``bits``: estimated bits per pixel (n,).
    """

    targets: Tensor
    symbols: Tensor
    z_hat: Tensor
    offset: Tensor
    latents: Tensor
    bits: Tensor


class Encoding:
    """The encoder of ``model``, which it does not change, with ``rounds`` rounds of latent refinement.

    The sensitivity of the synthesis, ``rdo_weight`` and ``bound``, is measured when the encoder is made, on
    the first of ``pictures`` float32 (n, 3, H, W) in [0, 1] (``decant_train.codec.sensitivity``).
    """

    def __init__(self, model: Codec, pictures: Tensor, rounds: int = TRAINING_ROUNDS) -> None:
        self.model, self._rounds = model, rounds
        self.rdo_weight, self.bound = sensitivity(model, pictures)
        device = self.rdo_weight.device
        index = torch.arange(INDEX_STEPS * (SCALE_COUNT - 1) + 1, device=device)[:, None] / INDEX_STEPS
        self._bits = symbol_bits(torch.arange(COST_SIZES, device=device), scale_of_index(index)).flatten()

    def unrefined(self) -> "Encoding":
        """The same encoder without latent refinement."""
        other = copy.copy(self)
        other._rounds = 0
        return other

    def with_longer_steps(self, factor: float) -> "Encoding":
        """The same encoder with refinement steps ``factor`` times as long, and the rounds of files."""
        other = copy.copy(self)
        other.bound, other._rounds = self.bound / factor, FILE_ROUNDS
        return other

    @torch.no_grad()
    def sent(self, pictures: Tensor, rate_point: Tensor) -> Sent:
        """Encode pictures float32 (n, 3, H, W) in [0, 1] at ``rate_point`` (n,)."""
        model, prior = self.model, self.model.hyperprior
        gain, hyper_gain, offset, hyper_index = model.quality(rate_point)
        y: Tensor = model.analysis(pictures - 0.5)
        z, z_hat, mean = model.rounded_hyperlatents(y, hyper_gain)
        gain = gain[:, :, None, None]
        targets, symbols = self(pictures, y, z_hat, mean, gain, offset, rate_point)
        scale = scale_of_index(prior.scale_indices(z_hat, offset, symbols))
        bits = symbol_bits(symbols, scale).sum((1, 2, 3))
        bits += symbol_bits(z, scale_of_index(hyper_index)[:, :, None, None]).sum((1, 2, 3))
        latents = symbols / gain + prior.means(mean, symbols, gain)
        return Sent(targets, symbols, z_hat, offset, latents, bits / (pictures.shape[2] * pictures.shape[3]))

    @torch.no_grad()
    def __call__(
        self,
        pictures: Tensor,
        y: Tensor,
        z_hat: Tensor,
        mean: Tensor,
        gain: Tensor,
        offset: Tensor,
        rate_point: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Quantization targets and symbols of ``pictures``: ``decant_train.codec.model.Encode``."""
        model = self.model
        weight = self.channel_lambda(gain, rate_point)
        logits, hidden = model.hyperprior.scale_logits(z_hat, offset)
        step_size, around = pictures.new_ones(()), pictures.new_full((), torch.inf)
        update, targets = torch.zeros_like(y), y
        for i in range(self._rounds):
            symbols = self.rdo_quantized((targets - mean) * gain, logits, hidden, weight, gain)
            latents = symbols / gain + model.hyperprior.means(mean, symbols, gain)
            latents.requires_grad_()
            with torch.enable_grad():
                decoded = model.synthesis(latents).clamp(-0.5, 0.5)
                errors = (decoded - (pictures - 0.5)).square().sum(1, keepdim=True)
                error = 0.5 * errors.sum()
            (slope,) = torch.autograd.grad(error, latents)
            before, around = around, _local_errors(errors.detach())
            step_size = torch.where(around > FAR * before, step_size / 2, step_size)
            momentum = MOMENTUM * update - overshoot(i, self._rounds) * slope / self.bound[:, None, None]
            moved_targets = latents.detach() + step_size * momentum
            targets, update = moved_targets, moved_targets - targets
        return targets, self.rdo_quantized((targets - mean) * gain, logits, hidden, weight, gain)

    def channel_lambda(self, gain: Tensor, rate_point: Tensor) -> Tensor:
        """Per-channel lambda (n, M, 1, 1): bits per unit of squared error, in steps, for gains (n, M, 1, 1)
        at ``rate_point`` (n,).
        """
        weight = interpolated_lambdas(self.model.config, rate_point)[:, None, None, None] * 255**2 / 3
        return weight * self.rdo_weight[:, None, None] / gain.square()

    @torch.no_grad()
    def rdo_quantized(
        self, x: Tensor, logits: Sequence[Tensor], hidden: Tensor, channel_lambda: Tensor, gain: Tensor
    ) -> Tensor:
        """Symbols (n, M, h, w) of residuals ``x`` (n, M, h, w) in steps, in coding order.

        Each is the candidate with the least bits + ``channel_lambda`` times squared error. Candidates are the
        rounded value, that value one and two steps nearer to 0, and 0. ``logits`` and ``hidden`` are those of
        ``Hyperprior.scale_logits``.
        """
        prior, anchors = self.model.hyperprior, anchor_positions(x)
        coded = x[:, :0]  # symbols of the groups so far
        seen = coded  # their magnitudes
        for i, own in enumerate(prior.channels()):
            exact, own_logits = x[:, own], logits[i]
            if i and prior.prediction is not None:
                inputs = coded[:, : prior.prediction.in_channels]
                added = prior.predicted(inputs, gain[:, : inputs.shape[1]], i)
                count = added.shape[1]
                added = added * gain[:, own][:, :count]
                exact = torch.cat((exact[:, :count] - added, exact[:, count:]), 1)
            context = prior.contexts[i - 1](seen, hidden) if i else 0
            symbols = self._cheapest(exact, own_logits + context, channel_lambda[:, own])
            if i < len(prior.checkerboard_contexts):
                exact = exact - prior.checkerboard_mean_of(i, symbols, gain[:, own]) * gain[:, own]
                known = torch.cat((seen, magnitude(symbols) * anchors), 1)
                context = prior.checkerboard_contexts[i](known, hidden)
                again = self._cheapest(exact, own_logits + context, channel_lambda[:, own])
                symbols = torch.where(anchors, symbols, again)
            coded = torch.cat((coded, symbols), 1)
            if own.stop < x.shape[1]:
                seen = torch.cat((seen, magnitude(symbols)), 1)
        return coded

    def _cheapest(self, exact: Tensor, logits: Tensor, channel_lambda: Tensor) -> Tensor:
        """The symbols of one part. Scale indices are rounded to 1 / ``INDEX_STEPS``, which costs nothing."""
        rows = (logits * INDEX_STEPS).round().clamp(0, INDEX_STEPS * (SCALE_COUNT - 1)).int() * COST_SIZES
        nearest = exact.round()
        size, sign = nearest.abs(), nearest.sign()

        def cost(size: Tensor) -> Tensor:
            bits = self._bits[rows + size.clamp_max(COST_SIZES - 1).int()]
            return bits + channel_lambda * (sign * size - exact).square()

        least, best = cost(size), size
        for steps in (1.0, 2.0, float("inf")):
            fewer = (size - steps).clamp_min(0)
            other = cost(fewer)
            best, least = torch.where(other < least, fewer, best), torch.minimum(other, least)
        return sign * best


def _local_errors(errors: Tensor) -> Tensor:
    """Squared errors of pixels (n, 1, 16 h, 16 w), summed over each latent position and its eight
    neighbours: (n, 1, h, w).
    """
    return F.avg_pool2d(F.avg_pool2d(errors, PATCH, divisor_override=1), 3, 1, 1, divisor_override=1)
