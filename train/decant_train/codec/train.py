"""The codec's trainer: random crops of packed photos, one rate point per image, steps until the budget ends.

All tensors are on one device. A checkpoint has the averaged weights, which are exported, and the raw weights
and the optimizer's state, to resume from. ``best``, next to it, is the checkpoint of the averaged weights
with the best validation. It stays useful if a run diverges or ends on a bad step.
"""

import json
import logging
import math
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm import tqdm

from decant_train.codec import validation
from decant_train.codec.config import PATCH
from decant_train.codec.curriculum import curriculum_range, rate_points, share_gradients
from decant_train.codec.encoder import Encoding
from decant_train.codec.initialise import (
    coordinates_of,
    scale_hyperlatents,
    start_branches,
    start_from_principal_components,
)
from decant_train.codec.model import Codec
from decant_train.codec.options import CodecOptions, check_crop
from decant_train.codec.parameter_groups import encoder_parameters, parameter_groups
from decant_train.codec.rate import weighted_loss
from decant_train.codec.sensitivity import probe_pictures
from decant_train.codec.warm_start import reinitialise_dead_units
from decant_train.common import budget
from decant_train.common import checkpoint as checkpoints
from decant_train.common.checkpoint import Checkpoint
from decant_train.common.optimizers import Clip, MuonAdam
from decant_train.common.trainer import Trainer
from decant_train.data.photos import Photos

log = logging.getLogger(__name__)
RAW, LOG, BEST = "raw.safetensors", "metrics.jsonl", "best"
PATCHES = 60_000  # of 16x16 pixels, from which principal components and coordinates are measured


class CodecTrainer(Trainer):
    """Trains ``checkpoint.model``, a Codec, and stores it in the folder ``out``.

    A new network starts from the principal components of ``training``. ``warm_started`` says that it already
    has the weights of another codec, and ``resume`` that ``checkpoint`` came from ``out``.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        training: Photos,
        validation: Photos,
        out: Path,
        options: CodecOptions,
        *,
        resume: bool,
        warm_started: bool = False,
        progress: bool = True,
    ) -> None:
        assert isinstance(checkpoint.model, Codec)
        check_crop(checkpoint.model, options.crop)
        self.checkpoint, self.model, self.out, self.options = checkpoint, checkpoint.model, out, options
        self.training, self.validation = training, validation
        self.resume, self.warm_started = resume, warm_started
        self.draw = torch.Generator().manual_seed(options.seed * 1_000_003 + checkpoint.step)
        self.clip = Clip(options.clip_norm, options.clip_unusual)
        self.paused = False
        self.bar = tqdm(
            total=options.steps or None,
            initial=checkpoint.step,
            unit="step",
            disable=not progress,
            dynamic_ncols=True,
        )

    def prepare(self) -> None:
        """Data and networks on the device, first weights, optimizer, and the state of a run to resume."""
        options, model = self.options, self.model
        self.device = budget.device_of(options.device)
        self.autocast = budget.autocast(self.device, options.precision)
        patches = self.training.crops(PATCHES, PATCH, torch.Generator().manual_seed(options.seed))
        self.training.to(self.device), self.validation.to(self.device)
        if not (self.resume or self.warm_started):
            start_from_principal_components(model, patches)
        coordinates = coordinates_of(model, patches)
        if options.keep_encoder:
            for parameter in encoder_parameters(model):
                parameter.requires_grad_(False)
        elif self.warm_started:
            crops = self.training.crops(24, options.crop, self.draw).cpu()
            log.info("%d units that were always off start again", reinitialise_dead_units(model, crops))
        elif not self.resume:
            start_branches(model, coordinates)
            scale_hyperlatents(model, self.training.crops(16, options.crop, self.draw).cpu())
        model.to(self.device)
        self.averaged = type(model)(model.config).to(self.device)
        self.averaged.load_state_dict(model.state_dict())
        self.optimizer = MuonAdam(parameter_groups(model, options), options.learning_rate, coordinates)
        if options.compile:
            model.compile_rate()
        if self.resume:
            checkpoints.load_raw(self.out, RAW, model)
            checkpoints.load_optimizer(self.out, model, self.optimizer)
        self.base_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.checkpoint.options, self.checkpoint.stopped_by = asdict(options), ""
        self.out.mkdir(parents=True, exist_ok=True)
        budget.keep_freed_memory()
        self.probes = probe_pictures(self.training, options.crop)
        self.test_pictures = self.validation.crops(
            options.validation_crops or validation.VALIDATION_CROPS,
            validation.VALIDATION_CROP,
            torch.Generator().manual_seed(1),
        )
        self.encoding: Encoding | None = None
        # Since validation: loss, bits of y and z, error, mean square of hyperlatents.
        self.sums = torch.zeros(5, device=self.device)
        self.best_score = _best_score(self.out / LOG) if self.resume else math.inf
        self.started, self.elapsed_before = time.monotonic(), self.checkpoint.elapsed_s
        self.saved_at = self.started

    def step(self) -> None:
        """One optimizer step on one batch."""
        options, model, checkpoint = self.options, self.model, self.checkpoint
        done = self._budget_used(self.elapsed_before + time.monotonic() - self.started)
        factor = budget.rate_factor(checkpoint.step, done, warmup=options.warmup, decay=options.decay)
        for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * factor
        refining = done >= options.refine_from  # last phase: train on the symbols that files hold
        if refining and (self.encoding is None or checkpoint.step % options.measured_every == 0):
            self.encoding = Encoding(model.eval(), self.probes, options.rounds)
        pictures = self.training.reduced(options.batch_size, options.crop, self.draw)
        spread = curriculum_range(options, done)
        rate_point = rate_points(options.batch_size, spread, self.draw).to(self.device)
        train_analysis = not options.keep_encoder
        if refining and checkpoint.step % options.analysis_every:
            train_analysis = False
        model.train()
        with self.autocast:
            terms = model.terms(
                pictures,
                rate_point,
                self.encoding if refining else None,
                analysis=train_analysis,
                syntheses=self._syntheses() if options.beside_in_turn else None,
            )
        loss = weighted_loss(model.config, rate_point, terms.y_bits + terms.z_bits, terms.error.mean(0))
        no_bits = torch.zeros_like(terms.analysis_error)
        analysis_loss = weighted_loss(model.config, rate_point, no_bits, terms.analysis_error)
        hyper_loss = options.hyper_decay * terms.hyper_square.mean()
        self.optimizer.zero_grad(set_to_none=True)
        (loss + analysis_loss + hyper_loss).backward()  # type: ignore[no-untyped-call]
        if spread < 1:
            share_gradients(model, spread)
        if self.clip(model.parameters()):
            self.optimizer.step()
        keep = min(options.average, (1 + checkpoint.step) / (10 + checkpoint.step))
        budget.average(self.averaged, model, keep)
        seen = (loss, terms.y_bits.mean(), terms.z_bits.mean(), terms.error.mean(), terms.hyper_square.mean())
        self.sums += torch.stack([value.detach() for value in seen])
        self._count()

    def validate(self) -> None:
        """Validate the averaged weights; one line of ``metrics.jsonl``. The best are kept in ``best``."""
        checkpoint = self.checkpoint
        loss, y_bpp, z_bpp, mse, hyper_square = (self.sums / self.options.validate_every).tolist()
        self.sums.zero_()
        checkpoint.metrics = validation.validate(self.averaged, self.test_pictures)
        row = {"step": checkpoint.step, "loss": loss, "y_bpp": y_bpp, "z_bpp": z_bpp, "mse": mse}
        row["hyper_square"] = hyper_square
        row |= {"gradient": self.clip.usual, "cut": self.clip.take_cut()} | checkpoint.metrics
        row |= {"elapsed_s": checkpoint.elapsed_s, "cpu_s": time.process_time()}
        if checkpoint.metrics["score"] < self.best_score:
            self.best_score = checkpoint.metrics["score"]
            checkpoints.save(self.out / BEST, replace(checkpoint, model=self.averaged))
        with (self.out / LOG).open("a") as file:
            file.write(json.dumps(row) + "\n")
        self.bar.set_postfix(loss=f"{loss:.4f}", score=f"{checkpoint.metrics['score']:.4f}")

    def save(self) -> None:
        """The averaged weights and the optimizer as a checkpoint, the raw weights next to it."""
        checkpoint = self.checkpoint
        checkpoints.save_raw(self.out, RAW, self.model)
        checkpoint.model = self.averaged
        checkpoints.save(self.out, checkpoint, self.optimizer, self.model)
        checkpoint.model = self.model
        self.saved_at = time.monotonic()

    def record(self) -> None:
        """The progress bar."""
        self.bar.update(1)

    def close(self) -> None:
        """The checkpoint's model is the averaged one, on the CPU."""
        self.bar.close()
        self.checkpoint.model = self.averaged.cpu().eval()

    def done(self) -> bool:
        """Whether the budget is used, or this session's part of it."""
        return bool(self.checkpoint.stopped_by) or self.paused

    def validation_due(self) -> bool:
        """Every ``validate_every`` steps, and at the end."""
        return self.checkpoint.step % self.options.validate_every == 0 or bool(self.checkpoint.stopped_by)

    def save_due(self) -> bool:
        """Every ``save_minutes``, and at the end."""
        return time.monotonic() - self.saved_at > 60 * self.options.save_minutes or self.done()

    def _count(self) -> None:
        """Count a step, and say what ended the budget."""
        checkpoint, steps = self.checkpoint, self.options.steps
        checkpoint.step += 1
        checkpoint.elapsed_s = self.elapsed_before + time.monotonic() - self.started
        if self._budget_used(checkpoint.elapsed_s) >= 1:
            checkpoint.stopped_by = "steps" if steps and checkpoint.step >= steps else "minutes"
        self.paused = 0 < 60 * self.options.pause_minutes <= time.monotonic() - self.started

    def _budget_used(self, elapsed_s: float) -> float:
        return budget.used(self.checkpoint.step, self.options.steps, elapsed_s, self.options.max_minutes)

    def _syntheses(self) -> list[str]:
        """Names of the syntheses that this step trains: the codec's own, and one of ``beside`` in turn."""
        own, *beside = self.model.syntheses()
        return [own, beside[self.checkpoint.step % len(beside)]] if beside else [own]


def _best_score(log: Path) -> float:
    """The lowest score in a training log, infinite where there is none."""
    if not log.exists():
        return math.inf
    return min((json.loads(line)["score"] for line in log.read_text().splitlines()), default=math.inf)
