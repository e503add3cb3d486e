"""``decant encode``."""

import warnings
from pathlib import Path
from typing import Any

import click

from decant.commands.options import running_options
from decant.commands.running import PATH, require, run
from decant.container import DEFAULT_SIZE_LIMIT
from decant.plugins import Failure


@click.command()
@click.argument("source", metavar="IN", type=PATH)
@click.argument("target", metavar="OUT", type=PATH)
@click.option(
    "--model",
    metavar="NAME",
    help="Bundle to encode with: a name, or a bundle's folder. Without it: lite, or the only one found.",
)
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    help="1 to 100, for models that have qualities; 60 where neither it nor a target is given.",
)
@click.option(
    "--effort",
    type=click.IntRange(0, 9),
    help="0 rounds latents, 1 chooses them by rate and distortion, 2 (the default) decodes the result and "
    "corrects it 6 times, 3 to 9 up to 64 times.",
)
@click.option(
    "--target-bpp",
    type=click.FloatRange(0, min_open=True),
    metavar="BITS",
    help="The highest quality whose file has at most so many bits a pixel.",
)
@click.option(
    "--target-psnr",
    type=click.FloatRange(0, min_open=True),
    metavar="DB",
    help="The lowest quality that decodes at so many dB or more.",
)
@running_options
def encode(
    source: Path,
    target: Path,
    model: str | None,
    quality: int | None,
    effort: int | None,
    target_bpp: float | None,
    target_psnr: float | None,
    **options: Any,
) -> None:
    """Encode a picture into a .dcn file, or every picture of a folder into a folder.

    EXIF, ICC and XMP are kept as they are. A picture that EXIF says is to be turned is stored as it lies,
    with the EXIF that says so.
    """
    from PIL import Image

    from decant.batch import encoding
    from decant.encoder import Encoder

    require(source)
    if options["size_limit"] > DEFAULT_SIZE_LIMIT:  # which is Pillow's own limit
        Image.MAX_IMAGE_PIXELS = None
    warnings.filterwarnings(
        "ignore", module="PIL"
    )  # what a file's reader grumbles about is no message of ours
    encoder = Encoder(model or _default_model(options["bundle_dir"]), **options)
    work = encoding(encoder, quality=quality, effort=effort, target_bpp=target_bpp, target_psnr=target_psnr)
    Image.init()
    run(source, target, work, Image.registered_extensions(), ".dcn", options["threads"])


def _default_model(bundle_dir: str | None) -> str:
    """The folder of the bundle to encode with where none is named."""
    from decant.bundle import list_bundles, search_folders
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
