"""What several training commands share: options, their values, the summary at the end."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
FOLDER = click.Path(path_type=Path)


def shared_options(command: Command) -> Command:
    """Decorator: the options that every family has."""
    options = (
        click.option("--out", required=True, type=FOLDER, help="Checkpoint folder."),
        click.option("--max-minutes", default=0.0, help="Stop after this many minutes (0: no limit)."),
        click.option("--batch-size", type=int, help="Images per step."),
        click.option("--learning-rate", type=float, help="Adam's learning rate."),
        click.option("--precision", type=click.Choice(["auto", "bf16", "float32"]), default="auto"),
        click.option("--device", default="auto", help="cpu, cuda, or auto."),
        click.option("--threads", default=1, help="CPU threads. On a busy machine one is as fast as two."),
        click.option("--seed", default=0),
        click.option("--resume", is_flag=True, help="Resume from the checkpoint in --out."),
        click.option("--quiet", is_flag=True, help="No progress bar."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def epoch_options(command: Command) -> Command:
    """Decorator: the options of families that train on a fixed set of images in epochs."""
    options = (
        click.option("--epochs", default=0, help="Stop after this many epochs (0: no limit)."),
        click.option(
            "--schedule",
            type=click.Choice(["constant", "cosine"]),
            help="Learning rate over time. Default: cosine if epochs or minutes are given, else constant.",
        ),
        click.option("--no-convergence-stop", is_flag=True, help="Train until epochs or minutes run out."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def loop_options(given: dict[str, Any]) -> Any:
    """``decant_train.common.loop.Options`` of the options ``given`` to a command."""
    from decant_train.common.loop import Options

    set_threads(given)
    bounded = bool(given["epochs"] or given["max_minutes"])
    given["schedule"] = given["schedule"] or ("cosine" if bounded else "constant")
    names = (
        "epochs",
        "max_minutes",
        "batch_size",
        "learning_rate",
        "schedule",
        "precision",
        "device",
        "seed",
    )
    chosen = {name: given[name] for name in names if given[name] is not None}
    return Options(**chosen, stop_when_converged=not given["no_convergence_stop"])


def set_threads(given: dict[str, Any]) -> None:
    """Have torch use the threads of ``--threads``."""
    import torch

    torch.set_num_threads(given["threads"])


def report(out: Path, done: Any) -> None:
    """Draw the curves of the checkpoint ``done`` in ``out``, and print its figures as JSON."""
    from decant_train.common import plots

    plots.training_curves(out)
    figures = {name: round(value, 6) for name, value in done.metrics.items()}
    summary = {"checkpoint": str(out), "stopped_by": done.stopped_by, "epoch": done.epoch, "step": done.step}
    click.echo(json.dumps(summary | figures))
