"""``decant decode``."""

from pathlib import Path
from typing import Any

import click

from decant.commands.options import running_options
from decant.commands.running import PATH, require, run


def _crop(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[int, int, int, int] | None:
    """Left, top, width and height in pixels."""
    if value is None:
        return None
    try:
        x, y, width, height = (int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not four whole numbers x,y,w,h") from None
    return x, y, width, height


@click.command()
@click.argument("source", metavar="IN", type=PATH)
@click.argument("target", metavar="OUT", type=PATH)
@click.option(
    "--crop",
    metavar="X,Y,W,H",
    callback=_crop,
    help="Only so many pixels, w x h, from column x and row y on; decodes no more than these need.",
)
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="float, int8, int8-static, int4 or auto.",
)
@click.option("--denoise", is_flag=True, help="Run the bundle's denoiser after the decoder.")
@click.option(
    "--format",
    "suffix",
    type=click.Choice(["png", "webp", "tiff", "ppm", "npy"]),
    default="png",
    show_default=True,
    help="Of the pictures, when IN is a folder.",
)
@running_options
def decode(source: Path, target: Path, suffix: str, **options: Any) -> None:
    """Decode a .dcn file into a picture (.png, .webp, .tif, .ppm or .npy), or every .dcn file of a folder
    into a folder.
    """
    from decant.batch import decoding
    from decant.output import PICTURE_SUFFIXES

    require(source)
    if not source.is_dir() and target.suffix.lower() not in PICTURE_SUFFIXES:
        raise click.UsageError(
            f"OUT must end in one of {' '.join(PICTURE_SUFFIXES)}, not {target.suffix or 'nothing'}"
        )
    run(source, target, decoding(**options), (".dcn",), f".{suffix}", options["threads"])
