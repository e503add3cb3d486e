"""``decant encode``."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from decant.commands.options import (
    converting_options,
    target_bpp_option,
    target_ssimulacra2_option,
    tune_option,
)
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
from decant.errors import AnimationWarning
from decant.formats.container import DEFAULT_SIZE_LIMIT
from decant.formats.frames import MORE_FRAMES
from decant.formats.writing import is_stream
from decant.settings import DEFAULT_EFFORT, DEFAULT_QUALITY, LARGEST_EFFORT, LARGEST_QUALITY, ROUNDS
from decant.text import escaped

if TYPE_CHECKING:
    from decant.batch import FileEncoder


@click.command()
@click.option(
    "--model",
    metavar="NAME",
    help="Bundle to encode with: a name, or a bundle's folder; `decant models` shows which can encode. "
    "Default: lite, or the only bundle found.",
)
@click.option(
    "--quality",
    type=click.IntRange(1, LARGEST_QUALITY),
    help=f"1 to {LARGEST_QUALITY}, for models that have qualities. Without it and without a target: "
    f"{DEFAULT_QUALITY}.",
)
@click.option(
    "--effort",
    type=click.IntRange(0, LARGEST_EFFORT),
    help="More effort takes longer and gives smaller files. 0 rounds latents; 1 quantizes them by rate and "
    f"distortion; {DEFAULT_EFFORT} (the default) also decodes the result and corrects the latents "
    f"{ROUNDS[DEFAULT_EFFORT]} times, and {LARGEST_EFFORT} does so {ROUNDS[LARGEST_EFFORT]} times.",
)
@target_bpp_option
@click.option(
    "--target-psnr",
    type=click.FloatRange(0, min_open=True),
    metavar="DB",
    help="Use the lowest quality whose picture decodes with at least this PSNR.",
)
@target_ssimulacra2_option
@tune_option
@click.option(
    "--to-srgb",
    is_flag=True,
    help="Convert colours to sRGB by the ICC profile; without it CMYK and Lab are refused.",
)
@click.option("--depth", type=click.Choice(["8"]), help="Round 16 bits to 8; without it they are refused.")
@click.option(
    "--refuse-animated",
    is_flag=True,
    help="Refuse pictures of several frames or pages. Otherwise the first is encoded, with a message.",
)
@converting_options
def encode(
    source: Path,
    target: Path,
    model: str | None,
    quality: int | None,
    effort: int | None,
    target_bpp: float | None,
    target_psnr: float | None,
    target_ssimulacra2: float | None,
    tune: str | None,
    to_srgb: bool,
    depth: str | None,
    refuse_animated: bool,
    keep_suffix: bool,
    skip_existing: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Encode a picture into a .dcn file, or every picture of a folder into a folder.

    IN and OUT may be - for standard input and output. A folder as OUT gets a file named after IN.

    EXIF, ICC and XMP are kept. EXIF orientation is kept as metadata; the pixels are not rotated.
    """
    from PIL import Image

    from decant.batch import FileEncoder
    from decant.encoder import Encoder
    from decant.formats.opening import picture_suffixes
    from decant.formats.plan import plan_folder

    require(source)
    folder = source.is_dir()
    if folder:
        require_folder_output(target)
    else:
        target = output_of(source, target, ".dcn")
        _require_dcn_name(target)
        check_one_output(source, target)
        if skip_existing and target.is_file():
            _say_unless(quiet, f"{target}: exists, skipped")
            return
    if options["size_limit"] > DEFAULT_SIZE_LIMIT:  # which is Pillow's own limit
        Image.MAX_IMAGE_PIXELS = None
    warnings.filterwarnings("ignore", module="PIL")  # about the file, not about what we do with it
    warnings.filterwarnings("ignore", category=AnimationWarning)  # said in our own words below
    if folder:
        plan = plan_folder(
            source, target, picture_suffixes(), ".dcn", keep_suffix=keep_suffix, skip_existing=skip_existing
        )
        if not plan.total and not plan.skipped["existing"]:
            found = skipped_text(plan)
            raise Failure(f"{source}: nothing to do: no picture in it{found and '; '}{found}")
    encoder = Encoder(model or _default_model(options["bundle_dir"]), **options)
    work = FileEncoder(
        encoder,
        refuse_animated=refuse_animated,
        quality=quality,
        effort=effort,
        target_bpp=target_bpp,
        target_psnr=target_psnr,
        target_ssimulacra2=target_ssimulacra2,
        tune=tune,
        to_srgb=to_srgb,
        depth=None if depth is None else int(depth),
    )
    with stopped_by_signals():
        if folder:
            run_folder(plan, target, work, threads=options["threads"], quiet=quiet)
        else:
            _encode_one(source, target, work, quiet)


def _encode_one(source: Path, target: Path, work: "FileEncoder", quiet: bool) -> None:
    with memory_for(source), input_stream(source) as (stream, name):
        data, done = work.encode(stream, name)
    write_output(target, lambda out: out.write(data))
    if done.more_frames:
        say(f"decant: {name}: {MORE_FRAMES} (--refuse-animated refuses)")
    _say_unless(
        quiet,
        f"{'<stdout>' if target == STANDARD else target}: {done.width}x{done.height} pixels, "
        f"{done.bytes} bytes, {done.bits_per_pixel:.3f} bits per pixel",
    )


def _say_unless(quiet: bool, message: str) -> None:
    if not quiet:
        say(f"decant: {message}")


def _require_dcn_name(target: Path) -> None:
    """A usage error unless ``target`` ends in .dcn, is standard output, or is a device or FIFO."""
    if target == STANDARD or target.suffix.lower() == ".dcn" or is_stream(target):
        return
    suffix = escaped(target.suffix) or "nothing"
    raise click.UsageError(f"OUT must end in .dcn, not {suffix}, or be a folder or - (standard output)")


def _default_model(bundle_dir: str | None) -> str:
    """The folder of the bundle to encode with where none is named."""
    from decant.bundles.bundle import list_bundles, search_folders
    from decant.settings import DEFAULT_MODEL

    found = [bundle for bundle in list_bundles(bundle_dir) if bundle.has("analysis")]
    if not found:
        looked = ", ".join(map(str, search_folders(bundle_dir)))
        raise Failure(f"no bundle that can encode; looked in {looked}; give --bundle-dir or --model")
    default = next((bundle for bundle in found if bundle.name == DEFAULT_MODEL), None)
    if default is None and len(found) > 1:
        raise click.UsageError(
            f"several bundles can encode: {', '.join(b.name for b in found)}; choose one with --model"
        )
    return str((default or found[0]).path)
