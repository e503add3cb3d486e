"""The codec's first weights: a linear transform codec measured on the training photos, so that training
starts from a cosine transform's quality and not from noise.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decant_train.families.codec import LAMBDAS, PATCH, PIXELS, Codec, scale_to_class
from decant_train.optimizers import Coordinates, Scaled, Whitened

STEP = (
    4.9 / 255
)  # quantization step at lambda 1: least rate + lambda distortion of a uniform quantizer at high rate
LEAST_DEVIATION = 0.03  # inputs that vary less are not taken for more
MIDDLE_DEVIATION = 0.25  # of the latents: their quantization step at middle qualities
LATENT_STEP = 0.2  # deviation that a weight of the synthesis is moved for as any other weight


@torch.no_grad()
def start_from_principal_components(model: Codec, patches: Tensor) -> None:
    """Set analysis, synthesis, gains and class offsets of ``model`` from ``patches``, float32 (n, 3, 16, 16)
    in [0, 1], n at least 768.
    """
    config = model.config
    flat = patches.reshape(len(patches), PIXELS).double() - 0.5
    mean = flat.mean(0)
    values, vectors = torch.linalg.eigh((flat - mean).T @ (flat - mean) / len(flat))
    basis = vectors.flip(1)[:, : config.latents].T  # (M, 768), orthonormal rows
    deviations = values.flip(0)[: config.latents].clamp_min(1e-12).sqrt()

    model.analysis.linear.weight.copy_(basis.reshape(config.latents, 3, PATCH, PATCH))
    _bias(model.analysis.linear).copy_(-(basis @ mean))

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
    _bias(model.synthesis.up).copy_((mean_blocks @ directions).T.reshape(-1))
    model.synthesis.last.weight.zero_()
    model.synthesis.last.weight[:, :, 1, 1] = directions.float()
    _bias(model.synthesis.last).zero_()
    start_light(model)

    model.hyperprior.deviation.copy_(deviations)
    for anchor, weight in enumerate(LAMBDAS):
        gain = weight**0.5 / STEP
        model.log_gain[anchor] = torch.tensor(gain).log()
        model.class_offset[anchor] = scale_to_class((deviations * gain).float())


@torch.no_grad()
def start_branches(model: Codec, coordinates: dict[Tensor, Coordinates]) -> None:
    """Let the first layers of the branches see inputs of equal deviations, as ``coordinates`` have them:
    from pixels as they are they would see brightness alone.
    """
    entry = [] if model.synthesis.entry is None else [model.synthesis.entry]
    for layer in (model.analysis.stem, *entry):
        layer.weight.copy_(coordinates[layer.weight].change(layer.weight))


@torch.no_grad()
def coordinates_of(model: Codec, patches: Tensor) -> dict[Tensor, Coordinates]:
    """The coordinates that the optimizer moves some weights of ``model`` in, from ``patches`` float32 (n, 3,
    16, 16) in [0, 1], n at least 768: those in which the weight's inputs are uncorrelated and of deviation 1.

    Pixels of a patch are nearly equal, and latents' deviations span a factor of 100: steps of one size for
    all weights would mostly move brightness.
    """
    blocks = F.pixel_unshuffle(patches - 0.5, 4).permute(0, 2, 3, 1).flatten(0, 2)
    latents = (LATENT_STEP / model.hyperprior.deviation.clamp_min(LEAST_DEVIATION))[:, None, None]
    found: dict[Tensor, Coordinates] = {
        model.analysis.linear.weight: Whitened(_whitening(patches.flatten(1))),
        model.analysis.stem.weight: Whitened(_whitening(blocks)),
    }
    light = [] if model.light is None else [model.light]
    for synthesis in (model.synthesis, *light):
        seen = (blocks @ synthesis.last.weight[:, :, 1, 1]).std(0).clamp_min(LEAST_DEVIATION)
        found[synthesis.up.weight] = Scaled(latents)
        found[synthesis.last.weight] = Scaled((LATENT_STEP / seen)[:, None, None])
        if synthesis.entry is not None:
            found[synthesis.entry.weight] = Scaled(latents / LATENT_STEP)
    mean = model.hyperprior.mean[-1]
    assert isinstance(mean, nn.Conv2d)
    found[mean.weight] = Scaled((model.hyperprior.deviation / MIDDLE_DEVIATION)[:, None, None, None])
    found[_bias(mean)] = Scaled(model.hyperprior.deviation / MIDDLE_DEVIATION)
    return found


def _whitening(samples: Tensor) -> Tensor:
    """(n, c) samples -> (c, c), rows that take them to uncorrelated values of deviation 1 or less."""
    samples = samples.double() - samples.double().mean(0)
    values, vectors = torch.linalg.eigh(samples.T @ samples / len(samples))
    deviations = values.clamp_min(0).sqrt().clamp_min(LEAST_DEVIATION)
    whitening: Tensor = vectors.T / deviations[:, None]
    return whitening.float()


@torch.no_grad()
def start_light(model: Codec) -> None:
    """Give the light synthesis, where ``model`` has one, the linear path of the whole."""
    if model.light is not None:
        model.light.up.load_state_dict(model.synthesis.up.state_dict())
        model.light.last.load_state_dict(model.synthesis.last.state_dict())


@torch.no_grad()
def begin_with(model: Codec, other: Codec) -> None:
    """Take over every tensor of ``other`` that ``model`` has in the same shape."""
    own = model.state_dict()
    shared = {k: v for k, v in other.state_dict().items() if k in own and own[k].shape == v.shape}
    model.load_state_dict(own | shared)
    if other.light is None:
        start_light(model)


@torch.no_grad()
def scale_hyperlatents(model: Codec, pictures: Tensor, deviation: float = 1.5) -> None:
    """Give the hyperlatents of a new ``model`` mean 0 and ``deviation`` over ``pictures``, float32 (n, 3, H,
    W) in [0, 1], sides multiples of 64; random weights would quantize nearly all of them to 0.
    """
    z = model.hyperprior.hyperlatents(model.analysis(pictures - 0.5))
    last = model.hyperprior.analysis[-1]
    assert isinstance(last, torch.nn.Conv2d)
    factor = deviation / z.std((0, 2, 3)).clamp_min(1e-6)
    last.weight.mul_(factor[:, None, None, None])
    _bias(last).copy_((_bias(last) - z.mean((0, 2, 3))) * factor)
    model.hyper_class.fill_(float(scale_to_class(torch.tensor(deviation))))


def _bias(layer: torch.nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
