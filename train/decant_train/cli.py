"""``decant train``: images in, checkpoint out."""

import json
import sys
from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("family", type=click.Choice(["set", "denoiser"]))
@click.argument("size")
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    help="Folder of training images; the photos in the wheels when left out.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Checkpoint folder.")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    multiple=True,
    help="denoiser: checkpoints whose pictures it mends.",
)
@click.option("--plain", is_flag=True, help="set: the variant without residual shortcuts.")
@click.option("--joint", is_flag=True, help="set: train encoder and decoder together, as published (slower).")
@click.option("--num-layers", type=int, help="set: stride-2 blocks.")
@click.option("--latent-dim", type=int, help="set: numbers per latent vector.")
@click.option("--image-size", type=int, help="set: side of the square images, in pixels.")
@click.option("--set-size", type=int, help="set: number of images.")
@click.option(
    "--fit",
    type=click.Choice(["crop", "stretch"]),
    default="crop",
    help="Centre square, or the published distorting resize.",
)
@click.option("--epochs", default=0, help="Stop after so many epochs (0: no limit).")
@click.option("--max-minutes", default=0.0, help="Stop after so many minutes (0: no limit).")
@click.option("--batch-size", type=int, help="Images per step.")
@click.option("--learning-rate", type=float, help="Adam's learning rate.")
@click.option(
    "--schedule",
    type=click.Choice(["constant", "cosine"]),
    help="Default: cosine when epochs or minutes are given, else constant.",
)
@click.option("--no-convergence-stop", is_flag=True, help="Train until epochs or minutes run out.")
@click.option("--precision", type=click.Choice(["bf16", "float32"]), default="bf16")
@click.option("--device", default="auto", help="cpu, cuda, or auto.")
@click.option(
    "--threads",
    type=int,
    help="CPU threads; default 1, which is the fastest on a machine shared with other work.",
)
@click.option("--seed", default=0)
@click.option("--resume", is_flag=True, help="Go on with the checkpoint in --out.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def train(**given: Any) -> None:
    """Train SIZE of FAMILY (set: small, base, large, xlarge; denoiser: default) on a folder of images."""
    from decant_train.checkpoint import CheckpointError
    from decant_train.data import NoImagesError

    try:
        _train(**given)
    except (NoImagesError, CheckpointError, ValueError, FloatingPointError, OSError) as error:
        click.echo(f"decant: {error}", err=True)
        sys.exit(1)


def _train(
    family: str, size: str, out: Path, resume: bool, quiet: bool, threads: int | None, **given: Any
) -> None:
    import torch

    from decant_train import loop, plots, recipes

    torch.set_num_threads(threads or 1)
    bounded = bool(given["epochs"] or given["max_minutes"])
    chosen = {
        "epochs": given["epochs"],
        "max_minutes": given["max_minutes"],
        "batch_size": given["batch_size"],
        "learning_rate": given["learning_rate"],
        "schedule": given["schedule"] or ("cosine" if bounded else "constant"),
        "stop_when_converged": not given["no_convergence_stop"],
        "precision": given["precision"],
        "device": given["device"],
        "seed": given["seed"],
    }
    options = loop.Options(**{name: value for name, value in chosen.items() if value is not None})
    shape = {
        name: given[name]
        for name in ("num_layers", "latent_dim", "image_size", "set_size")
        if given[name] is not None
    }
    if family == "set":
        done = recipes.train_set(
            size,
            out,
            options,
            images=given["images"],
            fit=given["fit"],
            plain=given["plain"],
            joint=given["joint"],
            shape=shape,
            resume=resume,
            progress=not quiet,
        )
    else:
        done = recipes.train_denoiser(
            size,
            out,
            options,
            sets=given["checkpoint"],
            images=given["images"],
            resume=resume,
            progress=not quiet,
        )
    plots.training_curves(out)
    click.echo(
        json.dumps(
            {
                "checkpoint": str(out),
                "stopped_by": done.stopped_by,
                "epoch": done.epoch,
                **_rounded(done.metrics),
            }
        )
    )


def _rounded(metrics: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in metrics.items()}
