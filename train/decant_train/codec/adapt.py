"""Adapting a trained codec to an archive: its parts, up to the whole codec, learn the archive's pictures.

What is trained decides what an archive has to store: the analysis transforms cost it nothing, since only the
decoder goes into it. Rows of all rate points move together, so that qualities beside the one trained for stay
usable.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from decant_train.codec.config import RATE_POINTS
from decant_train.codec.curriculum import MIDDLE, rate_points, share_gradients
from decant_train.codec.encoder import Encoding
from decant_train.codec.initialise import coordinates_of
from decant_train.codec.model import Codec
from decant_train.codec.options import CodecOptions
from decant_train.codec.parameter_groups import parameter_groups
from decant_train.codec.rate import interpolated_lambdas, weighted_loss
from decant_train.codec.sensitivity import probe_pictures
from decant_train.codec.validation import rate_and_distortion
from decant_train.common import budget
from decant_train.common.optimizers import Clip, MuonAdam
from decant_train.data.archive_pictures import ArchivePictures

PRIOR, SYNTHESIS, WHOLE = "prior", "synthesis", "whole"
LEVELS = (PRIOR, SYNTHESIS, WHOLE)
PATCHES, PATCH = 4096, 16
SPREAD = 0.14  # of the range of rate points, around the archive's
REFINE_FROM = 0.7  # share of the budget after which the whole codec learns on the symbols of files
MEASURED_EVERY = 200  # steps between measurements of the synthesis' sensitivity
VALIDATED_ON = 16  # crops


@dataclass(frozen=True)
class AdaptOptions:
    """Options of an adaptation. ``level``: ``prior`` trains the entropy model, ``synthesis`` the synthesis
    transform too, ``whole`` also the analysis transforms. The budget is ``minutes`` or ``steps``, whichever
    ends first. ``rate_point`` (0..8) is that of the archive's quality. Raises ValueError.
    """

    level: str
    rate_point: float
    minutes: float = 0.0
    steps: int = 0
    batch_size: int = 8
    crop: int = 128  # pixels, a multiple of 64
    learning_rate: float = 1e-3
    average: float = 0.99  # of the weights, per step (exponential moving average)
    warmup: int = 30
    decay: float = 0.8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(f"level {self.level!r} cannot be trained; one of {', '.join(LEVELS)} expected")
        if not (self.minutes > 0 or self.steps > 0):
            raise ValueError("adaptation needs a budget: give minutes or steps")
        if self.crop % 64 or self.crop <= 0:
            raise ValueError(f"crop must be a multiple of 64 pixels, got {self.crop}")


@dataclass(frozen=True)
class Trained:
    """The adapted ``model`` and how many ``steps`` it took. ``score_before`` and ``score_after``: mean
    logarithm of rate + lambda distortion on held-out crops; lower by 0.01 is about 1 % of the bits.
    """

    model: Codec
    steps: int
    score_before: float
    score_after: float


def adapt(
    model: Codec,
    training: ArchivePictures,
    held_out: ArchivePictures,
    options: AdaptOptions,
    report: Callable[[str], None] = lambda line: None,
) -> Trained:
    """Train a copy of ``model`` on an archive. Where it is no better on ``held_out`` in the end, ``model``
    itself comes back.
    """
    torch.manual_seed(options.seed)
    draw = torch.Generator().manual_seed(options.seed)
    trained = copy.deepcopy(model)
    rate_point = min(options.rate_point, RATE_POINTS - 1.0)
    test = held_out.crops(VALIDATED_ON, options.crop, torch.Generator().manual_seed(1))
    before = score(model.eval(), test, rate_point)
    for parameter in trained.parameters():
        parameter.requires_grad_(False)
    for parameter in trained_parameters(trained, options.level):
        parameter.requires_grad_(True)
    patches = training.crops(PATCHES, PATCH, draw)
    rates = CodecOptions(steps=1, learning_rate=options.learning_rate)
    optimizer = MuonAdam(
        parameter_groups(trained, rates), options.learning_rate, coordinates_of(trained, patches)
    )
    base_rates = [group["lr"] for group in optimizer.param_groups]
    averaged, clip = copy.deepcopy(trained), Clip(rates.clip_norm, rates.clip_unusual)
    probes, whole = probe_pictures(training, options.crop), options.level == WHOLE
    encoding: Encoding | None = None
    budget.keep_freed_memory()
    started, step, used = time.monotonic(), 0, 0.0
    while used < 1:
        factor = budget.rate_factor(step, used, warmup=options.warmup, decay=options.decay)
        for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
            group["lr"] = rate * factor
        refining = not whole or used >= REFINE_FROM
        if refining and (encoding is None or step % MEASURED_EVERY == 0):
            encoding = Encoding(trained.eval(), probes, 0)
        pictures = training.crops(options.batch_size, options.crop, draw)
        points = rate_points(options.batch_size, SPREAD, draw) + rate_point - MIDDLE
        points = points.clamp(0, RATE_POINTS - 1)
        trained.train()
        terms = trained.terms(pictures, points, encoding if refining else None, analysis=whole)
        loss = weighted_loss(trained.config, points, terms.y_bits + terms.z_bits, terms.error.mean(0))
        loss = loss + weighted_loss(
            trained.config, points, torch.zeros_like(terms.analysis_error), terms.analysis_error
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        share_gradients(trained, 0.0)
        if clip(trained.parameters()):
            optimizer.step()
        budget.average(averaged, trained, min(options.average, (1 + step) / (10 + step)))
        step += 1
        used = budget.used(step, options.steps, time.monotonic() - started, options.minutes)
    after = score(averaged.eval(), test, rate_point)
    report(f"level {options.level}: {step} steps, loss {100 * math.expm1(after - before):+.1f} %")
    for parameter in averaged.parameters():
        parameter.requires_grad_(True)
    return Trained(averaged if after < before else model, step, before, after)


def trained_parameters(model: Codec, level: str) -> Iterator[nn.Parameter]:
    """The parameters of ``model`` that ``level`` trains."""
    if level == WHOLE:
        yield from model.parameters()
        return
    prior = model.hyperprior
    parts: list[nn.Module] = [prior.scale_hidden, prior.scale_out, prior.contexts, prior.mean]
    parts += [prior.checkerboard_contexts, prior.checkerboard_means]
    parts += [] if prior.prediction is None else [prior.prediction]
    parts += [] if level == PRIOR else [model.synthesis]
    for part in parts:
        yield from part.parameters()
    yield model.scale_offset
    yield model.hyper_scale_index


@torch.no_grad()
def score(model: Codec, pictures: torch.Tensor, rate_point: float) -> float:
    """Mean logarithm of rate + lambda distortion of ``pictures`` (n, 3, H, W) as the encoder of files sends
    them.
    """
    rate, _, (distorted,) = rate_and_distortion(Encoding(model, pictures, 2), pictures, rate_point)
    points = torch.full_like(rate, rate_point)
    losses = rate + interpolated_lambdas(model.config, points) * 255**2 * distorted
    return float(losses.log().mean())
