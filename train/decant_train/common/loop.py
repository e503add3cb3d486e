"""The training loop of the families that learn from a fixed set of images, epoch after epoch.

A family's network gives ``loss(images)``; what differs between families is data (Options) or the Task. The
order is: restore, then for every epoch shuffle, step, log; now and then evaluate and save; stop by
convergence, epochs or minutes, whichever comes first.
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
    """Train ``task`` and keep it in the folder ``out``; ``checkpoint.model`` is the task's network.

    With ``resume``, ``checkpoint`` came from ``out`` and training goes on where it stopped, time included.
    Ctrl-C saves and stops.
    """
    device = budget.device_of(options.device)
    task.to(device)
    budget.keep_freed_memory()
    optimizer = torch.optim.Adam(task.parameter_groups(options.learning_rate), fused=True)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    if resume and not checkpoints.load_optimizer(out, task.model, optimizer):
        log.warning("%s holds weights only: Adam starts anew", out)
    checkpoint.options = asdict(options)
    out.mkdir(parents=True, exist_ok=True)
    log_path = out / "metrics.jsonl"
    rows = _rows_until(log_path, checkpoint.epoch) if resume else []
    log_path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    losses: list[float] = [row["loss"] for row in rows]
    previous_ssim = checkpoint.metrics.get("ssim")

    autocast = budget.autocast(device, options.precision)
    started, before = time.monotonic(), checkpoint.elapsed_s
    last_save = started
    bar = tqdm(
        total=options.epochs or None,
        initial=checkpoint.epoch,
        unit="epoch",
        disable=not progress,
        dynamic_ncols=True,
    )
    checkpoint.stopped_by = ""
    with log_path.open("a", buffering=1) as log_file, bar:
        while not checkpoint.stopped_by:
            epoch_started = time.monotonic()
            done = _done(options, checkpoint.epoch, before + epoch_started - started)
            factor = budget.cosine(done, 0.01) if options.schedule == "cosine" else 1.0
            for group, base_rate in zip(optimizer.param_groups, base_rates, strict=True):
                group["lr"] = base_rate * factor
            task.model.train()
            left_s = 60 * options.max_minutes - (before + epoch_started - started)
            ends_at = epoch_started + left_s if options.max_minutes else math.inf
            try:
                loss, steps = _epoch(task, optimizer, autocast, options, checkpoint.epoch, ends_at)
            except KeyboardInterrupt:
                checkpoint.stopped_by = "interrupt"
                break
            now = time.monotonic()
            checkpoint.epoch += 1
            checkpoint.step += steps
            checkpoint.elapsed_s = before + now - started
            losses.append(loss)
            row: dict[str, float] = {
                "epoch": checkpoint.epoch,
                "step": checkpoint.step,
                "loss": loss,
                "learning_rate": options.learning_rate * factor,
            }
            row["images_per_s"] = min(len(task), steps * options.batch_size) / (now - epoch_started)
            row["elapsed_s"] = checkpoint.elapsed_s

            if _done(options, checkpoint.epoch, checkpoint.elapsed_s) >= 1:
                checkpoint.stopped_by = (
                    "epochs" if options.epochs and checkpoint.epoch >= options.epochs else "minutes"
                )
            if checkpoint.epoch % options.evaluate_every == 0 or checkpoint.stopped_by:
                task.model.eval()
                checkpoint.metrics = task.evaluate() | {"loss": loss}
                row |= checkpoint.metrics
            if checkpoint.epoch % WINDOW == 0:
                if options.stop_when_converged and converged(
                    losses, checkpoint.metrics["ssim"], previous_ssim
                ):
                    checkpoint.stopped_by = "convergence"
                previous_ssim = checkpoint.metrics["ssim"]
            log_file.write(json.dumps(row) + "\n")
            if now - last_save > 60 * options.save_minutes:
                task.finish()
                checkpoints.save(out, checkpoint, optimizer)
                last_save = time.monotonic()
            bar.update(1)
            bar.set_postfix(_postfix(row, checkpoint, options))
    task.model.eval()
    task.finish()
    if "ssim" not in checkpoint.metrics or checkpoint.stopped_by == "interrupt":
        checkpoint.metrics = task.evaluate() | {"loss": losses[-1] if losses else math.nan}
    checkpoints.save(out, checkpoint, optimizer)
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


def _done(options: Options, epoch: int, elapsed_s: float) -> float:
    return budget.used(epoch, options.epochs, elapsed_s, options.max_minutes)


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
