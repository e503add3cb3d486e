"""`decant train codec`, `finetune`, `pack` and `compact`: the codec and what its training needs.

Options with two names have the one that they had until 0.12 as the second.
"""

import json
from pathlib import Path
from typing import Any

import click

from decant_train.commands.options import FOLDER, report, set_threads, shared_options

# Options of `codec` that change the codec's configuration, and those that say how to train it.
SHAPE = ("beside", "ms_ssim", "ssimulacra2", "colour", "analysis_width", "analysis_blocks")
TRAINING = (
    *("steps", "max_minutes", "batch_size", "crop", "seed", "precision", "device", "compile"),
    *("optimizer", "learning_rate", "decay", "matrix_rate", "hyper_rate"),
    *("curriculum_start", "curriculum_length", "curriculum_range"),
    *("keep_encoder", "beside_in_turn", "validate_every", "save_minutes"),
)
FINETUNING = (
    *("steps", "max_minutes", "batch_size", "crop", "seed", "device"),
    *("learning_rate", "prior_rate", "mean_rate"),
)
PHOTOS = click.option(
    "--images", type=FOLDER, multiple=True, required=True, help="Folder or packed file of photos; repeatable."
)


@click.command("codec")
@click.argument("size")
@PHOTOS
@click.option("--steps", default=0, help="Stop after this many steps (0: no limit).")
@click.option("--crop", type=int, help="Side of the training crops, a multiple of 64 pixels (default 192).")
@click.option("--optimizer", type=click.Choice(["adam", "muon", "soap"]), help="Default muon.")
@click.option(
    "--decay", type=float, help="Share of the budget, at its end, in which the rate falls (default 0.8)."
)
@click.option(
    "--curriculum-start",
    "--narrow",
    type=float,
    help="Share of the budget that trains the middle rate point only (default 0.5).",
)
@click.option(
    "--curriculum-length",
    "--widen",
    type=float,
    help="Share after that in which the range of rate points grows (default 0.25).",
)
@click.option(
    "--curriculum-range",
    "--reach",
    type=float,
    help="Share of all rate points that the range grows to (default 0.5).",
)
@click.option(
    "--matrix-rate", type=float, help="Rate of Muon or SOAP, as a factor of --learning-rate (default 0.8)."
)
@click.option(
    "--hyper-rate",
    type=float,
    help="Rate of hyperlatents and means, as a factor of --learning-rate (default 0.3).",
)
@click.option("--compile", is_flag=True, help="Compile a part of the step; needs a C++ compiler.")
@click.option(
    "--warm-start", "--begin", type=FOLDER, help="Codec checkpoint to start from, where shapes agree."
)
@click.option(
    "--beside", multiple=True, help="Also train the synthesis of this size, on the same latents; repeatable."
)
@click.option(
    "--ms-ssim", type=float, help="Share of the distortion that is 1 - MS-SSIM, 0 to 1 (default 0)."
)
@click.option(
    "--ssimulacra2", type=float, help="Share of the distortion that is 100 - SSIMULACRA2 (default 0)."
)
@click.option(
    "--colour", type=click.Choice(["rgb", "ycbcr"]), help="Squared error of RGB, or of luma and chroma."
)
@click.option("--beside-in-turn", is_flag=True, help="Each step trains one of the --beside syntheses.")
@click.option("--analysis-width", type=int, help="Channels of the analysis at 1/8 (default 128).")
@click.option("--analysis-blocks", type=int, help="Residual blocks at 1/8 and at 1/16 (default 2).")
@click.option("--validate-every", type=int, help="Steps between validations (default 1000).")
@click.option("--save-minutes", type=float, help="Minutes between checkpoints (default 4).")
@click.option(
    "--keep-encoder", is_flag=True, help="Freeze the analysis of --warm-start: bundles can share it."
)
@shared_options
def train_codec(size: str, **given: Any) -> None:
    """Train the codec (nano, lite, full) on photos."""
    from decant_train.codec import recipe
    from decant_train.codec.options import CodecOptions

    set_threads(given)
    done = recipe.train_codec(
        size,
        given["out"],
        CodecOptions(**{name: given[name] for name in TRAINING if given[name] is not None}),
        images=given["images"],
        shape={name: given[name] for name in SHAPE if given[name]},
        warm_start=given["warm_start"],
        resume=given["resume"],
        progress=not given["quiet"],
    )
    report(given["out"], done)


@click.command("finetune")
@click.argument("checkpoint", type=FOLDER)
@PHOTOS
@click.option("--out", required=True, type=FOLDER, help="Folder for the fine-tuned checkpoint.")
@click.option("--steps", default=0, help="Stop after this many steps (0: no limit).")
@click.option("--max-minutes", default=0.0, help="Stop after this many minutes (0: no limit).")
@click.option("--batch-size", type=int, help="Crops per step (default 8).")
@click.option("--crop", type=int, help="Side of the training crops, a multiple of 64 pixels (default 192).")
@click.option("--learning-rate", type=float, help="Adam's, for the renderer (default 0.001).")
@click.option("--prior-rate", type=float, help="Adam's, for the entropy model (default 0.0005).")
@click.option(
    "--mean-rate",
    type=float,
    help="For the hyper synthesis, as a factor of --prior-rate (default 0: frozen).",
)
@click.option(
    "--own-prior",
    metavar="SIZE",
    help='Give this --beside size a separate, finer entropy model; "" means the codec\'s own size.',
)
@click.option(
    "--part",
    "parts",
    multiple=True,
    help='What to train: "prior" (the entropy model), a --beside size, or "" for the codec\'s own synthesis; '
    "repeatable (default all).",
)
@click.option("--device", default="auto", help="cpu, cuda, or auto.")
@click.option("--threads", default=1, help="CPU threads.")
@click.option("--seed", default=0)
@click.option("--quiet", is_flag=True, help="No progress bar.")
def finetune(checkpoint: Path, **given: Any) -> None:
    """Fine-tune a codec's entropy model and syntheses on the symbols that its encoder writes into files."""
    from decant_train.codec import recipe
    from decant_train.codec.finetune import FinetuneOptions

    set_threads(given)
    done = recipe.finetune_codec(
        checkpoint,
        given["out"],
        FinetuneOptions(**{name: given[name] for name in FINETUNING if given[name] is not None}),
        images=given["images"],
        parts=given["parts"],
        own_prior=given["own_prior"],
        progress=not given["quiet"],
    )
    ends = ("begun_psnr", "finished_psnr")
    figures = {name: value for name, value in done.metrics.items() if name.endswith(ends)}
    click.echo(json.dumps({"checkpoint": str(given["out"])} | figures))


@click.command("pack")
@click.argument("folder", type=FOLDER)
@click.option("--out", required=True, type=FOLDER, help="Packed file (.safetensors).")
@click.option("--part", default=0, help="Which part, from 0.")
@click.option("--parts", default=1, help="Take every PARTS-th picture only.")
def pack(folder: Path, out: Path, part: int, parts: int) -> None:
    """Pack a folder of photos into one file for `train codec`. They stay compressed."""
    from decant_train.data import photos

    count = photos.pack(folder, out, part=part, parts=parts)
    click.echo(json.dumps({"packed": str(out), "pictures": count, "bytes": out.stat().st_size}))


@click.command("compact")
@click.argument("checkpoint", type=FOLDER)
@click.option("--out", required=True, type=FOLDER, help="Folder for the smaller checkpoint.")
@click.option("--of", type=FOLDER, help="Checkpoint to refer to: store only what differs from it.")
def compact(checkpoint: Path, out: Path, of: Path | None) -> None:
    """Store a checkpoint with 8-bit weights, for export or to warm-start another training."""
    from decant_train.common import checkpoint as checkpoints

    checkpoints.save_compact(out, checkpoints.load(checkpoint), of)
    click.echo(json.dumps({"checkpoint": str(out), "bytes": sum(p.stat().st_size for p in out.iterdir())}))
