"""The last stage of a codec's training: what its decoders have, on what its encoder sends. First the networks
of scale classes and means that symbols go into, then each synthesis on the latents.

A step takes a tenth of one that trains the whole codec, and batches that were encoded serve several steps.
The analysis does not move, so that bundles of one checkpoint still share their encoder.
"""

import copy
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from decant_train.codec.config import PATCH, RATE_POINTS
from decant_train.codec.distortion import distortion
from decant_train.codec.encoder import IN_FILES, Encoding, Sent, probes
from decant_train.codec.entropy_model import class_scale
from decant_train.codec.model import Codec, alone, part
from decant_train.codec.rate import interpolated_lambdas, rate
from decant_train.codec.train import VALIDATION_CROP, check_crop, positions, sent_at, weighed
from decant_train.common import budget
from decant_train.common import checkpoint as checkpoints
from decant_train.common.checkpoint import Checkpoint
from decant_train.data.photos import Photos

PRIOR = "prior"
VALIDATION_CROPS = 12
VALIDATED_AT = (1.0, 2.0, (RATE_POINTS - 1) / 2, 5.0, 6.0)  # qualities


@dataclass(frozen=True)
class FinishOptions:
    """How to finish. The budget is ``steps`` or ``max_minutes``, whichever ends first, in equal parts for
    every part. Learning rates rise over ``warmup`` steps and fall as a cosine over the last ``decay``.
    """

    steps: int = 0
    max_minutes: float = 0.0
    batch_size: int = 8
    crop: int = 192  # pixels, a multiple of 64
    learning_rate: float = 1e-3  # of the renderer's layers
    prior_rate: float = 5e-4  # of the prior's networks
    mean_rate: float = 0.0  # of prior_rate, for the means that hyperlatents give
    prior_reuse: int = 3  # as reuse: of few crops they learn what is true of no others
    linear_rate: float = 0.01  # of learning_rate, for the others: the analysis does not follow them
    warmup: int = 50
    decay: float = 0.7
    reuse: int = 12  # steps for each batch that is encoded
    pool: int = 160  # batches that are kept to draw from
    measured_every: int = 40  # batches between which the encoder takes the synthesis for unchanged
    plain: float = 0.5  # share of the batches that are encoded without corrections
    grainy: float = 0.4  # share of the reduced crops that get noise
    reach: float = 1.0  # of all qualities, those of the middle more often
    average: float = 0.995  # of the weights, per step
    clip_norm: float = 1.0
    log_every: int = 600  # steps
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
    parts: Sequence[str] = (),
    progress: bool = True,
) -> Checkpoint:
    """Train ``parts`` of ``checkpoint.model``, a Codec, one after the other: ``PRIOR``, the networks of
    scale classes and means that symbols go into, and syntheses, by the names of sizes trained beside or ""
    for its own; or all of them. Keep the checkpoint in ``out``.
    """
    model = checkpoint.model
    assert isinstance(model, Codec)
    check_crop(model, options.crop)
    device = budget.device_of(options.device)
    training.to(device), validation.to(device)
    out.mkdir(parents=True, exist_ok=True)
    budget.keep_freed_memory()
    tests = validation.crops(VALIDATION_CROPS, VALIDATION_CROP, torch.Generator().manual_seed(1))
    checkpoint.options = checkpoint.options | {"finish": asdict(options)}
    lines: list[dict[str, Any]] = []
    names = list(parts or (PRIOR, *model.syntheses()))
    for name in names:
        beside = name in model.config.beside
        single = (part(model, name) if beside else alone(model)).to(device).eval()
        trained = _Prior(single, options) if name == PRIOR else _Synthesis(single, options)
        of = model.hyperprior if name == PRIOR else model.syntheses()[name]
        curve: list[dict[str, Any]] = []
        for row, kept, weights in _fit(single, trained, training, tests, options, 1 / len(names), progress):
            curve.append({"part": name} | row)
            if len(curve) == 1:
                continue
            of.load_state_dict(weights)
            prefix = f"{name}_" if name else ""
            checkpoint.metrics |= {
                f"{prefix}{when}_{what}": at[what]
                for when, at in (("begun", curve[0]), ("finished", kept))
                for what in ("psnr", "score")
            }
            rows = (json.dumps(row) + "\n" for row in [*lines, *curve])
            (out / "finish.jsonl").write_text("".join(rows))
            checkpoints.save(out, checkpoint)
        lines += curve
    model.eval()
    return checkpoint


class _Synthesis:
    """What trains a codec's synthesis: pictures from the latents that are sent."""

    name = "synthesis"

    def __init__(self, model: Codec, options: FinishOptions) -> None:
        network = self.network = model.synthesis
        layers = [list(network.render.parameters()), [*network.up.parameters(), *network.last.parameters()]]
        rates = [options.learning_rate, options.learning_rate * options.linear_rate]
        self.groups = [{"params": some, "lr": rate} for some, rate in zip(layers, rates, strict=True) if some]
        self._measure = model.config.measure
        self.reuse = options.reuse

    def batch(self, sent: Sent, pictures: Tensor, position: Tensor) -> tuple[Tensor, ...]:
        return sent.latents, pictures, interpolated_lambdas(position).sqrt()

    def loss(self, _: Encoding, latents: Tensor, pictures: Tensor, weight: Tensor) -> Tensor:
        with budget.autocast(latents.device, "auto"):
            decoded = self.network(latents)
        return 255**2 * (distortion(decoded, pictures, self._measure) * weight).mean()


class _Prior:
    """What trains the networks by which symbols say something of those after them, classes and means: the
    bits of what is sent, chosen anew as they change.
    """

    name = "hyperprior"

    def __init__(self, model: Codec, options: FinishOptions) -> None:
        self._model = model
        network = self.network = model.hyperprior
        parts = [network.class_hidden, network.class_out, network.contexts, network.half_contexts]
        parts += [network.half_means, *([] if network.prediction is None else [network.prediction])]
        some = [parameter for part in parts for parameter in part.parameters()]
        self.groups = [{"params": some, "lr": options.prior_rate}]
        if options.mean_rate:
            rate = options.prior_rate * options.mean_rate
            self.groups.append({"params": list(network.mean.parameters()), "lr": rate})
        self.reuse = options.prior_reuse

    @torch.no_grad()
    def batch(self, sent: Sent, pictures: Tensor, position: Tensor) -> tuple[Tensor, ...]:
        gain = self._model.quality(position)[0][:, :, None, None]
        return sent.aims, gain, sent.z_hat, sent.offset, position

    def loss(
        self,
        encoder: Encoding,
        aims: Tensor,
        gain: Tensor,
        z_hat: Tensor,
        offset: Tensor,
        position: Tensor,
    ) -> Tensor:
        network, price = self.network, encoder.price(gain, position)
        mean = network.mean(z_hat)
        forms, hidden = network.forms(z_hat, offset)
        symbols = encoder.chosen((aims - mean) * gain, forms, hidden, price, gain)
        residual = (aims - network.means(mean, symbols, gain)) * gain
        scale = class_scale(network.scale_class(z_hat, offset, symbols))
        bits = rate(residual, symbols, scale).sum((1, 2, 3)) / (aims.shape[2] * aims.shape[3] * PATCH**2)
        return weighed(position, bits, torch.zeros_like(bits))


def _fit(
    model: Codec,
    part: "_Synthesis | _Prior",
    training: Photos,
    tests: Tensor,
    options: FinishOptions,
    share: float,
    progress: bool,
) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Tensor]]]:
    """Train ``part`` of ``model``: the lines of the curve, at first, every ``log_every`` steps and at last;
    with each that of the averaged weights that were best so far, and these. Errors of the training latents
    fall all the time: a decoder can learn to make so much of corrections that the encoder cannot follow.
    """
    device = next(model.parameters()).device
    draw = torch.Generator().manual_seed(options.seed)
    network, moves = part.network.train(), isinstance(part, _Synthesis)
    optimizer = torch.optim.Adam(part.groups, betas=(0.9, 0.99))
    base_rates = [group["lr"] for group in optimizer.param_groups]
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    averaged = copy.deepcopy(network)
    pool: list[tuple[Tensor, ...]] = []
    step, done, started = 0, 0.0, time.monotonic()
    bar = tqdm(unit="step", disable=not progress, dynamic_ncols=True)
    measured_on = probes(training, options.crop)
    kept = _note(model, part.name, averaged, tests, step, 0.0)
    best = copy.deepcopy(averaged.state_dict())
    yield kept, kept, best
    with bar:
        while done < 1:
            if step % part.reuse == 0:
                pictures = training.reduced(options.batch_size, options.crop, draw, grainy=options.grainy)
                position = positions(options.batch_size, options.reach, draw).to(device)
                network.eval()
                if step == 0 or (moves and step % (part.reuse * options.measured_every) == 0):
                    encoder = Encoding(model, measured_on)  # what errors of latents do has changed
                plain = float(torch.rand((), generator=draw)) < options.plain
                used = encoder.uncorrected() if plain else encoder
                batch = part.batch(used.sent(pictures, position), pictures, position)
                network.train()
                pool = [*pool[-options.pool + 1 :], batch]
            factor = budget.rate_factor(step, done, warmup=options.warmup, decay=options.decay)
            for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = rate * factor
            loss = part.loss(encoder, *pool[int(torch.randint(len(pool), (), generator=draw))])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(trained, options.clip_norm)
            optimizer.step()
            budget.average(averaged, network, min(options.average, (1 + step) / (10 + step)))
            step += 1
            bar.update(1)
            elapsed_s = time.monotonic() - started
            done = _done(options, share, step, elapsed_s)
            if step % options.log_every == 0 or done >= 1:
                row = _note(model, part.name, averaged, tests, step, elapsed_s)
                if row["score"] < kept["score"]:
                    best, kept = copy.deepcopy(averaged.state_dict()), row
                yield row, kept, best
                bar.set_postfix_str(f"{row['psnr']:.3f} dB, {row['score']:.4f}")


def _done(options: FinishOptions, share: float, step: int, elapsed_s: float) -> float:
    steps = max(1, round(options.steps * share)) if options.steps else 0
    return budget.used(step, steps, elapsed_s, options.max_minutes * share)


@torch.no_grad()
def _note(
    model: Codec, name: str, network: nn.Module, pictures: Tensor, step: int, elapsed_s: float
) -> dict[str, Any]:
    """A line of the curve: PSNR (dB) of what the encoder of ``model`` sends with ``network`` in the place of
    ``name``, at some qualities, its mean over them, and "score", that of the logarithm of the training loss:
    lower by 0.01 is about 2 % of the bits.
    """
    kept = getattr(model, name)
    setattr(model, name, network.eval())
    encoder, found, scores = Encoding(model, pictures, IN_FILES), {}, []
    for place in VALIDATED_AT:
        rate, (error,), (distorted,) = sent_at(encoder, pictures, place)
        weight = interpolated_lambdas(torch.full_like(rate, place))
        found[f"psnr_{place:g}"] = float(-10 * error.log10().mean())
        scores.append(float((rate + weight * 255**2 * distorted).log().mean()))
    setattr(model, name, kept)
    means = {"psnr": sum(found.values()) / len(found), "score": sum(scores) / len(scores)}
    return {"step": step, "elapsed_s": elapsed_s} | found | means
