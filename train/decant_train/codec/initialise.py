"""The codec's first weights: a linear transform codec measured on the training photos, so that training
starts from a cosine transform's quality and not from noise.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from decant_train.codec.config import LAMBDAS, PATCH, PIXELS, RATE_POINTS, CodecConfig
from decant_train.codec.distortion import Measure
from decant_train.codec.encoder import counted
from decant_train.codec.entropy_model import CheckerboardMean, Context, class_scale, scale_to_class
from decant_train.codec.layers import Residual
from decant_train.codec.model import Codec
from decant_train.codec.transforms import Synthesis
from decant_train.common.optimizers import Coordinates, Scaled, Whitened

STEP = (
    4.9 / 255
)  # quantization step at lambda 1: least rate + lambda distortion of a uniform quantizer at high rate
LEAST_DEVIATION = 0.03  # inputs that vary less are not taken for more
MIDDLE_DEVIATION = 0.25  # of the latents: their quantization step at middle qualities
REVIVED = 0.15  # deviation of units that start again: at 0.5 their first steps do harm
ADDED = 0.02  # deviation of what a latent gives to a channel that a synthesis has beyond another's
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
    start_beside(model)

    model.hyperprior.deviation.copy_(deviations)
    for anchor, weight in enumerate(LAMBDAS):
        gain = weight**0.5 / STEP
        model.log_gain[anchor] = torch.tensor(gain).log()
        model.class_offset[anchor] = scale_to_class((deviations * gain).float())


@torch.no_grad()
def start_branches(model: Codec, coordinates: dict[Tensor, Coordinates]) -> None:
    """Let the first layer of the analysis' branch see inputs of equal deviations, as ``coordinates`` have
    them: from pixels as they are it would see brightness alone.
    """
    stem = model.analysis.stem
    stem.weight.copy_(coordinates[stem.weight].change(stem.weight))


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
        model.analysis.out.weight: Scaled(
            (model.hyperprior.deviation / MIDDLE_DEVIATION).clamp_max(1)[:, None, None, None]
        ),
    }
    for synthesis in model.syntheses().values():
        seen = (blocks @ synthesis.last.weight[:, :, 1, 1]).std(0).clamp_min(LEAST_DEVIATION)
        found[synthesis.up.weight] = Scaled(latents)
        found[synthesis.last.weight] = Scaled((LATENT_STEP / seen)[:, None, None])
    mean = model.hyperprior.mean[-1]
    assert isinstance(mean, nn.Conv2d)
    found[mean.weight] = Scaled((model.hyperprior.deviation / MIDDLE_DEVIATION)[:, None, None, None])
    found[_bias(mean)] = Scaled(model.hyperprior.deviation / MIDDLE_DEVIATION)
    first = model.hyperprior.mean[0]
    assert isinstance(first, nn.Conv2d)
    middle = RATE_POINTS // 2
    hyper = (class_scale(model.hyper_class[middle]) / model.log_hyper_gain[middle].exp()).detach()
    found[first.weight] = Scaled((1 / hyper.clamp_min(1))[:, None, None])
    return found


def _whitening(samples: Tensor) -> Tensor:
    """(n, c) samples -> (c, c), rows that take them to uncorrelated values of deviation 1 or less."""
    samples = samples.double() - samples.double().mean(0)
    values, vectors = torch.linalg.eigh(samples.T @ samples / len(samples))
    deviations = values.clamp_min(0).sqrt().clamp_min(LEAST_DEVIATION)
    whitening: Tensor = vectors.T / deviations[:, None]
    return whitening.float()


@torch.no_grad()
def start_beside(model: Codec) -> None:
    """Let the syntheses beside ``model``'s own begin as it, as far as theirs reach: more channels and layers
    than it has begin without effect, with less it loses what does not fit.
    """
    for name in model.beside:
        _begin_as(model.syntheses()[name], model.synthesis, model.hyperprior.deviation)


def _begin_as(synthesis: Synthesis, other: Synthesis, deviation: Tensor) -> None:
    """Values of channels that ``other`` has not are drawn, what is made of them is 0."""
    r, known = synthesis.config.render_width, other.config.render_width
    both = min(r, known)
    up = (
        torch.randn(r, PATCH, len(deviation), 1, 1)
        * (ADDED / deviation.clamp_min(LEAST_DEVIATION))[:, None, None]
    )
    up[:both] = other.up.weight.reshape(known, PATCH, -1, 1, 1)[:both]
    bias = torch.zeros(r, PATCH)
    bias[:both] = _bias(other.up).reshape(known, PATCH)[:both]
    synthesis.up.weight.copy_(up.flatten(0, 1))
    _bias(synthesis.up).copy_(bias.flatten())
    synthesis.last.weight.zero_()
    synthesis.last.weight[:, :both] = other.last.weight[:, :both]
    _bias(synthesis.last).copy_(_bias(other.last))
    for ours, theirs in zip(synthesis.render, other.render, strict=False):
        assert isinstance(ours, Residual)
        assert isinstance(theirs, Residual)
        hidden = min(ours.first.out_channels, theirs.first.out_channels)
        ours.first.weight[:hidden, both:] = 0
        ours.first.weight[:hidden, :both] = theirs.first.weight[:hidden, :both]
        _bias(ours.first)[:hidden] = _bias(theirs.first)[:hidden]
        ours.second.weight[:both, :hidden] = theirs.second.weight[:both, :hidden]
        _bias(ours.second)[:both] = _bias(theirs.second)[:both]


@torch.no_grad()
def begin_with(model: Codec, other: Codec) -> None:
    """Take over every tensor of ``other`` that ``model`` has in the same shape."""
    own = model.state_dict()
    shared = {k: v for k, v in other.state_dict().items() if k in own and own[k].shape == v.shape}
    model.load_state_dict(own | shared)
    for name in set(model.beside) - set(other.beside):
        _begin_as(model.syntheses()[name], model.synthesis, model.hyperprior.deviation)


@torch.no_grad()
def turn_from(model: Codec, measure: Measure, pictures: Tensor) -> None:
    """Let steps and classes of ``model``, which were trained for the distortion ``measure``,
    follow what errors in each channel count in its own. ``pictures`` float32 (n, 3, H, W) in [0, 1].
    """
    own = counted(model, model.config.measure, pictures)
    change = 0.5 * (own / counted(model, measure, pictures)).log()
    model.log_gain.add_(change)
    model.class_offset.add_(scale_to_class(change.exp()) - scale_to_class(torch.ones(())))


@torch.no_grad()
def revive(model: Codec, pictures: Tensor) -> int:
    """Start again, without changing what ``model`` does, the rectified units that are off for all of
    ``pictures``, float32 (n, 3, H, W) in [0, 1], sides multiples of 64; returns how many were. What goes into
    them is drawn anew, for a deviation of ``REVIVED``, and what comes out of them is set to 0.

    Steps suit values of about 1: a layer whose inputs have grown far beyond is switched off by the first.
    """
    pairs = _rectified(model)
    most: dict[nn.Module, Tensor] = {}
    size: dict[nn.Module, Tensor] = {}

    def note(layer: nn.Module, taken: tuple[Tensor], made: Tensor) -> None:
        highest = made.float().amax((0, 2, 3))
        most[layer] = torch.maximum(most.get(layer, highest), highest)
        size[layer] = taken[0].float().square().mean().sqrt()

    hooks = [source.register_forward_hook(note) for source, _ in pairs]
    model.eval()
    for position in (1.0, (RATE_POINTS - 1) / 2, RATE_POINTS - 2.0):
        for batch in torch.split(pictures, 8):
            model(batch, torch.full((len(batch),), position, device=batch.device))
    for hook in hooks:
        hook.remove()
    count = 0
    for source, target in pairs:
        # Pixel shuffles make one unit of several outputs, or several inputs of one unit.
        outputs, inputs = source.out_channels, target.in_channels
        together, apart = max(outputs // inputs, 1), max(inputs // outputs, 1)
        off = (most[source].reshape(-1, together).amax(1) <= 0).nonzero().flatten().tolist()
        count += len(off)
        fan_in = source.weight[0].numel()
        fresh = torch.randn_like(source.weight) * (REVIVED / (size[source] * fan_in**0.5).clamp_min(1e-6))
        for unit in off:
            rows = slice(unit * together, (unit + 1) * together)
            source.weight[rows] = fresh[rows]
            _bias(source)[rows] = 0
            target.weight[:, unit * apart : (unit + 1) * apart] = 0
    return count


def _rectified(model: Codec) -> list[tuple[nn.Conv2d, nn.Conv2d]]:
    """Layers whose outputs are rectified and go into the second of each pair only."""
    prior = model.hyperprior
    pairs: list[tuple[nn.Module, nn.Module]] = [
        (block.first, block.second) for block in model.modules() if isinstance(block, Residual)
    ]
    for network in (prior.analysis, prior.mean):
        layers = [layer for layer in network if isinstance(layer, nn.Conv2d)]
        pairs += list(itertools.pairwise(layers))
    for mean in prior.half_means:
        assert isinstance(mean, CheckerboardMean)
        pairs.append((mean.hidden, mean.out))
    return [(a, b) for a, b in pairs if isinstance(a, nn.Conv2d) and isinstance(b, nn.Conv2d)]


@torch.no_grad()
def refined(model: Codec, config: CodecConfig) -> Codec:
    """A codec of ``config`` that codes and decodes as ``model``, a codec of one synthesis, does, and can
    learn more: its stages part those of ``model``, more of them have halves, and its context networks are
    wider, mix, and see what is known by then. Raises ValueError where ``config`` is no refinement.
    """
    old, found = model.hyperprior, Codec(config)
    new, state = found.hyperprior, found.state_dict()
    networks = ("hyperprior.contexts.", "hyperprior.half_", "hyperprior.prediction.")
    kept = {
        name: value
        for name, value in model.state_dict().items()
        if name in state and not name.startswith(networks)
    }
    if other := [name for name, value in kept.items() if value.shape != state[name].shape]:
        raise ValueError(f"{other[0]} has another shape: only the prior can be refined")
    found.load_state_dict(state | kept)
    coarse = old.channels()
    if new.stages[0] != old.stages[0] or not {c.stop for c in coarse} <= {c.stop for c in new.channels()}:
        raise ValueError(f"stages {new.stages} do not part {old.stages} after the first")
    for i, own in enumerate(new.channels()):
        stage = next(j for j, channels in enumerate(coarse) if own.stop <= channels.stop)
        rows = slice(own.start - coarse[stage].start, own.stop - coarse[stage].start)
        if i:
            _widen(old.contexts[stage - 1], new.contexts[i - 1], rows)
        if i < len(new.half_contexts):
            halved = stage < len(old.half_contexts) and coarse[stage] == own
            _widen(
                old.half_contexts[stage] if halved else old.contexts[stage - 1], new.half_contexts[i], rows
            )
            if halved:
                _copy_into(new.half_means[i], old.half_means[stage])
    if old.prediction is not None:
        assert new.prediction is not None
        count, known = old.prediction.weight.shape[:2]
        new.prediction.weight[:count, :known] = old.prediction.weight
    return found.eval()


def _widen(old: nn.Module, new: nn.Module, rows: slice) -> None:
    """Have ``new`` add to classes what ``old`` adds to those of its channels ``rows``."""
    assert isinstance(old, Context)
    assert isinstance(new, Context)
    if old.mixed is not None:
        raise ValueError("a prior whose contexts mix cannot be refined again")
    width = old.hidden.out_channels
    kinds, wider = (layer.weight[:width].view(width, 3, -1) for layer in (old.hidden, new.hidden))
    wider.zero_()
    wider[:, :, : kinds.shape[2]] = kinds
    _bias(new.hidden)[:width] = _bias(old.hidden)
    if new.mixed is not None:
        assert new.mixed_below is not None
        new.mixed.weight[:width] = torch.eye(width, new.hidden.out_channels)[:, :, None, None]
        _bias(new.mixed)[:width] = 0
        new.mixed_below.weight[: 4 * width] = 0
    new.out.weight[:, :width] = old.out.weight[rows]


def _copy_into(new: nn.Module, old: nn.Module) -> None:
    """Have the network ``new`` of neighbours do what ``old`` does."""
    assert isinstance(old, CheckerboardMean)
    assert isinstance(new, CheckerboardMean)
    width = old.hidden.out_channels
    new.hidden.weight[:width], _bias(new.hidden)[:width] = old.hidden.weight, _bias(old.hidden)
    new.out.weight[:, :width] = old.out.weight
    _bias(new.out).copy_(_bias(old.out))


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
