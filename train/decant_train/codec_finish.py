"""The last stage of a codec's training: its synthesis alone, on the latents that its encoder sends.

The encoder (``codec_encoding``) chooses symbols by rate and distortion and aims at the picture through the
synthesis. What it sends is not what the analysis' rounded latents were in training, and a synthesis has more
to mend in it. Steps take a tenth of those that train the whole codec. Then the analysis learns what the
finished synthesis makes the picture of, rate and rounding aside: from there the encoder starts.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from decant_train import budget
from decant_train import checkpoint as checkpoints
from decant_train.checkpoint import Checkpoint
from decant_train.codec_encoding import Encoding
from decant_train.codec_loop import VALIDATION_CROP, positions
from decant_train.codec_start import coordinates_of
from decant_train.families.codec import (
    ANCHORS,
    PATCH,
    Analysis,
    Codec,
    Synthesis,
    alone,
    interpolated_lambdas,
)
from decant_train.optimizers import Coordinates, MuonAdam
from decant_train.photos import Photos

VALIDATION_CROPS = 24
LEAST_ERROR = 2e-4  # mean squared; pictures with less do not weigh more
VALIDATED_AT = (1.0, 2.0, (ANCHORS - 1) / 2, 5.0, 6.0)  # qualities


@dataclass(frozen=True)
class FinishOptions:
    """How to finish. The budget is ``steps`` or ``max_minutes``, whichever ends first; the analysis gets
    ``analysis_share`` of it. Learning rates rise over ``warmup`` steps and fall as a cosine over the last
    ``decay`` of either part.
    """

    steps: int = 0
    max_minutes: float = 0.0
    batch_size: int = 8
    crop: int = 192  # pixels, a multiple of 64
    learning_rate: float = 4e-3  # of the renderer's layers
    linear_rate: float = 0.01  # of learning_rate, for the others: the analysis does not follow them
    analysis_share: float = 0.25
    analysis_rate: float = 3e-4  # learning rate of the analysis' branches
    linear_analysis_rate: float = 0.3  # of that, for its principal components
    warmup: int = 50
    decay: float = 0.7
    reuse: int = 12  # steps for each batch that is encoded
    pool: int = 160  # batches that are kept to draw from
    reach: float = 1.0  # of all qualities, those of the middle more often
    average: float = 0.995  # of the weights, per step
    clip_norm: float = 1.0
    log_every: int = 500  # steps
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.steps > 0 or self.max_minutes > 0):
            raise ValueError("finishing needs a budget: give steps or max_minutes")


def finish(
    checkpoint: Checkpoint,
    training: Photos,
    validation: Photos,
    out: Path,
    options: FinishOptions,
    *,
    progress: bool = True,
) -> Checkpoint:
    """Train the synthesis of ``checkpoint.model``, a Codec, then its analysis; keep the checkpoint in
    ``out``. Syntheses beside its own are dropped: the analysis follows one synthesis only.
    """
    model = checkpoint.model
    assert isinstance(model, Codec)
    device = budget.device_of(options.device)
    training.to(device), validation.to(device)
    model = alone(model).to(device).eval()
    coordinates = coordinates_of(model, training.crops(60_000, PATCH, torch.Generator().manual_seed(0)))
    out.mkdir(parents=True, exist_ok=True)
    budget.keep_freed_memory()
    tests = validation.crops(VALIDATION_CROPS, VALIDATION_CROP, torch.Generator().manual_seed(1))
    curve = _fit(model, training, tests, options, progress)
    _follow(model, training, options, coordinates)
    curve.append(_note(model, model.synthesis, tests, "analysis", 0, 0.0))
    checkpoint.metrics |= {"begun_psnr": curve[0]["psnr"], "finished_psnr": curve[-1]["psnr"]}
    (out / "finish.jsonl").write_text("".join(json.dumps(row) + "\n" for row in curve))
    checkpoint.model, checkpoint.config = model.cpu().eval(), model.config
    checkpoint.options = checkpoint.options | {"finish": asdict(options)}
    checkpoints.save(out, checkpoint)
    return checkpoint


def _fit(
    model: Codec, training: Photos, tests: Tensor, options: FinishOptions, progress: bool
) -> list[dict[str, Any]]:
    """Train the synthesis of ``model``, which has its averaged weights in the end; returns the curve."""
    device = next(model.parameters()).device
    draw = torch.Generator().manual_seed(options.seed)
    synthesis = model.synthesis.train()
    layers = [list(synthesis.render.parameters()), [*synthesis.up.parameters(), *synthesis.last.parameters()]]
    rates = [options.learning_rate, options.learning_rate * options.linear_rate]
    groups = [{"params": some, "lr": rate} for some, rate in zip(layers, rates, strict=True) if some]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
    base_rates = [group["lr"] for group in optimizer.param_groups]
    trained = [p for some in layers for p in some]
    averaged = Synthesis(model.config).to(device)
    averaged.load_state_dict(synthesis.state_dict())
    share = 1 - options.analysis_share
    pool: list[tuple[Tensor, Tensor, Tensor]] = []
    step, started = 0, time.monotonic()
    bar = tqdm(unit="step", disable=not progress, dynamic_ncols=True)
    curve = [_note(model, averaged, tests, "synthesis", step, 0.0)]
    with bar:
        while (done := _done(options, share, step, time.monotonic() - started)) < 1:
            if step % options.reuse == 0:
                pictures = training.reduced(options.batch_size, options.crop, draw)
                position = positions(options.batch_size, options.reach, draw).to(device)
                synthesis.eval()
                if step % (options.reuse * options.pool) == 0:
                    encoder = Encoding(model)  # what errors of latents do has changed
                batch = encoder.decoded(pictures, position), pictures, interpolated_lambdas(position).sqrt()
                synthesis.train()
                pool = [*pool[-options.pool + 1 :], batch]
            factor = budget.rate_factor(step, done, warmup=options.warmup, decay=options.decay)
            for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = rate * factor
            latents, pictures, weight = pool[int(torch.randint(len(pool), (), generator=draw))]
            with budget.autocast(device, "auto"):
                decoded = synthesis(latents)
            error = _error(decoded, pictures)
            optimizer.zero_grad(set_to_none=True)
            (255**2 * (error * weight).mean()).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(trained, options.clip_norm)
            optimizer.step()
            budget.average(averaged, synthesis, min(options.average, (1 + step) / (10 + step)))
            step += 1
            bar.update(1)
            if step % options.log_every == 0:
                curve.append(_note(model, averaged, tests, "synthesis", step, time.monotonic() - started))
                bar.set_postfix_str(f"{curve[-1]['psnr']:.3f} dB")
    curve.append(_note(model, averaged, tests, "synthesis", step, time.monotonic() - started))
    synthesis.load_state_dict(averaged.state_dict())
    return curve


def _follow(
    model: Codec, training: Photos, options: FinishOptions, coordinates: dict[Tensor, Coordinates]
) -> None:
    """Train the analysis of ``model`` to latents that, as they are, its synthesis makes the pictures of.
    Every picture weighs alike.
    """
    device = next(model.parameters()).device
    draw = torch.Generator().manual_seed(options.seed + 1)
    analysis = model.analysis.train()
    averaged = Analysis(model.config).to(device)
    averaged.load_state_dict(analysis.state_dict())
    linear = list(analysis.linear.parameters())
    branches = [p for name, p in analysis.named_parameters() if not name.startswith("linear.")]
    rates = [options.analysis_rate * options.linear_analysis_rate, options.analysis_rate]
    groups = [{"params": some, "lr": rate} for some, rate in zip((linear, branches), rates, strict=True)]
    optimizer = MuonAdam(groups, rates[1], coordinates)
    step, started = 0, time.monotonic()
    while (done := _done(options, options.analysis_share, step, time.monotonic() - started)) < 1:
        factor = budget.rate_factor(step, done, warmup=options.warmup, decay=options.decay)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        pictures = training.reduced(options.batch_size, options.crop, draw)
        with budget.autocast(device, "auto"):
            decoded = model.synthesis(analysis(pictures - 0.5))
        error = _error(decoded, pictures)
        optimizer.zero_grad(set_to_none=True)
        (error / (error.detach() + LEAST_ERROR)).mean().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(analysis.parameters(), options.clip_norm)
        optimizer.step()
        budget.average(averaged, analysis, min(0.99, (1 + step) / (10 + step)))
        step += 1
    analysis.load_state_dict(averaged.state_dict())
    model.eval()


def _error(decoded: Tensor, pictures: Tensor) -> Tensor:
    """Mean squared error (n,) of what a synthesis made of ``pictures``."""
    return (decoded - (pictures - 0.5)).square().mean((1, 2, 3))


def _done(options: FinishOptions, share: float, step: int, elapsed_s: float) -> float:
    steps = max(1, round(options.steps * share)) if options.steps else 0
    return budget.used(step, steps, elapsed_s, options.max_minutes * share)


@torch.no_grad()
def _note(
    model: Codec, synthesis: Synthesis, pictures: Tensor, part: str, step: int, elapsed_s: float
) -> dict[str, Any]:
    """A line of the curve: PSNR (dB) of what ``synthesis`` makes of the latents that the encoder of ``model``
    sends with it, at some qualities, and its mean over them.
    """
    kept, model.synthesis = model.synthesis, synthesis.eval()
    encoder, found = Encoding(model), {}
    for place in VALIDATED_AT:
        errors = []
        for batch in torch.split(pictures, 8):
            position = torch.full((len(batch),), place, device=batch.device)
            decoded = synthesis(encoder.decoded(batch, position)).clamp(-0.5, 0.5)
            errors.append(_error(decoded, batch))
        found[f"psnr_{place:g}"] = float(-10 * torch.cat(errors).log10().mean())
    model.synthesis = kept
    mean = sum(found.values()) / len(found)
    return {"part": part, "step": step, "elapsed_s": elapsed_s} | found | {"psnr": mean}
