"""Fine-tuning of a codec's decoder on the symbols that its encoder writes into files: first the networks of
the entropy model whose input is symbols, then each synthesis.

A step takes a tenth of the time of a step that trains the whole codec, and encoded batches are used for
several steps. The analysis is frozen, so that bundles of one checkpoint still share their encoder.
"""

import copy
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from decant_train.codec.curriculum import rate_points
from decant_train.codec.encoder import Encoding
from decant_train.codec.finetune_parts import EntropyModelPart, Part, SynthesisPart, part_metrics
from decant_train.codec.model import Codec, alone, part
from decant_train.codec.options import check_crop
from decant_train.codec.sensitivity import probe_pictures
from decant_train.codec.validation import VALIDATION_CROP
from decant_train.common import budget
from decant_train.common import checkpoint as checkpoints
from decant_train.common.checkpoint import Checkpoint
from decant_train.common.trainer import Trainer
from decant_train.data.photos import Photos

PRIOR = "prior"
LOG = "finish.jsonl"
VALIDATION_CROPS = 12


@dataclass(frozen=True)
class FinetuneOptions:
    """Options of a fine-tuning. The budget is ``steps`` or ``max_minutes``, whichever ends first; every part
    gets an equal share. Learning rates rise over ``warmup`` steps and fall as a cosine over the last
    ``decay``. Raises ValueError without a budget.
    """

    steps: int = 0
    max_minutes: float = 0.0
    batch_size: int = 8
    crop: int = 192  # pixels, a multiple of 64
    learning_rate: float = 1e-3  # of the renderer's layers
    prior_rate: float = 5e-4  # of the entropy model's networks
    mean_rate: float = 0.0  # of prior_rate, for the hyper synthesis
    prior_reuse: int = 3  # as ``reuse``, for the entropy model: it overfits to few crops
    linear_rate: float = 0.01  # of learning_rate, for the linear layers: the analysis does not follow them
    warmup: int = 50
    decay: float = 0.7
    reuse: int = 12  # steps for each batch that is encoded
    pool: int = 160  # batches that are kept to draw from
    measured_every: int = 40  # batches between measurements of the synthesis' sensitivity
    plain: float = 0.5  # share of the batches that are encoded without latent refinement
    grainy: float = 0.4  # share of the reduced crops that get noise
    spread: float = 1.0  # of all rate points
    average: float = 0.995  # of the weights, per step (exponential moving average)
    clip_norm: float = 1.0
    log_every: int = 600  # steps
    device: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.steps > 0 or self.max_minutes > 0):
            raise ValueError("fine-tuning needs a budget: give steps or max_minutes")


class PartTrainer(Trainer):
    """Fine-tunes one ``part`` of ``checkpoint.model`` and stores the best averaged weights in ``out``.

    ``single`` is a copy of the codec with one synthesis, which encodes. The part gets the ``share`` (0..1) of
    the budget. ``log`` has the lines of earlier parts, and receives those of this one.

    The best weights are those with the lowest validation score. The error on training latents is no measure:
    it always falls, since a decoder can learn to use refinements that the encoder cannot follow.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        name: str,
        part: Part,
        single: Codec,
        data: tuple[Photos, Tensor],
        out: Path,
        options: FinetuneOptions,
        share: float,
        log: list[dict[str, Any]],
        progress: bool,
    ) -> None:
        self.checkpoint, self.name, self.part, self.single = checkpoint, name, part, single
        self.training, self.test_pictures = data
        self.out, self.options, self.share, self.log = out, options, share, log
        self.bar = tqdm(unit="step", disable=not progress, dynamic_ncols=True)

    def prepare(self) -> None:
        """Optimizer and averaged weights, and the metrics to start from."""
        options, part = self.options, self.part
        self.draw = torch.Generator().manual_seed(options.seed)
        part.network.train()
        self.optimizer = torch.optim.Adam(part.groups, betas=(0.9, 0.99))
        self.base_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.averaged = copy.deepcopy(part.network)
        self.pool: list[tuple[Tensor, ...]] = []
        self.steps, self.used, self.started = 0, 0.0, time.monotonic()
        self.probes = probe_pictures(self.training, options.crop)
        self.start = self.best = self._metrics(0.0)
        self.best_weights = copy.deepcopy(self.averaged.state_dict())
        self.log.append({"part": self.name} | self.start)

    def step(self) -> None:
        """One optimizer step on a batch of the pool; every ``reuse`` steps the pool gets a new batch."""
        options, part, step = self.options, self.part, self.steps
        if step % part.reuse == 0:
            self._encode_batch()
        factor = budget.rate_factor(step, self.used, warmup=options.warmup, decay=options.decay)
        for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * factor
        batch = self.pool[int(torch.randint(len(self.pool), (), generator=self.draw))]
        loss = part.loss(self.encoding, *batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.trained, options.clip_norm)
        self.optimizer.step()
        budget.average(self.averaged, part.network, min(options.average, (1 + step) / (10 + step)))
        self.steps += 1
        steps = max(1, round(options.steps * self.share)) if options.steps else 0
        elapsed_s = time.monotonic() - self.started
        self.used = budget.used(self.steps, steps, elapsed_s, options.max_minutes * self.share)

    def validate(self) -> None:
        """Metrics of the averaged weights, which are kept if they are the best so far."""
        row = self._metrics(time.monotonic() - self.started)
        if row["score"] < self.best["score"]:
            self.best_weights, self.best = copy.deepcopy(self.averaged.state_dict()), row
        self.log.append({"part": self.name} | row)
        self.bar.set_postfix_str(f"{row['psnr']:.3f} dB, {row['score']:.4f}")

    def save(self) -> None:
        """The checkpoint with the best weights of this part, and the log of all parts."""
        model = self.checkpoint.model
        assert isinstance(model, Codec)
        network = model.hyperprior if self.name == PRIOR else model.syntheses()[self.name]
        network.load_state_dict(self.best_weights)
        prefix = f"{self.name}_" if self.name else ""
        self.checkpoint.metrics |= {
            f"{prefix}{when}_{what}": row[what]
            for when, row in (("begun", self.start), ("finished", self.best))
            for what in ("psnr", "score")
        }
        (self.out / LOG).write_text("".join(json.dumps(row) + "\n" for row in self.log))
        checkpoints.save(self.out, self.checkpoint)

    def record(self) -> None:
        """The progress bar."""
        self.bar.update(1)

    def close(self) -> None:
        """Ends the progress bar."""
        self.bar.close()

    def done(self) -> bool:
        """Whether this part's share of the budget is used."""
        return self.used >= 1

    def validation_due(self) -> bool:
        """Every ``log_every`` steps, and at the end."""
        return self.steps % self.options.log_every == 0 or self.done()

    def save_due(self) -> bool:
        """After every validation."""
        return self.validation_due()

    def _encode_batch(self) -> None:
        options, part = self.options, self.part
        pictures = self.training.reduced(options.batch_size, options.crop, self.draw, grainy=options.grainy)
        rate_point = rate_points(options.batch_size, options.spread, self.draw).to(pictures.device)
        part.network.eval()
        if self.steps == 0 or (part.moves_pixels and self.steps % (part.reuse * options.measured_every) == 0):
            self.encoding = Encoding(self.single, self.probes)
        plain = float(torch.rand((), generator=self.draw)) < options.plain
        encoder = self.encoding.unrefined() if plain else self.encoding
        batch = part.batch(encoder.sent(pictures, rate_point), pictures, rate_point)
        part.network.train()
        self.pool = [*self.pool[-options.pool + 1 :], batch]

    def _metrics(self, elapsed_s: float) -> dict[str, Any]:
        metrics = part_metrics(self.single, self.part.attribute, self.averaged, self.test_pictures)
        return {"step": self.steps, "elapsed_s": elapsed_s} | metrics


def finetune(
    checkpoint: Checkpoint,
    training: Photos,
    validation: Photos,
    out: Path,
    options: FinetuneOptions,
    *,
    parts: Sequence[str] = (),
    progress: bool = True,
) -> Checkpoint:
    """Fine-tune ``parts`` of ``checkpoint.model``, a Codec, one after the other, and keep the checkpoint in
    ``out``.

    A part is ``PRIOR``, the networks of the entropy model that symbols go into, or a synthesis: a name of
    ``config.beside``, or "" for the codec's own. Without ``parts``, all of them. Raises ValueError.
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
    log: list[dict[str, Any]] = []
    names = list(parts or (PRIOR, *model.syntheses()))
    for name in names:
        beside = name in model.config.beside
        single = (part(model, name) if beside else alone(model)).to(device).eval()
        trained: Part
        if name == PRIOR:
            trained = EntropyModelPart(single, options.prior_rate, options.mean_rate, options.prior_reuse)
        else:
            trained = SynthesisPart(single, options.learning_rate, options.linear_rate, options.reuse)
        data, share = (training, tests), 1 / len(names)
        PartTrainer(checkpoint, name, trained, single, data, out, options, share, log, progress).run()
    model.eval()
    return checkpoint
