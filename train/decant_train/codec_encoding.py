"""What the runtime's encoder (effort 2) makes of pictures, in PyTorch: symbols chosen by rate and distortion,
decoded, the decoder's errors taken back to the latents, and chosen again. Tables are counted on that.
"""

from collections.abc import Callable
from itertools import accumulate

import torch
from torch import Tensor

from decant_train.families.codec import (
    Codec,
    Synthesis,
    class_scale,
    first_half,
    interpolated_lambdas,
    symbol_bits,
)

OVERSHOOT = (1.65, 1.35, 1.05)  # of the step that is sure to lower the error, in each round
_PATCH = 9  # latents a side: no synthesis looks further than half of it
_POWER_STEPS = 40


class Encoding:
    """The encoder of ``model``, which it does not change."""

    def __init__(self, model: Codec) -> None:
        self.model = model
        self._curvature = curvature(model.synthesis, model.hyperprior.deviation)[:, None, None]

    def aims(self, pictures: Tensor, position: Tensor) -> Tensor:
        """What is rounded at last: latents (n, M, h, w) for pictures float32 (n, 3, H, W) in [0, 1] at
        quality ``position`` (n,).
        """
        return self._corrected(pictures, position)[0]

    def decoded(self, pictures: Tensor, position: Tensor) -> Tensor:
        """The latents (n, M, h, w) that the decoder has in the end; arguments as of ``aims``."""
        y, latents_of = self._corrected(pictures, position)
        return latents_of(y)

    @torch.no_grad()
    def _corrected(self, pictures: Tensor, position: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """What ``aims`` gives, and what makes the decoder's latents of latents to be rounded."""
        model, prior = self.model, self.model.hyperprior
        gain, hyper_gain, offset, _ = model.quality(position)
        y: Tensor = model.analysis(pictures - 0.5)
        z = (prior.hyperlatents(y) * hyper_gain[:, :, None, None]).round()
        z_hat = model.dequantized(z, hyper_gain)
        gain = gain[:, :, None, None]
        mean = prior.mean(z_hat)
        weight = interpolated_lambdas(position)
        price = weight[:, None, None, None] * 255**2 / 3 * self._curvature / gain.square()

        @torch.no_grad()
        def latents_of(y: Tensor) -> Tensor:
            symbols, added = self._chosen((y - mean) * gain, z_hat, offset, price, gain)
            latents: Tensor = symbols / gain + mean
            latents[:, : added.shape[1]] += added
            return latents

        for step in OVERSHOOT:
            latents = latents_of(y).requires_grad_()
            with torch.enable_grad():
                made = model.synthesis(latents).clamp(-0.5, 0.5)
                error = 0.5 * (made - (pictures - 0.5)).square().sum()
            (slope,) = torch.autograd.grad(error, latents)
            y = latents.detach() - step * slope / self._curvature
        return y, latents_of

    @torch.no_grad()
    def _chosen(
        self, x: Tensor, z_hat: Tensor, offset: Tensor, price: Tensor, gain: Tensor
    ) -> tuple[Tensor, Tensor]:
        """x (n, M, h, w) in steps -> of its rounding, one and two steps nearer to 0, and 0, what has the
        least bits + ``price`` times squared error, part by part; and what the first half adds to the means of
        the first stage.
        """
        prior = self.model.hyperprior
        stages = self.model.config.stages
        first, *later = (
            slice(end - count, end) for end, count in zip(accumulate(stages), stages, strict=True)
        )
        x = x.clone()
        found = x.round()
        half = first_half(x)
        added = torch.zeros_like(x[:, first])
        for i, part in enumerate((first, first, *later)):
            scale = class_scale(prior.scale_class(z_hat, offset, found)[:, part])
            near, exact, worth = x[:, part].round(), x[:, part], price[:, part]
            best, least = near, symbol_bits(near, scale) + worth * (near - exact).square()
            for steps in (1.0, 2.0, float("inf")):
                candidate = near.sign() * (near.abs() - steps).clamp_min(0)
                cost = symbol_bits(candidate, scale) + worth * (candidate - exact).square()
                best, least = torch.where(cost < least, candidate, best), torch.minimum(cost, least)
            found[:, part] = best if i != 1 else torch.where(half, found[:, part], best)
            if not i:
                added = prior.half_mean_of(best, gain[:, part])
                x[:, part] -= added * gain[:, part]
        return found, added


def curvature(synthesis: Synthesis, deviation: Tensor) -> Tensor:
    """(M,): squared errors of latents, each times its channel's, summed, bound the squared error of the
    picture (values in 0..1, summed) that they make together. ``deviation`` (M,) is that of the latents.

    What a single latent makes, times the largest factor by which several make more (power iteration at
    latents of 0).
    """
    m = len(deviation)
    zero = torch.zeros(1, m, _PATCH, _PATCH, device=deviation.device)

    def pixels(latents: Tensor) -> Tensor:
        found: Tensor = synthesis(latents)
        return found

    alone = torch.empty(m, device=deviation.device)
    with torch.no_grad():
        nothing = pixels(zero)
        for c in range(m):
            single = zero.clone()
            single[0, c, _PATCH // 2, _PATCH // 2] = deviation[c]
            alone[c] = (pixels(single) - nothing).square().sum() / deviation[c].square()
    scale = alone.clamp_min(1e-12).sqrt()[None, :, None, None]
    vector = torch.randn(zero.shape, generator=torch.Generator().manual_seed(0)).to(deviation.device)
    factor = torch.ones((), device=deviation.device)
    for _ in range(_POWER_STEPS):
        vector = vector / vector.norm()
        _, made = torch.autograd.functional.jvp(pixels, zero, vector / scale)  # type: ignore[no-untyped-call]
        _, back = torch.autograd.functional.vjp(pixels, zero, made)  # type: ignore[no-untyped-call]
        vector = back / scale
        factor = vector.norm()
    return alone.clamp_min(1e-12) * factor.clamp_min(1.0)
