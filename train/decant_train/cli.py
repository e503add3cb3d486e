"""``decant train FAMILY SIZE``: images in, checkpoint out. One subcommand a family."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

SHAPE = ("beside", "ms_ssim", "colour", "analysis_width", "analysis_blocks")
FOLDER = click.Path(path_type=Path)


def _shared(command: Command) -> Command:
    """The options that every family has."""
    options = (
        click.option("--out", required=True, type=FOLDER, help="Checkpoint folder."),
        click.option("--max-minutes", default=0.0, help="Stop after so many minutes (0: no limit)."),
        click.option("--batch-size", type=int, help="Images per step."),
        click.option("--learning-rate", type=float, help="Adam's learning rate."),
        click.option("--precision", type=click.Choice(["auto", "bf16", "float32"]), default="auto"),
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
    from decant_train.published.set import recipe as set_recipe

    names = ("num_layers", "latent_dim", "image_size", "set_size")
    done = set_recipe.train_set(
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
    from decant_train.published.denoiser import recipe as denoiser_recipe

    done = denoiser_recipe.train_denoiser(
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
    "--optimizer",
    type=click.Choice(["adam", "muon", "soap"]),
    help="Muon or SOAP for convolutions, or Adam.",
)
@click.option("--decay", type=float, help="Share of the budget, at its end, over which the rate falls.")
@click.option("--narrow", type=float, help="Share of the budget spent at the middle quality alone.")
@click.option("--widen", type=float, help="Share after that in which the range of qualities grows.")
@click.option("--reach", type=float, help="How far it grows, of all qualities.")
@click.option("--matrix-rate", type=float, help="Rate of Muon or SOAP, of --learning-rate (0.8).")
@click.option("--hyper-rate", type=float, help="Rate of hyperlatents and means, of --learning-rate (0.3).")
@click.option("--compile", is_flag=True, help="Compile a part of the step; needs a C++ compiler.")
@click.option("--begin", type=FOLDER, help="Codec checkpoint to start from, where shapes agree.")
@click.option("--beside", multiple=True, help="Train this size's synthesis on the same latents; repeatable.")
@click.option("--ms-ssim", type=float, help="Share of the distortion that is 1 - MS-SSIM (0), 0 to 1.")
@click.option(
    "--colour",
    type=click.Choice(["rgb", "ycbcr"]),
    help="Squared error of RGB, or luma and chroma.",
)
@click.option("--beside-in-turn", is_flag=True, help="Train one synthesis beside in each step, not all.")
@click.option("--analysis-width", type=int, help="Channels of the analysis at 1/8 (128).")
@click.option("--analysis-blocks", type=int, help="Residual blocks of the analysis at 1/8 and at 1/16 (2).")
@click.option("--validate-every", type=int, help="Steps between validations (1000).")
@click.option("--save-minutes", type=float, help="Minutes between checkpoints (4).")
@click.option(
    "--keep-encoder", is_flag=True, help="Leave the analysis as --begin has it: bundles can share it."
)
@_shared
def train_codec(size: str, **given: Any) -> None:
    """Train the general codec (nano, lite, full) on photos."""
    from decant_train.codec import recipe as recipes
    from decant_train.codec.train import CodecOptions

    _threads(given)
    numbers = ("steps", "max_minutes", "batch_size", "learning_rate", "decay", "crop", "seed")
    names = (
        *numbers,
        "narrow",
        "widen",
        "reach",
        "matrix_rate",
        "hyper_rate",
        "optimizer",
        "compile",
        "keep_encoder",
        "beside_in_turn",
        "validate_every",
        "save_minutes",
        "precision",
        "device",
    )
    shape = {name: given[name] for name in SHAPE if given[name]}
    options = CodecOptions(**{name: given[name] for name in names if given[name] is not None})
    done = recipes.train_codec(
        size,
        given["out"],
        options,
        images=given["images"],
        shape=shape,
        begin=given["begin"],
        resume=given["resume"],
        progress=not given["quiet"],
    )
    _report(given["out"], done)


@train.command("finish")
@click.argument("checkpoint", type=FOLDER)
@click.option(
    "--images", type=FOLDER, multiple=True, required=True, help="Folder or packed file of photos; repeatable."
)
@click.option("--out", required=True, type=FOLDER, help="Folder for the finished checkpoint.")
@click.option("--steps", default=0, help="Stop after so many steps (0: no limit).")
@click.option("--max-minutes", default=0.0, help="Stop after so many minutes (0: no limit).")
@click.option("--batch-size", type=int, help="Crops per step.")
@click.option("--crop", type=int, help="Side of the training crops, a multiple of 64 pixels.")
@click.option("--learning-rate", type=float, help="Adam's, for the renderer's layers.")
@click.option("--prior-rate", type=float, help="Adam's, for the prior's networks.")
@click.option("--mean-rate", type=float, help="Of that, for the means of hyperlatents (0: they stay).")
@click.option(
    "--own-prior",
    metavar="SIZE",
    help='Begin a finer prior for this size alone, trained beside, or "" for the codec\'s own.',
)
@click.option(
    "--part",
    "parts",
    multiple=True,
    help='"prior", a size trained beside, or "" for the codec\'s own synthesis; repeatable (all).',
)
@click.option("--device", default="auto", help="cpu, cuda, or auto.")
@click.option("--threads", default=1, help="CPU threads.")
@click.option("--seed", default=0)
@click.option("--quiet", is_flag=True, help="No progress bar.")
def finish(checkpoint: Path, **given: Any) -> None:
    """Train what decoders have of a codec, and nothing else, on what its encoder sends: scale classes (prior)
    and syntheses.
    """
    from decant_train.codec import recipe as recipes
    from decant_train.codec.finetune import FinishOptions

    _threads(given)
    names = ["steps", "max_minutes", "batch_size", "crop", "seed", "device"]
    names += ["learning_rate", "prior_rate", "mean_rate"]
    options = FinishOptions(**{name: given[name] for name in names if given[name] is not None})
    done = recipes.finish_codec(
        checkpoint,
        given["out"],
        options,
        images=given["images"],
        parts=given["parts"],
        own_prior=given["own_prior"],
        progress=not given["quiet"],
    )
    figures = {
        name: value for name, value in done.metrics.items() if name.endswith(("begun_psnr", "finished_psnr"))
    }
    click.echo(json.dumps({"checkpoint": str(given["out"])} | figures))


@train.command("digits")
@click.argument("size")
@click.option("--images", type=FOLDER, required=True, help="Folder of MNIST's four idx files.")
@click.option("--latent-dim", type=int, help="Numbers per latent vector.")
@click.option("--noise-bits", type=int, help="Train the latents to be stored in so many bits (0: no noise).")
@_epochs
@_shared
def train_digits(size: str, **given: Any) -> None:
    """Train the digit autoencoder (default) on 28x28 grey digits."""
    from decant_train.published.digits import recipe as recipes_digits

    done = recipes_digits.train_digits(
        size,
        given["out"],
        _loop_options(recipes_digits.DEFAULTS | {k: v for k, v in given.items() if v is not None}),
        images=given["images"],
        shape={name: given[name] for name in ("latent_dim", "noise_bits") if given[name] is not None},
        resume=given["resume"],
        progress=not given["quiet"],
    )
    _report(given["out"], done)


@train.command("digits-denoiser")
@click.argument("size")
@click.option("--checkpoint", type=FOLDER, required=True, help="Digit autoencoder whose pictures it mends.")
@click.option("--images", type=FOLDER, required=True, help="Folder of MNIST's four idx files.")
@_epochs
@_shared
def train_digits_denoiser(size: str, **given: Any) -> None:
    """Train the denoiser (default) over the digits that an autoencoder gives back."""
    from decant_train.published.digits import recipe as recipes_digits

    done = recipes_digits.train_digits_denoiser(
        size,
        given["out"],
        _loop_options(recipes_digits.DENOISER_DEFAULTS | {k: v for k, v in given.items() if v is not None}),
        decoder=given["checkpoint"],
        images=given["images"],
        resume=given["resume"],
        progress=not given["quiet"],
    )
    _report(given["out"], done)


@train.command("perceptual")
@click.argument("size")
@click.option("--images", type=FOLDER, help="Folder of photos; those in the wheels when left out.")
@click.option(
    "--features",
    type=FOLDER,
    help="VGG-19 weights for the perceptual loss: .npz of convolutions, layout in docs/training.md.",
)
@click.option("--bits", default=8, show_default=True, help="Bits a latent, 1 to 8.")
@click.option("--mu", default=0.1, show_default=True, help="Weight of the perceptual loss (0: MSE alone).")
@click.option("--pictures", default=0, help="Train on so many photos of the folder (0: all).")
@click.option("--encoder-weights", type=FOLDER, help="State dict of torchvision's ResNet; random without.")
@click.option("--begin", type=FOLDER, help="Checkpoint of the family to go on from; its bits may differ.")
@_epochs
@_shared
def train_perceptual(size: str, **given: Any) -> None:
    """Train a ResNet autoencoder (default, small) with a perceptual loss."""
    from decant_train.published.perceptual import recipe as recipes_perceptual

    done = recipes_perceptual.train_perceptual(
        size,
        given["out"],
        recipes_perceptual.with_defaults(_loop_options(given), given),
        images=given["images"],
        features_file=given["features"],
        mu=given["mu"],
        bits=given["bits"],
        pictures=given["pictures"],
        encoder_weights=given["encoder_weights"],
        begin=given["begin"],
        resume=given["resume"],
        progress=not given["quiet"],
    )
    _report(given["out"], done)


@train.command("color")
@click.argument("size")
@click.option(
    "--data", type=FOLDER, help="Folder of CIFAR-100 mosaics; crops of the photos in the wheels if left out."
)
@click.option("--bits-per-pixel", type=float, help="What the latents of a file shall cost on average.")
@click.option("--depths", help="Bits a latent, from the least complex regions to the most: 6,7,8.")
@click.option("--shares", help="Which part of the regions has each depth: 0.05,0.2,0.75.")
@_epochs
@_shared
def train_color(size: str, **given: Any) -> None:
    """Train the colour autoencoder (base) on small pictures, latents of a depth that follows complexity."""
    from decant_train.published.color import recipe as recipes_color

    limits = {} if given["epochs"] or given["max_minutes"] else {"epochs": recipes_color.EPOCHS}
    chosen = {name: value for name, value in given.items() if value is not None}
    lists = {name: type_ for name, type_ in (("depths", int), ("shares", float)) if given[name]}
    shape = {name: tuple(map(type_, given[name].split(","))) for name, type_ in lists.items()}
    if given["bits_per_pixel"] is not None:
        shape["bits_per_pixel"] = given["bits_per_pixel"]
    done = recipes_color.train_color(
        size,
        given["out"],
        _loop_options(recipes_color.DEFAULTS | {"schedule": None} | chosen | limits),
        data=given["data"],
        shape=shape,
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
    from decant_train.data import photos

    count = photos.pack(folder, out, part=part, parts=parts)
    click.echo(json.dumps({"packed": str(out), "pictures": count, "bytes": out.stat().st_size}))


@train.command("compact")
@click.argument("checkpoint", type=FOLDER)
@click.option("--out", required=True, type=FOLDER, help="Folder for the smaller checkpoint.")
@click.option("--of", type=FOLDER, help="Checkpoint that has the rest: keep only what differs from it.")
def compact(checkpoint: Path, out: Path, of: Path | None) -> None:
    """Keep a checkpoint's weights in 8 bits: to export, or to begin another training with."""
    from decant_train.common import checkpoint as checkpoints

    checkpoints.save_compact(out, checkpoints.load(checkpoint), of)
    click.echo(json.dumps({"checkpoint": str(out), "bytes": sum(p.stat().st_size for p in out.iterdir())}))


def _loop_options(given: dict[str, Any]) -> Any:
    from decant_train.common.loop import Options

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
    from decant_train.common import plots

    plots.training_curves(out)
    figures = {name: round(value, 6) for name, value in done.metrics.items()}
    summary = {"checkpoint": str(out), "stopped_by": done.stopped_by, "epoch": done.epoch, "step": done.step}
    click.echo(json.dumps(summary | figures))
