"""The trainer of the published systems: epochs over a fixed set of images.

Families differ in their data (``Options``) and their ``Task``. A step is an epoch: shuffle, then one
optimizer step per batch. Training stops by convergence, epochs or minutes, whichever comes first.
"""

import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from decant.formats.paths import takes_paths
from torch import Tensor, nn
from tqdm import tqdm

from decant_train.common import budget
from decant_train.common import checkpoint as checkpoints
from decant_train.common.checkpoint import Checkpoint
from decant_train.common.convergence import WINDOW, converged
from decant_train.common.metrics import psnr_of_mse
from decant_train.common.trainer import Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How to train. ``epochs`` and ``max_minutes`` of 0 mean no limit; training that has neither stops by
    convergence. Minutes are looked at after every step: the last epoch may be a part of one.
    """

    epochs: int = 0
    max_minutes: float = 0.0
    batch_size: int = 16
    learning_rate: float = 3e-3  # published: 1e-3; 3e-3 is 2.5 dB ahead after two minutes of `small`
    schedule: str = "constant"  # or "cosine": down to 1 % of the rate when epochs or minutes run out
    stop_when_converged: bool = True  # the published test, every 100 epochs
    evaluate_every: int = WINDOW  # epochs
    save_minutes: float = 3.0
    precision: str = "auto"  # of budget.PRECISIONS
    device: str = "auto"  # cuda when there is one, else cpu
    seed: int = 0

    def __post_init__(self) -> None:
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f"schedule is 'constant' or 'cosine', not {self.schedule!r}")
        if self.schedule == "cosine" and not (self.epochs or self.max_minutes):
            raise ValueError("the cosine schedule needs an end: give epochs or max_minutes")
        if self.precision not in budget.PRECISIONS:
            raise ValueError(f"precision is one of {', '.join(budget.PRECISIONS)}, not {self.precision!r}")
        if self.batch_size < 1 or self.evaluate_every < 1:
            raise ValueError("batch_size and evaluate_every must be at least 1")


class Task(Protocol):
    """What is trained: a network, its training batches and its evaluation."""

    @property
    def model(self) -> nn.Module:
        """The network whose parameters are saved."""

    def to(self, device: torch.device) -> None:
        """Move network and data to ``device``."""

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """What is trained, at which rate, in the form of torch's optimizers."""

    def batches(self, order: Tensor, size: int) -> Iterator[Any]:
        """Training batches in the order of ``order``, a permutation of the samples."""

    def __len__(self) -> int:
        """Number of training samples."""

    def loss(self, batch: Any) -> Tensor:
        """Mean squared error of one batch, scalar float32."""

    def evaluate(self) -> dict[str, float]:
        """Metrics of the network as it is, in float32, "psnr" and "ssim" among them."""

    def finish(self) -> None:
        """Called before every save: settle what follows from the trained parameters."""


class EpochTrainer(Trainer):
    """Trains ``task`` epoch after epoch; ``checkpoint.model`` is the task's network. Ctrl-C saves and stops.

    ``resume``: ``checkpoint`` came from ``out`` and training goes on where it stopped, time included.
    """

    def __init__(
        self, task: Task, checkpoint: Checkpoint, out: Path, options: Options, *, resume: bool, progress: bool
    ) -> None:
        self.task, self.checkpoint, self.out, self.options = task, checkpoint, out, options
        self.resume, self.log_path = resume, out / "metrics.jsonl"
        self.row: dict[str, float] | None = None  # the log's line for this epoch, None if interrupted
        self.bar = tqdm(
            total=options.epochs or None,
            initial=checkpoint.epoch,
            unit="epoch",
            disable=not progress,
            dynamic_ncols=True,
        )

    def prepare(self) -> None:
        """Task on the device, optimizer, and state and log of a run to resume."""
        options, checkpoint, task = self.options, self.checkpoint, self.task
        device = budget.device_of(options.device)
        self.autocast = budget.autocast(device, options.precision)
        task.to(device)
        budget.keep_freed_memory()
        self.optimizer = torch.optim.Adam(task.parameter_groups(options.learning_rate), fused=True)
        self.base_rates = [group["lr"] for group in self.optimizer.param_groups]
        if self.resume and not checkpoints.load_optimizer(self.out, task.model, self.optimizer):
            log.warning("%s holds weights only: Adam starts anew", self.out)
        checkpoint.options, checkpoint.stopped_by = asdict(options), ""
        self.out.mkdir(parents=True, exist_ok=True)
        rows = _rows_until(self.log_path, checkpoint.epoch) if self.resume else []
        self.log_path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.losses: list[float] = [row["loss"] for row in rows]
        self.previous_ssim = checkpoint.metrics.get("ssim")
        self.started, self.elapsed_before = time.monotonic(), checkpoint.elapsed_s
        self.saved_at = self.started

    def step(self) -> None:
        """One epoch, or the part of it that fits the budget."""
        options, checkpoint = self.options, self.checkpoint
        epoch_started = time.monotonic()
        elapsed_s = self.elapsed_before + epoch_started - self.started
        used = self._budget_used(elapsed_s)
        factor = budget.cosine(used, 0.01) if options.schedule == "cosine" else 1.0
        for group, base_rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = base_rate * factor
        left_s = 60 * options.max_minutes - elapsed_s
        ends_at = epoch_started + left_s if options.max_minutes else math.inf
        self.task.model.train()
        try:
            loss, steps = _epoch(self.task, self.optimizer, self.autocast, options, checkpoint.epoch, ends_at)
        except KeyboardInterrupt:
            checkpoint.stopped_by, self.row = "interrupt", None
            return
        now = time.monotonic()
        checkpoint.epoch += 1
        checkpoint.step += steps
        checkpoint.elapsed_s = self.elapsed_before + now - self.started
        self.losses.append(loss)
        self.row = {
            "epoch": checkpoint.epoch,
            "step": checkpoint.step,
            "loss": loss,
            "learning_rate": options.learning_rate * factor,
            "images_per_s": min(len(self.task), steps * options.batch_size) / (now - epoch_started),
            "elapsed_s": checkpoint.elapsed_s,
        }
        if self._budget_used(checkpoint.elapsed_s) >= 1:
            by_epochs = options.epochs and checkpoint.epoch >= options.epochs
            checkpoint.stopped_by = "epochs" if by_epochs else "minutes"

    def validate(self) -> None:
        """The task's metrics, which become a part of this epoch's line in the log."""
        self._evaluate()
        if self.row is not None:
            self.row |= self.checkpoint.metrics

    def record(self) -> None:
        """Test for convergence; write the log's line and the progress bar."""
        if self.row is None:
            return
        checkpoint, options = self.checkpoint, self.options
        if checkpoint.epoch % WINDOW == 0:
            ssim = checkpoint.metrics["ssim"]
            if options.stop_when_converged and converged(self.losses, ssim, self.previous_ssim):
                checkpoint.stopped_by = "convergence"
            self.previous_ssim = ssim
        with self.log_path.open("a") as file:
            file.write(json.dumps(self.row) + "\n")
        self.bar.update(1)
        self.bar.set_postfix(_postfix(self.row, checkpoint, options))

    def save(self) -> None:
        """Settle what follows from the trained parameters, and write the checkpoint."""
        self.task.finish()
        checkpoints.save(self.out, self.checkpoint, self.optimizer)
        self.saved_at = time.monotonic()

    def close(self) -> None:
        """Metrics and checkpoint at the end."""
        self.bar.close()
        checkpoint = self.checkpoint
        self.task.model.eval()
        self.task.finish()
        if "ssim" not in checkpoint.metrics or checkpoint.stopped_by == "interrupt":
            self._evaluate()
        self.save()

    def done(self) -> bool:
        """Whether budget, convergence or Ctrl-C ended the run."""
        return bool(self.checkpoint.stopped_by)

    def validation_due(self) -> bool:
        """Every ``evaluate_every`` epochs, and at the end of the budget."""
        due = self.checkpoint.epoch % self.options.evaluate_every == 0 or self.done()
        return due and self.row is not None

    def save_due(self) -> bool:
        """Every ``save_minutes``."""
        return time.monotonic() - self.saved_at > 60 * self.options.save_minutes

    def _evaluate(self) -> None:
        self.task.model.eval()
        loss = self.losses[-1] if self.losses else math.nan
        self.checkpoint.metrics = self.task.evaluate() | {"loss": loss}

    def _budget_used(self, elapsed_s: float) -> float:
        options = self.options
        return budget.used(self.checkpoint.epoch, options.epochs, elapsed_s, options.max_minutes)


@takes_paths
def fit(
    task: Task,
    checkpoint: Checkpoint,
    out: Path,
    options: Options,
    *,
    resume: bool = False,
    progress: bool = True,
) -> Checkpoint:
    """Train ``task`` with ``EpochTrainer`` and keep it in the folder ``out``; returns ``checkpoint``."""
    EpochTrainer(task, checkpoint, out, options, resume=resume, progress=progress).run()
    return checkpoint


def _epoch(
    task: Task,
    optimizer: torch.optim.Optimizer,
    autocast: Any,
    options: Options,
    epoch: int,
    ends_at: float,
) -> tuple[float, int]:
    """One pass over the samples, cut short after the first step that ends past ``ends_at``
    (``time.monotonic``); the mean loss and the number of steps. The order depends on seed and epoch alone.
    """
    order = torch.randperm(
        len(task), generator=torch.Generator().manual_seed(options.seed * 1_000_003 + epoch)
    )
    total, steps = torch.zeros(()), 0
    for batch in task.batches(order, options.batch_size):
        with autocast:
            loss = task.loss(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total, steps = total + loss.detach().cpu(), steps + 1
        if time.monotonic() >= ends_at:
            break
    mean = float(total) / steps
    if not math.isfinite(mean):
        raise FloatingPointError(
            f"the loss became {mean} in epoch {epoch + 1}; lower the learning rate or train in float32"
        )
    return mean, steps


def _postfix(row: dict[str, float], checkpoint: Checkpoint, options: Options) -> dict[str, str]:
    shown = {
        "loss": f"{row['loss']:.2e}",
        "PSNR": f"{psnr_of_mse(row['loss']):.2f}",
        "images/s": f"{row['images_per_s']:.0f}",
    }
    if "ssim" in checkpoint.metrics:
        shown["SSIM"] = f"{checkpoint.metrics['ssim']:.4f}"
    if options.max_minutes:
        shown["left"] = f"{max(0.0, options.max_minutes - checkpoint.elapsed_s / 60):.1f} min"
    return shown


def _rows_until(path: Path, epoch: int) -> list[dict[str, float]]:
    """The log's rows up to ``epoch``: those after the last save describe steps that were lost."""
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    return [row for row in rows if row["epoch"] <= epoch]
