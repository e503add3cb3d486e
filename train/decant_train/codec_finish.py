"""The last stage of a codec's training: its synthesis alone, on the latents that its encoder sends.

The encoder (``codec_encoding``) chooses symbols by rate and distortion and aims at the picture through the
synthesis. What it sends is not what the analysis' rounded latents were in training, and a synthesis has more
to mend in it. All else stays: bits are the same, pictures are better. Steps take a tenth of those that train
the whole codec.
"""

import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from decant_train import budget
from decant_train import checkpoint as checkpoints
from decant_train.checkpoint import Checkpoint
from decant_train.codec_encoding import Encoding
from decant_train.codec_loop import positions
from decant_train.families.codec import ANCHORS, Codec, Synthesis, interpolated_lambdas, light_part
from decant_train.photos import Photos

log = logging.getLogger(__name__)
VALIDATION_CROP, VALIDATION_CROPS = 256, 24
VALIDATED_AT = (1.0, 2.0, (ANCHORS - 1) / 2, 5.0, 6.0)  # qualities


@dataclass(frozen=True)
class FinishOptions:
    """How to finish. The budget is ``steps`` or ``max_minutes``, whichever ends first; a light synthesis gets
    a quarter of it. Learning rates rise over ``warmup`` steps and fall as a cosine over the last ``decay``.
    """

    steps: int = 0
    max_minutes: float = 0.0
    batch_size: int = 8
    crop: int = 192  # pixels, a multiple of 64
    learning_rate: float = 4e-3  # of the renderer's layers
    linear_rate: float = 0.01  # of learning_rate, for the others: the analysis does not follow them
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
    """Train the synthesis of ``checkpoint.model``, a Codec, and its light one where it has that; keep the
    checkpoint in ``out``.
    """
    model = checkpoint.model
    assert isinstance(model, Codec)
    device = budget.device_of(options.device)
    training.to(device), validation.to(device)
    model.to(device).eval()
    out.mkdir(parents=True, exist_ok=True)
    budget.keep_freed_memory()
    parts = {"synthesis": model} | ({} if model.light is None else {"light": light_part(model).to(device)})
    shares = {"synthesis": 1.0} if model.light is None else {"synthesis": 0.75, "light": 0.25}
    curves = []
    for name, part in parts.items():
        found, curve = _fit(part, training, validation, options, shares[name], progress)
        curves += [{"part": name} | row for row in curve]
        checkpoint.metrics[f"finished_{name}_psnr"] = curve[-1]["psnr"]
        log.info("%s: %.3f dB before, %.3f dB after", name, curve[0]["psnr"], curve[-1]["psnr"])
        target = model.synthesis if name == "synthesis" else model.light
        assert target is not None
        target.load_state_dict(found)
    (out / "finish.jsonl").write_text("".join(json.dumps(row) + "\n" for row in curves))
    checkpoint.model = model.cpu().eval()
    checkpoint.options = checkpoint.options | {"finish": asdict(options)}
    checkpoints.save(out, checkpoint)
    return checkpoint


def _fit(
    model: Codec, training: Photos, validation: Photos, options: FinishOptions, share: float, progress: bool
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """The averaged weights of ``model``'s synthesis after a ``share`` of the budget, and the curve of its
    training.
    """
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
    tests = validation.crops(VALIDATION_CROPS, VALIDATION_CROP, torch.Generator().manual_seed(1))
    pool: list[tuple[Tensor, Tensor, Tensor]] = []
    encoder = Encoding(model)
    curve: list[dict[str, float]] = []
    step, started = 0, time.monotonic()
    bar = tqdm(unit="step", disable=not progress, dynamic_ncols=True)

    def note() -> None:
        curve.append(
            {"step": step, "elapsed_s": time.monotonic() - started} | _validate(model, averaged, tests)
        )
        bar.set_postfix_str(f"{curve[-1]['psnr']:.3f} dB")

    note()
    with bar:
        while (done := _done(options, share, step, time.monotonic() - started)) < 1:
            if step % (options.reuse * options.pool) == 0:
                encoder = Encoding(model)  # what errors of latents do has changed
            if step % options.reuse == 0:
                pictures = training.reduced(options.batch_size, options.crop, draw)
                position = positions(options.batch_size, options.reach, draw).to(device)
                synthesis.eval()
                batch = encoder.decoded(pictures, position), pictures, interpolated_lambdas(position).sqrt()
                synthesis.train()
                pool = [*pool[-options.pool + 1 :], batch]
            falling = max(0.0, 1 - (1 - done) / options.decay) if options.decay else 0.0
            factor = min(1.0, (step + 1) / max(options.warmup, 1)) * budget.cosine(falling, 0.02)
            for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = rate * factor
            latents, pictures, weight = pool[int(torch.randint(len(pool), (), generator=draw))]
            with torch.autocast(device.type, torch.bfloat16):
                decoded = synthesis(latents)
            error = (decoded - (pictures - 0.5)).square().mean((1, 2, 3))
            optimizer.zero_grad(set_to_none=True)
            (255**2 * (error * weight).mean()).backward()
            nn.utils.clip_grad_norm_(trained, options.clip_norm)
            optimizer.step()
            keep = min(options.average, (1 + step) / (10 + step))
            with torch.no_grad():
                for mean, value in zip(averaged.parameters(), synthesis.parameters(), strict=True):
                    mean.lerp_(value, 1 - keep)
            step += 1
            bar.update(1)
            if step % options.log_every == 0:
                note()
        note()
    return {name: value.cpu() for name, value in averaged.state_dict().items()}, curve


def _done(options: FinishOptions, share: float, step: int, elapsed_s: float) -> float:
    return budget.used(step, round(options.steps * share), elapsed_s, options.max_minutes * share)


@torch.no_grad()
def _validate(model: Codec, synthesis: Synthesis, pictures: Tensor) -> dict[str, float]:
    """PSNR (dB) of what ``synthesis`` makes of the latents that the encoder of ``model`` sends with it, at
    some qualities, and its mean over them.
    """
    kept, model.synthesis = model.synthesis, synthesis.eval()
    encoder, found = Encoding(model), {}
    for place in VALIDATED_AT:
        errors = []
        for batch in torch.split(pictures, 8):
            position = torch.full((len(batch),), place, device=batch.device)
            decoded = synthesis(encoder.decoded(batch, position)).clamp(-0.5, 0.5)
            errors.append((decoded - (batch - 0.5)).square().mean((1, 2, 3)))
        found[f"psnr_{place:g}"] = float(-10 * torch.cat(errors).log10().mean())
    model.synthesis = kept
    return found | {"psnr": sum(found.values()) / len(found)}
