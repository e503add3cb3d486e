"""What the runtime's encoder (effort 2) makes of pictures, in PyTorch: symbols chosen by rate and distortion,
decoded, the decoder's errors taken back to the latents, and chosen again. Tables are counted on that.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from decant.codec.encoder import MOMENTUM, overshoot
from decant.codec.quantization import FAR
from decant.settings import DEFAULT_EFFORT, ROUNDS
from torch import Tensor

from decant_train.codec.config import CLASSES, PATCH, RATE_POINTS
from decant_train.codec.distortion import Measure, distortion
from decant_train.codec.entropy_model import anchor_positions, class_scale, magnitude
from decant_train.codec.model import Codec
from decant_train.codec.rate import interpolated_lambdas, symbol_bits
from decant_train.codec.transforms import Synthesis
from decant_train.data.photos import Photos

IN_FILES = ROUNDS[DEFAULT_EFFORT]  # rounds of correction
IN_TRAINING = 3  # what most of them bring
# Of ``curvature``, what symbols are priced at: that bounds errors which add up, and most do not.
PRICED = 0.7
# Of ``curvature``, what gradients are divided by: at least so much, and so much times a power of what a
# latent's peak has beyond its error at latents of 0. Where rectifiers let through, a few latents make several
# times as much, and would diverge.
LEAST_DIVIDED, DIVIDED, CAUTION = 0.7, 0.49, 1.3
# Bits of symbols are listed for so many steps of a class, and for sizes up to _LISTED - 1; larger ones cost
# the same: there what is nearer to 0 is never worth its error.
_FINE, _LISTED = 8, 48
_PATCH = 9  # latents a side: no synthesis looks further than half of it
_POWER_STEPS = 40
_PROBES = 48  # pictures of random signs, of which the squares of gradients are means
_LARGEST = 1.6  # of the means of so many, in some hundred places
MEASURED_ON = 12  # pictures whose latents are probed
_COUNTED_ON = 4


class Sent(NamedTuple):
    """What an encoder makes of n pictures: ``aims`` (n, M, h, w), what is rounded at last, its ``symbols``,
    the dequantized hyperlatents ``z_hat`` and class ``offset`` (n, M) that their classes start from, the
    ``latents`` (n, M, h, w) that the decoder has in the end, and estimated ``bits`` per pixel (n,).
    """

    aims: Tensor
    symbols: Tensor
    z_hat: Tensor
    offset: Tensor
    latents: Tensor
    bits: Tensor


class Encoding:
    """The encoder of ``model``, which it does not change, with so many ``rounds`` of correction. What errors
    of latents do is measured when it is made, on the first of ``pictures`` float32 (n, 3, H, W) in [0, 1]:
    ``worth`` and ``bound``, as ``metrics`` says.
    """

    def __init__(self, model: Codec, pictures: Tensor, rounds: int = IN_TRAINING) -> None:
        self.model, self._rounds = model, rounds
        self.worth, self.bound = metrics(model, pictures)
        device = self.worth.device
        index = torch.arange(_FINE * (CLASSES - 1) + 1, device=device)[:, None] / _FINE
        self._bits = symbol_bits(torch.arange(_LISTED, device=device), class_scale(index)).flatten()

    def uncorrected(self) -> "Encoding":
        """The same encoder without corrections."""
        found = copy.copy(self)
        found._rounds = 0
        return found

    def farther(self, factor: float) -> "Encoding":
        """The same encoder with steps so many times as long, and the rounds that files have."""
        found = copy.copy(self)
        found.bound, found._rounds = self.bound / factor, IN_FILES
        return found

    @torch.no_grad()
    def sent(self, pictures: Tensor, position: Tensor) -> Sent:
        """What pictures float32 (n, 3, H, W) in [0, 1] become at quality ``position`` (n,)."""
        model, prior = self.model, self.model.hyperprior
        gain, hyper_gain, offset, hyper_class = model.quality(position)
        y: Tensor = model.analysis(pictures - 0.5)
        z, z_hat, mean = model.rounded_hyperlatents(y, hyper_gain)
        gain = gain[:, :, None, None]
        y, symbols = self(pictures, y, z_hat, mean, gain, offset, position)
        scale = class_scale(prior.scale_class(z_hat, offset, symbols))
        bits = symbol_bits(symbols, scale).sum((1, 2, 3))
        bits += symbol_bits(z, class_scale(hyper_class)[:, :, None, None]).sum((1, 2, 3))
        latents = symbols / gain + prior.means(mean, symbols, gain)
        return Sent(y, symbols, z_hat, offset, latents, bits / (pictures.shape[2] * pictures.shape[3]))

    @torch.no_grad()
    def __call__(
        self,
        pictures: Tensor,
        y: Tensor,
        z_hat: Tensor,
        mean: Tensor,
        gain: Tensor,
        offset: Tensor,
        position: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """As ``decant_train.codec.model.Encode`` says."""
        model = self.model
        price = self.price(gain, position)
        forms, hidden = model.hyperprior.forms(z_hat, offset)
        reach, around = pictures.new_ones(()), pictures.new_full((), torch.inf)
        moved = torch.zeros_like(y)
        for i in range(self._rounds):
            symbols = self.chosen((y - mean) * gain, forms, hidden, price, gain)
            latents = symbols / gain + model.hyperprior.means(mean, symbols, gain)
            latents.requires_grad_()
            with torch.enable_grad():
                made = model.synthesis(latents).clamp(-0.5, 0.5)
                errors = (made - (pictures - 0.5)).square().sum(1, keepdim=True)
                error = 0.5 * errors.sum()
            (slope,) = torch.autograd.grad(error, latents)
            before, around = around, _around(errors.detach())
            reach = torch.where(around > FAR * before, reach / 2, reach)
            step = overshoot(i, self._rounds)
            way = MOMENTUM * moved - step * slope / self.bound[:, None, None]
            aims = latents.detach() + reach * way
            y, moved = aims, aims - y
        return y, self.chosen((y - mean) * gain, forms, hidden, price, gain)

    def price(self, gain: Tensor, position: Tensor) -> Tensor:
        """Bits that a unit of squared error, in steps, is worth (n, M, 1, 1), with gains (n, M, 1, 1) of the
        qualities ``position`` (n,).
        """
        weight = interpolated_lambdas(position)[:, None, None, None] * 255**2 / 3
        return weight * self.worth[:, None, None] / gain.square()

    @torch.no_grad()
    def chosen(
        self, x: Tensor, forms: Sequence[Tensor], hidden: Tensor, price: Tensor, gain: Tensor
    ) -> Tensor:
        """x (n, M, h, w) in steps -> of its rounding, one and two steps nearer to 0, and 0, what has the
        least bits + ``price`` times squared error, part by part. ``forms``: the classes of each stage, as far
        as hyperlatents tell, and the ``hidden`` values of that.
        """
        prior, half = self.model.hyperprior, anchor_positions(x)
        found = x[:, :0]  # the symbols of the stages so far
        seen = found
        for i, own in enumerate(prior.channels()):
            exact, form = x[:, own], forms[i]
            if i and prior.prediction is not None:
                known = found[:, : prior.prediction.in_channels]
                added = prior.predicted(known, gain[:, : known.shape[1]], i)
                count = added.shape[1]
                added = added * gain[:, own][:, :count]
                exact = torch.cat((exact[:, :count] - added, exact[:, count:]), 1)
            context = prior.contexts[i - 1](seen, hidden) if i else 0
            symbols = self._picked(exact, form + context, price[:, own])
            if i < len(prior.half_contexts):
                exact = exact - prior.half_mean_of(i, symbols, gain[:, own]) * gain[:, own]
                known = torch.cat((seen, magnitude(symbols) * half), 1)
                again = self._picked(exact, form + prior.half_contexts[i](known, hidden), price[:, own])
                symbols = torch.where(half, symbols, again)
            found = torch.cat((found, symbols), 1)
            if own.stop < x.shape[1]:
                seen = torch.cat((seen, magnitude(symbols)), 1)
        return found

    def _picked(self, exact: Tensor, form: Tensor, price: Tensor) -> Tensor:
        """The symbols of one part; bits as of ``_FINE`` classes for one, which is as good."""
        rows = (form * _FINE).round().clamp(0, _FINE * (CLASSES - 1)).int() * _LISTED
        best = exact.round()
        size, sign = best.abs(), best.sign()

        def cost(size: Tensor) -> Tensor:
            bits = self._bits[rows + size.clamp_max(_LISTED - 1).int()]
            return bits + price * (sign * size - exact).square()

        least, taken = cost(size), size
        for steps in (1.0, 2.0, float("inf")):
            fewer = (size - steps).clamp_min(0)
            other = cost(fewer)
            taken, least = torch.where(other < least, fewer, taken), torch.minimum(other, least)
        return sign * taken


def _around(errors: Tensor) -> Tensor:
    """Squared errors of pixels (n, 1, 16 h, 16 w) -> their sums around each latent, of its own and its eight
    neighbours' pixels: (n, 1, h, w).
    """
    return F.avg_pool2d(F.avg_pool2d(errors, PATCH, divisor_override=1), 3, 1, 1, divisor_override=1)


def probes(training: Photos, crop: int) -> Tensor:
    """Crops of training photos on which ``metrics`` measures: the same in every run."""
    return training.crops(MEASURED_ON, crop, torch.Generator().manual_seed(2))


def metrics(model: Codec, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """What an encoder of ``model`` goes by, (M,) each: what a squared error in a latent is worth in the
    picture (values in 0..1, summed), and what gradients are divided by for a step. Measured on the latents of
    the first ``MEASURED_ON`` of ``pictures`` float32 (n, 3, H, W) in [0, 1].
    """
    single = at_zero(model.synthesis, model.hyperprior.deviation)
    bound = curvature(model.synthesis, single)
    with torch.no_grad():
        latents = model.analysis(pictures[:MEASURED_ON] - 0.5)
    rough = peaks(model.synthesis, latents) / single
    worth = PRICED * bound * counted(model, model.config.measure, pictures)
    return worth, bound * (DIVIDED * rough.pow(CAUTION)).clamp_min(LEAST_DIVIDED)


@torch.no_grad()
def counted(model: Codec, measure: Measure, pictures: Tensor) -> Tensor:
    """(M,): what squared error of the picture adds to the distortion ``measure``, where it comes from errors
    in one channel: 1 for the squared error itself; with MS-SSIM more for coarse structure than for fine.
    Measured by noise of half a step at the middle quality, on the first of ``pictures``.
    """
    m = model.config.latents
    if measure.is_squared_error:
        return torch.ones(m, device=pictures.device)
    pictures = pictures[:_COUNTED_ON]
    n = len(pictures)
    position = torch.full((n,), (RATE_POINTS - 1) / 2, device=pictures.device)
    latents = model.decoded_latents(pictures, position).requires_grad_()
    step = 0.5 / model.quality(position)[0]
    with torch.enable_grad():
        made = model.synthesis(latents)
        before = distortion(made, pictures, measure)
        (slope,) = torch.autograd.grad(before.sum(), latents)
    generator, found = torch.Generator().manual_seed(0), []
    for c in range(m):
        noise = (
            torch.randn(latents[:, c].shape, generator=generator).to(latents.device) * step[:, c, None, None]
        )
        moved = latents.detach().clone()
        moved[:, c] += noise
        other = model.synthesis(moved)
        added = distortion(other, pictures, measure) - before - (slope[:, c] * noise).sum((1, 2))
        found.append((added.mean() / (other - made).square().mean()).clamp_min(1e-6))
    return torch.stack(found)


def peaks(synthesis: Synthesis, latents: Tensor) -> Tensor:
    """(M,): the squared error of the picture that a small error in one of ``latents`` (n, M, h, w) makes,
    over its square, in the place where it is largest; estimated by random projections.
    """
    generator = torch.Generator().manual_seed(0)
    latents = latents.detach().requires_grad_()
    total = torch.zeros(latents.shape, device=latents.device)
    with torch.enable_grad():
        made: Tensor = synthesis(latents)
    for _ in range(_PROBES):
        signs = torch.randint(0, 2, made.shape, generator=generator).to(made.device) * 2.0 - 1.0
        (slope,) = torch.autograd.grad(made, latents, signs, retain_graph=True)
        total += slope.square() / _PROBES
    return total.amax((0, 2, 3)).clamp_min(1e-12) / _LARGEST


@torch.no_grad()
def at_zero(synthesis: Synthesis, deviation: Tensor) -> Tensor:
    """(M,): as ``peaks``, of an error of ``deviation`` (M,) in one of latents that are 0."""
    m = len(deviation)
    zero = torch.zeros(1, m, _PATCH, _PATCH, device=deviation.device)
    found, nothing = torch.empty(m, device=deviation.device), synthesis(zero)
    for c in range(m):
        single = zero.clone()
        single[0, c, _PATCH // 2, _PATCH // 2] = deviation[c]
        found[c] = (synthesis(single) - nothing).square().sum() / deviation[c].square()
    return found.clamp_min(1e-12)


def curvature(synthesis: Synthesis, single: Tensor) -> Tensor:
    """(M,): squared errors of latents, each times its channel's, summed, bound the squared error of the
    picture (values in 0..1, summed) that they make together.

    What a ``single`` latent makes (M,), as ``at_zero`` has it, times the largest factor by which several make
    more (power iteration at latents of 0).
    """
    zero = torch.zeros(1, len(single), _PATCH, _PATCH, device=single.device)

    def pixels(latents: Tensor) -> Tensor:
        found: Tensor = synthesis(latents)
        return found

    scale = single.sqrt()[None, :, None, None]
    vector = torch.randn(zero.shape, generator=torch.Generator().manual_seed(0)).to(single.device)
    factor = torch.ones((), device=single.device)
    for _ in range(_POWER_STEPS):
        vector = vector / vector.norm()
        _, made = torch.autograd.functional.jvp(pixels, zero, vector / scale)  # type: ignore[no-untyped-call]
        _, back = torch.autograd.functional.vjp(pixels, zero, made)  # type: ignore[no-untyped-call]
        vector = back / scale
        factor = vector.norm()
    return single * factor.clamp_min(1.0)
