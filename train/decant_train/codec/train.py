"""The codec's training loop: random crops of packed photos, one quality per image, steps until the budget
ends.

Everything lives on one device. A checkpoint has the averaged weights (what is exported) beside the raw ones
and Adam's state (to go on from).
"""

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from decant_train.codec.config import PATCH, RATE_POINTS
from decant_train.codec.distortion import distortions, picture_error
from decant_train.codec.encoder import IN_FILES, Encoding, probes
from decant_train.codec.initialise import (
    coordinates_of,
    revive,
    scale_hyperlatents,
    start_branches,
    start_from_principal_components,
)
from decant_train.codec.model import Codec
from decant_train.codec.rate import interpolated_lambdas
from decant_train.codec.seen import mean_score
from decant_train.common import budget
from decant_train.common import checkpoint as checkpoints
from decant_train.common.checkpoint import Checkpoint
from decant_train.common.optimizers import Clip, MuonAdam
from decant_train.data.photos import Photos

log = logging.getLogger(__name__)
RAW = "raw.safetensors"
OPTIMIZERS = ("adam", "muon", "soap")
VALIDATION_CROP, VALIDATION_CROPS = 256, 32
SEEN, SEEN_AT = 8, (1.0, 2.0, 3.0, 5.0)  # pictures and qualities whose SSIMULACRA2 is validated
MS_SSIM_CROP = 192  # pixels: five scales, the last with a window of 11


@dataclass(frozen=True)
class CodecOptions:
    """How to train. The budget is ``steps`` or ``max_minutes``, whichever ends first. The learning rate rises
    over ``warmup`` steps, stays, and falls as a cosine over the last ``decay`` of the budget, so that a run
    can be resumed with a longer budget.
    """

    steps: int = 0
    max_minutes: float = 0.0
    batch_size: int = 8
    crop: int = 192  # pixels, a multiple of 64
    optimizer: str = "muon"  # "adam", or "muon" or "soap" for the matrices and Adam for the rest
    learning_rate: float = 1e-3
    warmup: int = 100
    decay: float = 0.8  # share of the budget over which the learning rate falls to 2 %
    linear_analysis_rate: float = 0.2  # of learning_rate: at the full rate the principal components drift
    linear_synthesis_rate: float = 0.1
    latent_rate: float = 0.5  # what the analysis' branches add to latents
    render_rate: float = 4.0  # the renderer's layers at 1/4
    branch_rate: float = 0.5
    matrix_rate: float = 0.8  # Muon's or SOAP's, where they are used
    class_rate: float = 4.0  # scale classes have a wider unit than weights
    hyper_rate: float = 0.3  # hyperlatents and the means made of them: at the full rate the noisiest part
    narrow: float = 0.5  # share of the budget in which all crops have the middle quality
    widen: float = 0.25  # share after that over which their range grows
    reach: float = 0.5  # how far: to so much of all qualities
    sent: float = 0.2  # share of the budget, at its end, in which files' own symbols are learned on
    analysis_every: int = 2  # of these steps, those that train the analysis
    rounds: int = 0  # of correction by the encoder that chooses them
    keep_encoder: bool = False  # analyses and means stay as they are, so that bundles can share the first
    measured_every: int = 250  # steps between which that encoder takes the synthesis for unchanged
    beside_in_turn: bool = False  # each step trains the codec's own synthesis and one of those beside
    clip_norm: float = 3.0  # gradients are cut to this norm,
    clip_unusual: float = 2.0  # and to so many times the usual one
    average: float = 0.998  # of the weights, per step
    compile: bool = False
    validate_every: int = 1000  # steps
    save_minutes: float = 4.0
    precision: str = "auto"
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.steps or self.max_minutes):
            raise ValueError("codec training needs a budget: give steps or max_minutes")
        if self.crop % 64 or self.crop <= 0:
            raise ValueError(f"crop must be a multiple of 64 pixels, got {self.crop}")
        if self.narrow < 0 or self.widen < 0 or self.narrow + self.widen > 1:
            raise ValueError(f"narrow + widen must be within 0..1, got {self.narrow} + {self.widen}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}")


def fit(
    checkpoint: Checkpoint,
    training: Photos,
    validation: Photos,
    out: Path,
    options: CodecOptions,
    *,
    resume: bool,
    begun: bool = False,
    progress: bool = True,
) -> Checkpoint:
    """Train ``checkpoint.model``, a Codec, and keep it in ``out``. A new network, unless it was ``begun``
    with the weights of another, is first set to the principal components of ``training``.
    """
    model = checkpoint.model
    assert isinstance(model, Codec)
    check_crop(model, options.crop)
    device = budget.device_of(options.device)
    draw = torch.Generator().manual_seed(options.seed * 1_000_003 + checkpoint.step)
    patches = training.crops(60_000, PATCH, torch.Generator().manual_seed(options.seed))
    training.to(device), validation.to(device)
    if not (resume or begun):
        start_from_principal_components(model, patches)
    coordinates = coordinates_of(model, patches)
    if options.keep_encoder:
        for parameter in _of_the_encoder(model):
            parameter.requires_grad_(False)
    elif begun:
        revived = revive(model, training.crops(24, options.crop, draw).cpu())
        log.info("%d units that were always off start again", revived)
    elif not resume:
        start_branches(model, coordinates)
        scale_hyperlatents(model, training.crops(16, options.crop, draw).cpu())
    model.to(device)
    averaged = type(model)(model.config).to(device)
    averaged.load_state_dict(model.state_dict())
    optimizer = MuonAdam(_groups(model, options), options.learning_rate, coordinates)
    if options.compile:
        model.compile_rate()
    if resume:
        checkpoints.load_raw(out, RAW, model)
        checkpoints.load_optimizer(out, model, optimizer)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    checkpoint.options = asdict(options)
    out.mkdir(parents=True, exist_ok=True)
    budget.keep_freed_memory()
    measured_on = probes(training, options.crop)
    tests = validation.crops(VALIDATION_CROPS, VALIDATION_CROP, torch.Generator().manual_seed(1))
    autocast = budget.autocast(device, options.precision)
    started, before = time.monotonic(), checkpoint.elapsed_s
    last_save, sums = started, torch.zeros(4, device=device)
    bar = tqdm(
        total=options.steps or None,
        initial=checkpoint.step,
        unit="step",
        disable=not progress,
        dynamic_ncols=True,
    )
    checkpoint.stopped_by = ""
    encoding: Encoding | None = None
    clip = Clip(options.clip_norm, options.clip_unusual)
    with (out / "metrics.jsonl").open("a", buffering=1) as log_file, bar:
        while not checkpoint.stopped_by:
            done = _done(options, checkpoint.step, before + time.monotonic() - started)
            factor = budget.rate_factor(checkpoint.step, done, warmup=options.warmup, decay=options.decay)
            for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = rate * factor
            sent = done >= 1 - options.sent
            if sent and (encoding is None or checkpoint.step % options.measured_every == 0):
                encoding = Encoding(model.eval(), measured_on, options.rounds)
            batch = training.reduced(options.batch_size, options.crop, draw)
            spread = _spread(options, done)
            position = positions(options.batch_size, spread, draw).to(device)
            model.train()
            names = _syntheses(model, checkpoint.step) if options.beside_in_turn else None
            turn = not (options.keep_encoder or (sent and checkpoint.step % options.analysis_every))
            with autocast:
                y_bits, z_bits, error, plain = model.terms(
                    batch, position, encoding if sent else None, analysis=turn, syntheses=names
                )
            loss = weighed(position, y_bits + z_bits, error.mean(0))
            apart = weighed(position, torch.zeros_like(plain), plain)  # the analysis' own
            optimizer.zero_grad(set_to_none=True)
            (loss + apart).backward()  # type: ignore[no-untyped-call]
            if spread < 1:
                _move_together(model, spread)
            if clip(model.parameters()):
                optimizer.step()
            budget.average(
                averaged, model, min(options.average, (1 + checkpoint.step) / (10 + checkpoint.step))
            )
            checkpoint.step += 1
            sums += torch.stack(
                [loss.detach(), y_bits.mean().detach(), z_bits.mean().detach(), error.mean().detach()]
            )
            now = time.monotonic()
            checkpoint.elapsed_s = before + now - started
            if _done(options, checkpoint.step, checkpoint.elapsed_s) >= 1:
                checkpoint.stopped_by = (
                    "steps" if options.steps and checkpoint.step >= options.steps else "minutes"
                )
            if checkpoint.step % options.validate_every == 0 or checkpoint.stopped_by:
                mean = (sums / options.validate_every).tolist()
                sums.zero_()
                checkpoint.metrics = validate(averaged, tests)
                row = {
                    "step": checkpoint.step,
                    "loss": mean[0],
                    "y_bpp": mean[1],
                    "z_bpp": mean[2],
                    "mse": mean[3],
                    "gradient": clip.usual,
                    "cut": clip.take_cut(),
                }
                row |= checkpoint.metrics | {"elapsed_s": checkpoint.elapsed_s, "cpu_s": time.process_time()}
                log_file.write(json.dumps(row) + "\n")
                bar.set_postfix(loss=f"{mean[0]:.4f}", score=f"{checkpoint.metrics['score']:.4f}")
            if now - last_save > 60 * options.save_minutes or checkpoint.stopped_by:
                _save(out, checkpoint, averaged, model, optimizer)
                last_save = time.monotonic()
            bar.update(1)
    checkpoint.model = averaged.cpu().eval()
    return checkpoint


def check_crop(model: Codec, crop: int) -> None:
    """Raises ValueError where ``crop`` is too small for the distortion that ``model`` is trained for."""
    if model.config.ms_ssim and crop < MS_SSIM_CROP:
        raise ValueError(f"MS-SSIM needs crops of {MS_SSIM_CROP} pixels, got {crop}")


@torch.no_grad()
def validate(model: Codec, pictures: Tensor) -> dict[str, float]:
    """Estimated bits per pixel and PSNR (dB) of ``pictures`` (n, 3, H, W), as the encoder sends them (effort
    2), at every anchor and at the middle quality, and "score": the mean of the training loss over the
    anchors. "ssimulacra2_*" of its own synthesis, at ``SEEN_AT`` and of the first ``SEEN`` pictures, beside
    their "seen_bpp_*". In float32; real files are measured by `decant bench rd`.
    """
    model.eval()
    metrics: dict[str, float] = {}
    score = 0.0
    encoding = Encoding(model, pictures, IN_FILES)
    positions = {str(anchor): float(anchor) for anchor in range(RATE_POINTS)} | {
        "middle": (RATE_POINTS - 1) / 2
    }
    for name, place in positions.items():
        rate, error, distorted = sent_at(encoding, pictures, place)
        metrics[f"bpp_{name}"] = float(rate.mean())
        for of, own in zip(model.syntheses(), error, strict=True):
            metrics[f"{of and of + '_'}psnr_{name}"] = float(-10 * own.log10().mean())
        if place in SEEN_AT:
            metrics[f"seen_bpp_{name}"] = float(rate[:SEEN].mean())
            metrics[f"ssimulacra2_{name}"] = seen_at(encoding, pictures[:SEEN], place)
        loss = float(weighed(torch.full_like(rate, place), rate, distorted.mean(0)))
        if name == "middle":
            metrics["score_middle"] = loss
        else:
            score += loss / RATE_POINTS
    return metrics | {"score": score}


@torch.no_grad()
def sent_at(encoding: Encoding, pictures: Tensor, place: float) -> tuple[Tensor, Tensor, Tensor]:
    """Estimated bits per pixel (n,) of ``pictures`` (n, 3, H, W) at quality ``place``, as ``encoding`` sends
    them, and the squared error and the distortion (syntheses, n) of what each synthesis of its model makes of
    that.
    """
    measure, rates, errors, distorted = encoding.model.config.measure, [], [], []
    for batch in torch.split(pictures, 8):
        sent = encoding.sent(batch, torch.full((len(batch),), place, device=batch.device))
        rates.append(sent.bits)
        made = [synthesis(sent.latents).clamp(-0.5, 0.5) for synthesis in encoding.model.syntheses().values()]
        errors.append(torch.stack([picture_error(x, batch) for x in made]))
        distorted.append(distortions(made, batch, measure))
    return torch.cat(rates), torch.cat(errors, 1), torch.cat(distorted, 1)


@torch.no_grad()
def seen_at(encoding: Encoding, pictures: Tensor, place: float) -> float:
    """Mean SSIMULACRA2 of what the codec's own synthesis makes of ``pictures`` (n, 3, H, W) at ``place``."""
    sent = encoding.sent(pictures, torch.full((len(pictures),), place, device=pictures.device))
    return mean_score(pictures, encoding.model.synthesis(sent.latents) + 0.5)


def _spread(options: CodecOptions, done: float) -> float:
    """Part of the range of qualities that crops are trained at, after the part ``done`` of the budget."""
    if done < options.narrow:
        return 0.0
    return options.reach * min(1.0, (done - options.narrow) / options.widen if options.widen else 1.0)


def positions(count: int, spread: float, generator: torch.Generator) -> Tensor:
    """Qualities (count,) of a batch: around the middle one, at a ``spread`` of 1 over all of them, those of
    the middle more often than those of the ends.
    """
    middle = (RATE_POINTS - 1) / 2
    return middle * (1 + spread * (torch.rand(2, count, generator=generator).sum(0) - 1))


def _move_together(model: Codec, spread: float) -> None:
    """Let qualities that the batch does not have follow those it has: at a ``spread`` of 0 every anchor's
    gains and classes get the sum of all gradients, at 1 their own.
    """
    for rows in (model.log_gain, model.log_hyper_gain, model.class_offset, model.hyper_class):
        if rows.grad is not None:
            rows.grad.lerp_(rows.grad.sum(0, keepdim=True).expand_as(rows), 1 - spread)


def weighed(position: Tensor, bits_per_pixel: Tensor, error: Tensor) -> Tensor:
    """Rate + lambda distortion, each image weighed by 1 / sqrt(lambda) (1 at 0.0067) so that high rates do
    not drown low ones.
    """
    weight = interpolated_lambdas(position)
    return ((bits_per_pixel + weight * 255**2 * error) * (0.0067 / weight).sqrt()).mean()


def _syntheses(model: Codec, step: int) -> list[str]:
    """Names of the syntheses that ``step`` trains: its own, and one after the other of those beside."""
    own, *beside = model.syntheses()
    return [own, beside[step % len(beside)]] if beside else [own]


def _of_the_encoder(model: Codec) -> Iterator[nn.Parameter]:
    """What bundles that share their encoder's graphs have in common, and the means beside."""
    prior = model.hyperprior
    for part in (model.analysis, prior.analysis, prior.mean):
        yield from part.parameters()


def _groups(model: Codec, options: CodecOptions) -> list[dict[str, Any]]:
    syntheses, prior = model.syntheses().values(), model.hyperprior
    linear = [layer for synthesis in syntheses for layer in (synthesis.up, synthesis.last)]
    groups: list[tuple[float, list[nn.Parameter]]] = [
        (options.linear_analysis_rate, list(model.analysis.linear.parameters())),
        (options.linear_synthesis_rate, [p for layer in linear for p in layer.parameters()]),
        (options.render_rate, [p for synthesis in syntheses for p in synthesis.render.parameters()]),
        (options.class_rate, [model.class_offset, model.hyper_class]),
        (options.hyper_rate, [p for part in (prior.analysis, prior.mean) for p in part.parameters()]),
        (options.latent_rate, [p for p in model.analysis.out.parameters() if p.ndim == 4]),
    ]
    taken = {id(p) for _, group in groups for p in group}
    branches = [p for p in model.analysis.parameters() if id(p) not in taken]
    matrices = [p for p in branches if p.ndim == 4 and options.optimizer != "adam"]
    ours = {id(p) for p in matrices}
    taken |= {id(p) for p in branches}
    rate = options.learning_rate
    found: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if id(p) not in taken], "lr": rate},
        {"params": matrices, "lr": rate * options.matrix_rate, options.optimizer: True},
        {"params": [p for p in branches if id(p) not in ours], "lr": rate * options.branch_rate},
        *({"params": some, "lr": rate * part} for part, some in groups),
    ]
    for group in found:
        group["params"] = [parameter for parameter in group["params"] if parameter.requires_grad]
    return [group for group in found if group["params"]]


def _save(
    out: Path, checkpoint: Checkpoint, averaged: Codec, model: Codec, optimizer: torch.optim.Optimizer
) -> None:
    checkpoints.save_raw(out, RAW, model)
    kept, checkpoint.model = checkpoint.model, averaged
    checkpoints.save(out, checkpoint, optimizer, model)
    checkpoint.model = kept


def _done(options: CodecOptions, step: int, elapsed_s: float) -> float:
    return budget.used(step, options.steps, elapsed_s, options.max_minutes)
