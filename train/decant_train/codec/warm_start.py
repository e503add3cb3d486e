"""Starting from another codec: warm start, another distortion, dead units, a finer entropy model."""

import itertools
import math

import torch
from torch import Tensor, nn

from decant_train.codec.config import LOWEST_LAMBDA, RATE_POINTS, CodecConfig
from decant_train.codec.distortion import Measure
from decant_train.codec.entropy_model import CheckerboardMean, Context, index_of_scale
from decant_train.codec.initialise import bias_of, copy_synthesis
from decant_train.codec.layers import Residual
from decant_train.codec.model import Codec
from decant_train.codec.rate import between_rate_points
from decant_train.codec.sensitivity import distortion_weight

REINITIALISED_DEVIATION = 0.15  # of units that start again: at 0.5 their first steps do harm


@torch.no_grad()
def warm_start_from(model: Codec, other: Codec) -> None:
    """Copy every tensor of ``other`` that ``model`` has in the same shape. Syntheses of ``model.beside`` that
    ``other`` lacks start as copies of ``model``'s own.
    """
    own = model.state_dict()
    shared = {k: v for k, v in other.state_dict().items() if k in own and own[k].shape == v.shape}
    model.load_state_dict(own | shared)
    for name in model.beside:
        if name not in other.beside:
            copy_synthesis(model.syntheses()[name], model.synthesis, model.hyperprior.deviation)


@torch.no_grad()
def move_rate_points(model: Codec, highest_lambda: float) -> None:
    """Move the rows of ``model``, trained up to ``highest_lambda``, to the lambdas of its own configuration.

    Between the old rate points rows are interpolated. Beyond the last, gains and scale-index offsets of
    latents go on as they rise over the last two; those of hyperlatents stay.
    """
    old = math.log(highest_lambda / LOWEST_LAMBDA)
    ratio = math.log(model.config.highest_lambda / LOWEST_LAMBDA) / old
    position = ratio * torch.arange(RATE_POINTS, device=model.log_gain.device)
    beyond = (position - (RATE_POINTS - 1)).clamp_min(0)[:, None]
    for rows, rises in (
        (model.log_gain, True),
        (model.scale_offset, True),
        (model.log_hyper_gain, False),
        (model.hyper_scale_index, False),
    ):
        moved = between_rate_points(rows, position.clamp_max(RATE_POINTS - 1))
        rows.copy_(moved + beyond * (rows[-1] - rows[-3]) / 2 if rises else moved)


@torch.no_grad()
def retarget(model: Codec, measure: Measure, pictures: Tensor) -> None:
    """Adapt quantization steps and scale indices of ``model``, trained for the distortion ``measure``, to the
    distortion of its own configuration. ``pictures`` float32 (n, 3, H, W) in [0, 1].
    """
    own = distortion_weight(model, model.config.measure, pictures)
    change = 0.5 * (own / distortion_weight(model, measure, pictures)).log()
    model.log_gain.add_(change)
    model.scale_offset.add_(index_of_scale(change.exp()) - index_of_scale(torch.ones(())))


@torch.no_grad()
def reinitialise_dead_units(model: Codec, pictures: Tensor) -> int:
    """Reinitialise the units of ``model`` that are off for all of ``pictures``. Returns their number.

    ``pictures``: float32 (n, 3, H, W) in [0, 1], sides multiples of 64.

    Weights into such a unit are drawn for a deviation of ``REINITIALISED_DEVIATION``; weights out of it are
    set to 0, so that the output of ``model`` does not change. Learning rates suit values of about 1: a layer
    whose inputs have grown far beyond is switched off by the first step.
    """
    pairs = _rectified(model)
    most: dict[nn.Module, Tensor] = {}
    size: dict[nn.Module, Tensor] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor], outputs: Tensor) -> None:
        highest = outputs.float().amax((0, 2, 3))
        most[layer] = torch.maximum(most.get(layer, highest), highest)
        size[layer] = inputs[0].float().square().mean().sqrt()

    hooks = [source.register_forward_hook(note) for source, _ in pairs]
    model.eval()
    for rate_point in (1.0, (RATE_POINTS - 1) / 2, RATE_POINTS - 2.0):
        for batch in torch.split(pictures, 8):
            model(batch, torch.full((len(batch),), rate_point, device=batch.device))
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
        fresh = torch.randn_like(source.weight) * (
            REINITIALISED_DEVIATION / (size[source] * fan_in**0.5).clamp_min(1e-6)
        )
        for unit in off:
            rows = slice(unit * together, (unit + 1) * together)
            source.weight[rows] = fresh[rows]
            bias_of(source)[rows] = 0
            target.weight[:, unit * apart : (unit + 1) * apart] = 0
    return count


def _rectified(model: Codec) -> list[tuple[nn.Conv2d, nn.Conv2d]]:
    """Pairs of layers: the outputs of the first are rectified and go into the second only."""
    prior = model.hyperprior
    pairs: list[tuple[nn.Module, nn.Module]] = [
        (block.first, block.second) for block in model.modules() if isinstance(block, Residual)
    ]
    for network in (prior.analysis, prior.mean):
        layers = [layer for layer in network if isinstance(layer, nn.Conv2d)]
        pairs += list(itertools.pairwise(layers))
    for mean in prior.checkerboard_means:
        assert isinstance(mean, CheckerboardMean)
        pairs.append((mean.hidden, mean.out))
    return [(a, b) for a, b in pairs if isinstance(a, nn.Conv2d) and isinstance(b, nn.Conv2d)]


@torch.no_grad()
def refined(model: Codec, config: CodecConfig) -> Codec:
    """A codec of ``config`` with a finer entropy model than ``model``, a codec with one synthesis. At the
    start it computes the same function.

    Its channel groups split those of ``model``, and more of them have a checkerboard. Its context networks
    are wider, have a second layer, and see all earlier groups. Raises ValueError if ``config`` is no
    refinement.
    """
    old, codec = model.hyperprior, Codec(config)
    new, state = codec.hyperprior, codec.state_dict()
    # Names as files have them.
    networks = ("hyperprior.contexts.", "hyperprior.half_", "hyperprior.prediction.")
    shared = {
        name: value
        for name, value in model.state_dict().items()
        if name in state and not name.startswith(networks)
    }
    if other := [name for name, value in shared.items() if value.shape != state[name].shape]:
        raise ValueError(f"{other[0]} has another shape: only the prior can be refined")
    codec.load_state_dict(state | shared)
    coarse = old.channels()
    if new.channel_groups[0] != old.channel_groups[0] or not {c.stop for c in coarse} <= {
        c.stop for c in new.channels()
    }:
        raise ValueError(
            f"channel groups {new.channel_groups} do not split {old.channel_groups} after the first"
        )
    for i, own in enumerate(new.channels()):
        group = next(j for j, channels in enumerate(coarse) if own.stop <= channels.stop)
        rows = slice(own.start - coarse[group].start, own.stop - coarse[group].start)
        if i:
            _widen(old.contexts[group - 1], new.contexts[i - 1], rows)
        if i < len(new.checkerboard_contexts):
            checkerboarded = group < len(old.checkerboard_contexts) and coarse[group] == own
            _widen(
                old.checkerboard_contexts[group] if checkerboarded else old.contexts[group - 1],
                new.checkerboard_contexts[i],
                rows,
            )
            if checkerboarded:
                _copy_into(new.checkerboard_means[i], old.checkerboard_means[group])
    if old.prediction is not None:
        assert new.prediction is not None
        count, known = old.prediction.weight.shape[:2]
        new.prediction.weight[:count, :known] = old.prediction.weight
    return codec.eval()


def _widen(old: nn.Module, new: nn.Module, rows: slice) -> None:
    """Make the context network ``new`` compute the term that ``old`` has for its channels ``rows``."""
    assert isinstance(old, Context)
    assert isinstance(new, Context)
    if old.mixed is not None:
        raise ValueError("a prior whose contexts mix cannot be refined again")
    width = old.hidden.out_channels
    kinds, wider = (layer.weight[:width].view(width, 3, -1) for layer in (old.hidden, new.hidden))
    wider.zero_()
    wider[:, :, : kinds.shape[2]] = kinds
    bias_of(new.hidden)[:width] = bias_of(old.hidden)
    if new.mixed is not None:
        assert new.mixed_below is not None
        new.mixed.weight[:width] = torch.eye(width, new.hidden.out_channels)[:, :, None, None]
        bias_of(new.mixed)[:width] = 0
        new.mixed_below.weight[: 4 * width] = 0
    new.out.weight[:, :width] = old.out.weight[rows]


def _copy_into(new: nn.Module, old: nn.Module) -> None:
    """Make the checkerboard mean context ``new`` compute the same as ``old``."""
    assert isinstance(old, CheckerboardMean)
    assert isinstance(new, CheckerboardMean)
    width = old.hidden.out_channels
    new.hidden.weight[:width], bias_of(new.hidden)[:width] = old.hidden.weight, bias_of(old.hidden)
    new.out.weight[:, :width] = old.out.weight
    bias_of(new.out).copy_(bias_of(old.out))
