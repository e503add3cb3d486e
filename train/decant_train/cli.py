"""``decant train FAMILY SIZE``: images in, checkpoint out. One subcommand a family."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

FOLDER = click.Path(path_type=Path)


def _shared(command: Command) -> Command:
    """The options that every family has."""
    options = (
        click.option("--out", required=True, type=FOLDER, help="Checkpoint folder."),
        click.option("--max-minutes", default=0.0, help="Stop after so many minutes (0: no limit)."),
        click.option("--batch-size", type=int, help="Images per step."),
        click.option("--learning-rate", type=float, help="Adam's learning rate."),
        click.option("--precision", type=click.Choice(["bf16", "float32"]), default="bf16"),
        click.option("--device", default="auto", help="cpu, cuda, or auto."),
        click.option("--threads", default=1, help="CPU threads. One is as fast as two on a busy machine."),
        click.option("--seed", default=0),
        click.option("--resume", is_flag=True, help="Go on with the checkpoint in --out."),
        click.option("--quiet", is_flag=True, help="No progress bar."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _epochs(command: Command) -> Command:
    """The options of families trained on a fixed set of images, epoch after epoch."""
    options = (
        click.option("--epochs", default=0, help="Stop after so many epochs (0: no limit)."),
        click.option(
            "--schedule",
            type=click.Choice(["constant", "cosine"]),
            help="Default: cosine when epochs or minutes are given, else constant.",
        ),
        click.option("--no-convergence-stop", is_flag=True, help="Train until epochs or minutes run out."),
    )
    for option in reversed(options):
        command = option(command)
    return command


class OneLineErrors(click.Group):
    """Ends a command whose input is wrong with one line on stderr and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ValueError, FloatingPointError, OSError) as error:
            click.echo(f"decant: {error}", err=True)
            sys.exit(1)


@click.group(cls=OneLineErrors)
def train() -> None:
    """Train a model: images in, checkpoint out."""


@train.command("set")
@click.argument("size")
@click.option("--images", type=FOLDER, help="Folder of images; the photos in the wheels when left out.")
@click.option("--plain", is_flag=True, help="The variant without residual shortcuts.")
@click.option("--joint", is_flag=True, help="Train encoder and decoder together, as published (slower).")
@click.option("--ssim-weight", default=0.0, help="Add so much (1 - SSIM) to the loss (0: MSE, as published).")
@click.option("--num-layers", type=int, help="Stride-2 blocks.")
@click.option("--latent-dim", type=int, help="Numbers per latent vector.")
@click.option("--image-size", type=int, help="Side of the square images, in pixels.")
@click.option("--set-size", type=int, help="Number of images.")
@click.option(
    "--fit", type=click.Choice(["crop", "stretch"]), default="crop", help="Crop, or distort as published."
)
@_epochs
@_shared
def train_set(size: str, **given: Any) -> None:
    """Overfit a set autoencoder (small, base, large, xlarge) to a set of images."""
    from decant_train import recipes

    names = ("num_layers", "latent_dim", "image_size", "set_size")
    done = recipes.train_set(
        size,
        given["out"],
        _loop_options(given),
        images=given["images"],
        fit=given["fit"],
        plain=given["plain"],
        joint=given["joint"],
        ssim_weight=given["ssim_weight"],
        shape={name: given[name] for name in names if given[name] is not None},
        resume=given["resume"],
        progress=not given["quiet"],
    )
    _report(given["out"], done)


@train.command("denoiser")
@click.argument("size")
@click.option(
    "--checkpoint", type=FOLDER, multiple=True, help="Set checkpoint whose pictures it mends; repeatable."
)
@click.option("--images", type=FOLDER, help="Folder of the originals, when not where the checkpoints say.")
@_epochs
@_shared
def train_denoiser(size: str, **given: Any) -> None:
    """Train a denoiser (default, light) on what set checkpoints decode."""
    from decant_train import recipes

    done = recipes.train_denoiser(
        size,
        given["out"],
        _loop_options(given),
        sets=given["checkpoint"],
        images=given["images"],
        resume=given["resume"],
        progress=not given["quiet"],
    )
    _report(given["out"], done)


@train.command("codec")
@click.argument("size")
@click.option(
    "--images", type=FOLDER, multiple=True, required=True, help="Folder or packed file of photos; repeatable."
)
@click.option("--steps", default=0, help="Stop after so many steps (0: no limit).")
@click.option("--crop", type=int, help="Side of the training crops, a multiple of 64 pixels.")
@click.option(
    "--optimizer", type=click.Choice(["adam", "muon"]), help="Muon for convolutions, or Adam for all."
)
@click.option("--decay", type=float, help="Share of the budget, at its end, over which the rate falls.")
@click.option("--compile", is_flag=True, help="Compile a part of the step; needs a C++ compiler.")
@click.option("--begin", type=FOLDER, help="Codec checkpoint to start from, where shapes agree.")
@click.option(
    "--light", is_flag=True, help="Train nano's synthesis on the same latents beside the size's own."
)
@_shared
def train_codec(size: str, **given: Any) -> None:
    """Train the general codec (nano, lite, full) on photos."""
    from decant_train import recipes
    from decant_train.codec_loop import CodecOptions

    _threads(given)
    numbers = ("steps", "max_minutes", "batch_size", "learning_rate", "decay", "crop", "seed")
    names = (*numbers, "optimizer", "compile", "precision", "device")
    options = CodecOptions(**{name: given[name] for name in names if given[name] is not None})
    done = recipes.train_codec(
        size,
        given["out"],
        options,
        images=given["images"],
        shape={"light": True} if given["light"] else None,
        begin=given["begin"],
        resume=given["resume"],
        progress=not given["quiet"],
    )
    _report(given["out"], done)


@train.command("pack")
@click.argument("folder", type=FOLDER)
@click.option("--out", required=True, type=FOLDER, help="Packed file (.safetensors).")
@click.option("--part", default=0, help="Which part, from 0.")
@click.option("--parts", default=1, help="Take every PARTS-th picture only.")
def pack(folder: Path, out: Path, part: int, parts: int) -> None:
    """Pack a folder of photos, still compressed, into one file for `train codec`."""
    from decant_train import photos

    count = photos.pack(folder, out, part=part, parts=parts)
    click.echo(json.dumps({"packed": str(out), "pictures": count, "bytes": out.stat().st_size}))


@train.command("compact")
@click.argument("checkpoint", type=FOLDER)
@click.option("--out", required=True, type=FOLDER, help="Folder for the smaller checkpoint.")
def compact(checkpoint: Path, out: Path) -> None:
    """Keep a checkpoint's weights in 8 bits: to export, or to begin another training with."""
    from decant_train import checkpoint as checkpoints

    checkpoints.save_compact(out, checkpoints.load(checkpoint))
    click.echo(json.dumps({"checkpoint": str(out), "bytes": sum(p.stat().st_size for p in out.iterdir())}))


def _loop_options(given: dict[str, Any]) -> Any:
    from decant_train.loop import Options

    _threads(given)
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


def _threads(given: dict[str, Any]) -> None:
    import torch

    torch.set_num_threads(given["threads"])


def _report(out: Path, done: Any) -> None:
    from decant_train import plots

    plots.training_curves(out)
    figures = {name: round(value, 6) for name, value in done.metrics.items()}
    summary = {"checkpoint": str(out), "stopped_by": done.stopped_by, "epoch": done.epoch, "step": done.step}
    click.echo(json.dumps(summary | figures))
