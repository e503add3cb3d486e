"""First weights of a codec: a linear transform codec measured on the training photos.

Training starts from the quality of a Karhunen-Loève transform of 16x16 patches, not from noise.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decant_train.codec.config import PATCH, PIXELS, RATE_POINTS
from decant_train.codec.entropy_model import index_of_scale, scale_of_index
from decant_train.codec.layers import Residual
from decant_train.codec.model import Codec
from decant_train.codec.transforms import Synthesis
from decant_train.common.optimizers import Coordinates, Scaled, Whitened

# Quantization step at lambda 1: least rate + lambda distortion of a uniform quantizer at high rate.
STEP = 4.9 / 255
LEAST_DEVIATION = 0.03  # inputs that vary less count as varying so much
MIDDLE_DEVIATION = 0.25  # of the latents: their quantization step at middle qualities
ADDED = 0.02  # deviation of what a latent adds to a channel that a copied synthesis did not have
LATENT_STEP = 0.2  # deviation of latents for which their weights move at the common rate


@torch.no_grad()
def start_from_principal_components(model: Codec, patches: Tensor) -> None:
    """Set analysis, synthesis, gains and scale-index offsets of ``model`` to the linear transform codec of
    the principal components of ``patches``, float32 (n, 3, 16, 16) in [0, 1], n at least 768.
    """
    config = model.config
    flat = patches.reshape(len(patches), PIXELS).double() - 0.5
    mean = flat.mean(0)
    values, vectors = torch.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
    basis = vectors.flip(1)[:, : config.latents].T  # (M, 768), orthonormal rows
    deviations = values.flip(0)[: config.latents].clamp_min(1e-12).sqrt()

    model.analysis.linear.weight.copy_(basis.reshape(config.latents, 3, PATCH, PATCH))
    bias_of(model.analysis.linear).copy_(-(basis @ mean))

    # Each 4x4 block of a patch is seen through the R principal directions that all blocks share.
    blocks = (
        basis.reshape(config.latents, 3, 4, 4, 4, 4).permute(2, 4, 1, 3, 5, 0).reshape(16, 48, config.latents)
    )
    mean_blocks = mean.reshape(3, 4, 4, 4, 4).permute(1, 3, 0, 2, 4).reshape(16, 48)
    weighted = blocks * deviations
    second_moment = torch.einsum("bpm,bqm->pq", weighted, weighted) + mean_blocks.T @ mean_blocks
    directions = torch.linalg.eigh(second_moment)[1].flip(1)[:, : config.render_width]  # (48, R)
    up = torch.einsum("pr,bpm->rbm", directions, blocks).reshape(
        16 * config.render_width, config.latents, 1, 1
    )
    model.synthesis.up.weight.copy_(up)
    bias_of(model.synthesis.up).copy_((mean_blocks @ directions).T.reshape(-1))
    model.synthesis.last.weight.zero_()
    model.synthesis.last.weight[:, :, 1, 1] = directions.float()
    bias_of(model.synthesis.last).zero_()
    start_beside(model)

    model.hyperprior.deviation.copy_(deviations)
    for i, weight in enumerate(config.lambdas):
        gain = weight**0.5 / STEP
        model.log_gain[i] = torch.tensor(gain).log()
        model.scale_offset[i] = index_of_scale((deviations * gain).float())


@torch.no_grad()
def start_branches(model: Codec, coordinates: dict[Tensor, Coordinates]) -> None:
    """Draw the first layer of the analysis' branch in ``coordinates``, so that its inputs have equal
    deviations. From plain pixels it would see brightness alone.
    """
    stem = model.analysis.stem
    stem.weight.copy_(coordinates[stem.weight].change(stem.weight))


@torch.no_grad()
def coordinates_of(model: Codec, patches: Tensor) -> dict[Tensor, Coordinates]:
    """Coordinates in which the optimizer moves some weights of ``model``: the weight's inputs are
    uncorrelated there and have deviation 1. Measured on ``patches`` float32 (n, 3, 16, 16) in [0, 1], n at
    least 768.

    Pixels of a patch are nearly equal, and deviations of latents span a factor of 100. With one step size for
    all weights, training would mostly move brightness.
    """
    blocks = F.pixel_unshuffle(patches - 0.5, 4).permute(0, 2, 3, 1).flatten(0, 2)
    latents = (LATENT_STEP / model.hyperprior.deviation.clamp_min(LEAST_DEVIATION))[:, None, None]
    coordinates: dict[Tensor, Coordinates] = {
        model.analysis.linear.weight: Whitened(_whitening(patches.flatten(1))),
        model.analysis.stem.weight: Whitened(_whitening(blocks)),
        model.analysis.out.weight: Scaled(
            (model.hyperprior.deviation / MIDDLE_DEVIATION).clamp_max(1)[:, None, None, None]
        ),
    }
    for synthesis in model.syntheses().values():
        seen = (blocks @ synthesis.last.weight[:, :, 1, 1]).std(0).clamp_min(LEAST_DEVIATION)
        coordinates[synthesis.up.weight] = Scaled(latents)
        coordinates[synthesis.last.weight] = Scaled((LATENT_STEP / seen)[:, None, None])
    mean = model.hyperprior.mean[-1]
    assert isinstance(mean, nn.Conv2d)
    coordinates[mean.weight] = Scaled((model.hyperprior.deviation / MIDDLE_DEVIATION)[:, None, None, None])
    coordinates[bias_of(mean)] = Scaled(model.hyperprior.deviation / MIDDLE_DEVIATION)
    first = model.hyperprior.mean[0]
    assert isinstance(first, nn.Conv2d)
    middle = RATE_POINTS // 2
    hyper = (scale_of_index(model.hyper_scale_index[middle]) / model.log_hyper_gain[middle].exp()).detach()
    coordinates[first.weight] = Scaled((1 / hyper.clamp_min(1))[:, None, None])
    return coordinates


def _whitening(samples: Tensor) -> Tensor:
    """(n, c) samples -> (c, c), rows that take them to uncorrelated values of deviation 1 or less."""
    samples = samples.double() - samples.double().mean(0)
    values, vectors = torch.linalg.eigh(samples.T @ samples / len(samples))
    deviations = values.clamp_min(0).sqrt().clamp_min(LEAST_DEVIATION)
    whitening: Tensor = vectors.T / deviations[:, None]
    return whitening.float()


@torch.no_grad()
def start_beside(model: Codec) -> None:
    """Start the further syntheses of ``model`` as copies of its own (``copy_synthesis``)."""
    for name in model.beside:
        copy_synthesis(model.syntheses()[name], model.synthesis, model.hyperprior.deviation)


@torch.no_grad()
def copy_synthesis(synthesis: Synthesis, other: Synthesis, deviation: Tensor) -> None:
    """Set ``synthesis`` to ``other`` as far as its shape allows. Further channels and layers are drawn at
    random and start without effect; channels that do not fit are dropped. ``deviation`` (M,) of the latents.
    """
    r, known = synthesis.config.render_width, other.config.render_width
    both = min(r, known)
    up = (
        torch.randn(r, PATCH, len(deviation), 1, 1)
        * (ADDED / deviation.clamp_min(LEAST_DEVIATION))[:, None, None]
    )
    up[:both] = other.up.weight.reshape(known, PATCH, -1, 1, 1)[:both]
    bias = torch.zeros(r, PATCH)
    bias[:both] = bias_of(other.up).reshape(known, PATCH)[:both]
    synthesis.up.weight.copy_(up.flatten(0, 1))
    bias_of(synthesis.up).copy_(bias.flatten())
    synthesis.last.weight.zero_()
    synthesis.last.weight[:, :both] = other.last.weight[:, :both]
    bias_of(synthesis.last).copy_(bias_of(other.last))
    for ours, theirs in zip(synthesis.render, other.render, strict=False):
        assert isinstance(ours, Residual)
        assert isinstance(theirs, Residual)
        hidden = min(ours.first.out_channels, theirs.first.out_channels)
        ours.first.weight[:hidden, both:] = 0
        ours.first.weight[:hidden, :both] = theirs.first.weight[:hidden, :both]
        bias_of(ours.first)[:hidden] = bias_of(theirs.first)[:hidden]
        ours.second.weight[:both, :hidden] = theirs.second.weight[:both, :hidden]
        bias_of(ours.second)[:both] = bias_of(theirs.second)[:both]


@torch.no_grad()
def scale_hyperlatents(model: Codec, pictures: Tensor, deviation: float = 1.5) -> None:
    """Scale the hyperlatents of a new ``model`` to mean 0 and ``deviation`` over ``pictures``, float32 (n, 3,
    H, W) in [0, 1], sides multiples of 64. With plain random weights nearly all would be quantized to 0.
    """
    z = model.hyperprior.hyperlatents(model.analysis(pictures - 0.5))
    last = model.hyperprior.analysis[-1]
    assert isinstance(last, torch.nn.Conv2d)
    factor = deviation / z.std((0, 2, 3)).clamp_min(1e-6)
    last.weight.mul_(factor[:, None, None, None])
    bias_of(last).copy_((bias_of(last) - z.mean((0, 2, 3))) * factor)
    model.hyper_scale_index.fill_(float(index_of_scale(torch.tensor(deviation))))


def bias_of(layer: torch.nn.Conv2d) -> Tensor:
    """The bias of a layer that has one."""
    assert layer.bias is not None
    return layer.bias
