"""``decant decode``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from decant.commands.options import converting_options, png_level_option
from decant.commands.plugins import Failure
from decant.commands.running import (
    STANDARD,
    check_one_output,
    input_stream,
    memory_for,
    output_of,
    require,
    require_folder_output,
    run_folder,
    skipped_text,
    stopped_by_signals,
    write_output,
)
from decant.commands.terminal import say
from decant.formats.writing import is_stream
from decant.text import escaped

if TYPE_CHECKING:
    from decant.batch import FileDecoder


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
@click.option(
    "--crop",
    metavar="X,Y,W,H",
    callback=_crop,
    help="Decode the region of W x H pixels whose top left corner is column X, row Y.",
)
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    metavar="NAME",
    help="Precision of the graphs: float, int16, int8, int8-static, float16, int4 or auto.",
)
@click.option("--upright", is_flag=True, help="Rotate the picture by its EXIF orientation.")
@click.option(
    "--max-size",
    type=click.IntRange(1, 65535),
    metavar="N",
    help="Downscale pictures with a width or height above N, to at most N, in proportion.",
)
@png_level_option
@click.option("--denoise", is_flag=True, help="Run the bundle's denoiser after the decoder.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["png", "webp", "tiff", "ppm", "npy"]),
    default="png",
    show_default=True,
    help="Format of the pictures, if OUT is a folder, a device or standard output.",
)
@converting_options
def decode(
    source: Path,
    target: Path,
    format_name: str,
    keep_suffix: bool,
    skip_existing: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Decode a .dcn file into a picture (.png, .webp, .tif, .ppm or .npy), or every .dcn file of a folder
    into a folder.

    IN and OUT may be - for standard input and output. A folder as OUT gets a file named after IN.
    """
    from decant.batch import FileDecoder
    from decant.formats.plan import plan_folder

    require(source)
    suffix = f".{format_name}"
    if not source.is_dir():
        target = output_of(source, target, suffix)
        _require_picture_name(target)
        check_one_output(source, target)
        if skip_existing and target.is_file():
            if not quiet:
                say(f"decant: {target}: exists, skipped")
            return
        with stopped_by_signals():
            _decode_one(source, target, FileDecoder(suffix=suffix, **options), suffix, quiet)
        return
    require_folder_output(target)
    plan = plan_folder(
        source,
        target,
        (".dcn",),
        suffix,
        kind=".dcn file",
        keep_suffix=keep_suffix,
        skip_existing=skip_existing,
    )
    if not plan.total and not plan.skipped["existing"]:
        found = skipped_text(plan)
        raise Failure(f"{source}: nothing to do: no .dcn file in it{found and '; '}{found}")
    with stopped_by_signals():
        run_folder(plan, target, FileDecoder(**options), threads=options["threads"], quiet=quiet)


def _decode_one(source: Path, target: Path, work: "FileDecoder", suffix: str, quiet: bool) -> None:
    from decant.formats.output_images import PICTURE_SUFFIXES, lost_metadata, write_picture
    from decant.formats.reading import read_dcn_stream

    with memory_for(source), input_stream(source) as (stream, name):
        pixels, file = work.decode(read_dcn_stream(stream, name), name)
    if target.suffix.lower() in PICTURE_SUFFIXES:
        suffix = target.suffix
    write_output(target, lambda out: write_picture(out, suffix, pixels, file, str(target), work.png_level))
    if (lost := lost_metadata(suffix, file)) and not quiet:
        say(f"decant: {target}: {suffix} does not hold {lost}")


def _require_picture_name(target: Path) -> None:
    """A usage error unless ``target`` ends in the suffix of a format that is written, or is a stream."""
    from decant.formats.output_images import PICTURE_SUFFIXES

    if target == STANDARD or target.suffix.lower() in PICTURE_SUFFIXES or is_stream(target):
        return
    known = " ".join(PICTURE_SUFFIXES)
    raise click.UsageError(
        f"OUT must end in one of {known}, not {escaped(target.suffix) or 'nothing'}, "
        "or be a folder or - (standard output)"
    )
