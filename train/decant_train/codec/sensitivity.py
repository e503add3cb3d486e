"""Sensitivity of the synthesis: squared error of the picture per squared error of a latent.

It is the weight of errors in RDO quantization. Latent refinement divides its gradients by it, as a diagonal
preconditioner.
"""

import torch
from torch import Tensor

from decant_train.codec.config import RATE_POINTS
from decant_train.codec.distortion import Measure, distortion
from decant_train.codec.model import Codec
from decant_train.codec.transforms import Synthesis
from decant_train.data.photos import Photos

# The RDO weight is this share of ``curvature``, which bounds errors that all add up. Most do not.
RDO_SHARE = 0.7
# Gradients are divided by ``curvature`` times a factor of at least LEAST_DIVISOR. If a latent's peak
# sensitivity exceeds that at latents of 0, the factor is DIVISOR times their ratio to the power of CAUTION.
# The reason: where rectifiers are on, a few latents have several times the effect, and would diverge.
LEAST_DIVISOR, DIVISOR, CAUTION = 0.7, 0.49, 1.3
PROBES = 48  # random projections whose squared gradients are averaged
PROBES_EXCESS = 1.6  # the largest of some hundred such averages exceeds the true peak by this factor
MEASURED_ON = 12  # pictures whose latents are probed
WEIGHTS_MEASURED_ON = 4  # pictures for ``distortion_weight``
_WINDOW = 9  # latents a side: every receptive field is at most half of it to each side
_POWER_STEPS = 40


def probe_pictures(training: Photos, crop: int) -> Tensor:
    """Crops of training photos on which ``sensitivity`` measures: the same in every run."""
    return training.crops(MEASURED_ON, crop, torch.Generator().manual_seed(2))


def sensitivity(model: Codec, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """RDO weight and gradient divisor of each latent channel, both (M,).

    The RDO weight is the squared error of the picture (values in 0..1, summed) per squared error of a latent.
    Measured on the first ``MEASURED_ON`` of ``pictures`` float32 (n, 3, H, W) in [0, 1].
    """
    single = single_latent_energy(model.synthesis, model.hyperprior.deviation)
    bound = curvature(model.synthesis, single)
    with torch.no_grad():
        latents = model.analysis(pictures[:MEASURED_ON] - 0.5)
    excess = peak_energy(model.synthesis, latents) / single
    rdo_weight = RDO_SHARE * bound * distortion_weight(model, model.config.measure, pictures)
    return rdo_weight, bound * (DIVISOR * excess.pow(CAUTION)).clamp_min(LEAST_DIVISOR)


@torch.no_grad()
def distortion_weight(model: Codec, measure: Measure, pictures: Tensor) -> Tensor:
    """(M,): distortion ``measure`` per squared error of the picture, for errors from one latent channel.

    It is 1 for the squared error itself. With MS-SSIM coarse structure weighs more than fine structure.
    Measured with noise of half a step at the middle quality, on the first of ``pictures``.
    """
    m = model.config.latents
    if measure.is_squared_error:
        return torch.ones(m, device=pictures.device)
    pictures = pictures[:WEIGHTS_MEASURED_ON]
    n = len(pictures)
    rate_point = torch.full((n,), (RATE_POINTS - 1) / 2, device=pictures.device)
    latents = model.decoded_latents(pictures, rate_point).requires_grad_()
    step = 0.5 / model.quality(rate_point)[0]
    with torch.enable_grad():
        decoded = model.synthesis(latents)
        before = distortion(decoded, pictures, measure)
        (slope,) = torch.autograd.grad(before.sum(), latents)
    generator, weights = torch.Generator().manual_seed(0), []
    for c in range(m):
        noise = torch.randn(latents[:, c].shape, generator=generator).to(latents.device)
        noise = noise * step[:, c, None, None]
        noisy = latents.detach().clone()
        noisy[:, c] += noise
        other = model.synthesis(noisy)
        added = distortion(other, pictures, measure) - before - (slope[:, c] * noise).sum((1, 2))
        weights.append((added.mean() / (other - decoded).square().mean()).clamp_min(1e-6))
    return torch.stack(weights)


def peak_energy(synthesis: Synthesis, latents: Tensor) -> Tensor:
    """(M,): squared error of the picture per squared small error of one of ``latents`` (n, M, h, w), at the
    position where it is largest; estimated by random projections (Hutchinson 1989).
    """
    generator = torch.Generator().manual_seed(0)
    latents = latents.detach().requires_grad_()
    total = torch.zeros(latents.shape, device=latents.device)
    with torch.enable_grad():
        decoded: Tensor = synthesis(latents)
    for _ in range(PROBES):
        signs = torch.randint(0, 2, decoded.shape, generator=generator).to(decoded.device) * 2.0 - 1.0
        (slope,) = torch.autograd.grad(decoded, latents, signs, retain_graph=True)
        total += slope.square() / PROBES
    return total.amax((0, 2, 3)).clamp_min(1e-12) / PROBES_EXCESS


@torch.no_grad()
def single_latent_energy(synthesis: Synthesis, deviation: Tensor) -> Tensor:
    """(M,): as ``peak_energy``, for an error of ``deviation`` (M,) in one latent where all others are 0."""
    m = len(deviation)
    zero = torch.zeros(1, m, _WINDOW, _WINDOW, device=deviation.device)
    energy, base = torch.empty(m, device=deviation.device), synthesis(zero)
    for c in range(m):
        single = zero.clone()
        single[0, c, _WINDOW // 2, _WINDOW // 2] = deviation[c]
        energy[c] = (synthesis(single) - base).square().sum() / deviation[c].square()
    return energy.clamp_min(1e-12)


def curvature(synthesis: Synthesis, single: Tensor) -> Tensor:
    """(M,): weights so that the sum of weighted squared latent errors bounds the squared error of the picture
    (values in 0..1, summed).

    They are ``single`` (M,), from ``single_latent_energy``, times the largest factor by which several errors
    add up: power iteration at latents of 0.
    """
    zero = torch.zeros(1, len(single), _WINDOW, _WINDOW, device=single.device)

    def pixels(latents: Tensor) -> Tensor:
        picture: Tensor = synthesis(latents)
        return picture

    scale = single.sqrt()[None, :, None, None]
    vector = torch.randn(zero.shape, generator=torch.Generator().manual_seed(0)).to(single.device)
    factor = torch.ones((), device=single.device)
    for _ in range(_POWER_STEPS):
        vector = vector / vector.norm()
        _, picture = torch.autograd.functional.jvp(pixels, zero, vector / scale)  # type: ignore[no-untyped-call]
        _, back = torch.autograd.functional.vjp(pixels, zero, picture)  # type: ignore[no-untyped-call]
        vector = back / scale
        factor = vector.norm()
    return single * factor.clamp_min(1.0)
