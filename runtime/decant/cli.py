"""The command ``decant``: positional input and output, messages on stderr, exit code 0, 1 (an error) or 2
(usage).

Commands of the other stages join through the entry-point group ``decant.commands`` and are imported only when
they are called. Whatever is slow to import is imported inside the command that needs it.
"""

import json
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from decant.container import DEFAULT_SIZE_LIMIT
from decant.plugins import CommandGroup, Failure

_F = TypeVar("_F", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path)


class _Messages(logging.Handler):
    """Library warnings as our one-line messages on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"decant: {record.getMessage()}", err=True)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="decant-codec", prog_name="decant")
def main() -> None:
    """Encode, decode, inspect and verify .dcn pictures and the bundles that decode them."""
    logger = logging.getLogger("decant")
    if not any(isinstance(handler, _Messages) for handler in logger.handlers):
        logger.addHandler(_Messages())
        logger.propagate = False


def _options(*options: Callable[[_F], _F]) -> Callable[[_F], _F]:
    def decorate(function: _F) -> _F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_bundle_dir = click.option(
    "--bundle-dir", metavar="DIR", help="Look for bundles here first (a bundle, or a folder of bundles)."
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_threads = click.option(
    "--threads", type=click.IntRange(0, 1024), default=0, help="CPU threads; 0 means all.", show_default=True
)
_size_limit = click.option(
    "--size-limit",
    type=click.IntRange(1),
    default=DEFAULT_SIZE_LIMIT,
    metavar="PIXELS",
    show_default=True,
    help="Refuse larger pictures.",
)
_running = _options(
    _bundle_dir,
    click.option(
        "--device",
        type=click.Choice(["cpu", "npu", "gpu", "auto"]),
        default="cpu",
        show_default=True,
        help="Where to run.",
    ),
    click.option(
        "--runtime",
        type=click.Choice(["auto", "onnxruntime", "openvino"]),
        default="auto",
        show_default=True,
        help="What to run with.",
    ),
    _threads,
    click.option("--strict-device", is_flag=True, help="Fail rather than run anything on another device."),
    _size_limit,
)


@main.command()
@click.argument("source", metavar="IN", type=_PATH)
@click.argument("target", metavar="OUT", type=_PATH)
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
@_running
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

    _require(source)
    if options["size_limit"] > DEFAULT_SIZE_LIMIT:  # which is Pillow's own limit
        Image.MAX_IMAGE_PIXELS = None
    warnings.filterwarnings(
        "ignore", module="PIL"
    )  # what a file's reader grumbles about is no message of ours
    encoder = Encoder(model or _default_model(options["bundle_dir"]), **options)
    work = encoding(encoder, quality=quality, effort=effort, target_bpp=target_bpp, target_psnr=target_psnr)
    Image.init()
    _run(source, target, work, Image.registered_extensions(), ".dcn", options["threads"])


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


@main.command()
@click.argument("source", metavar="IN", type=_PATH)
@click.argument("target", metavar="OUT", type=_PATH)
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
@_running
def decode(source: Path, target: Path, suffix: str, **options: Any) -> None:
    """Decode a .dcn file into a picture (.png, .webp, .tif, .ppm or .npy), or every .dcn file of a folder
    into a folder.
    """
    from decant.batch import decoding
    from decant.output import PICTURE_SUFFIXES

    _require(source)
    if not source.is_dir() and target.suffix.lower() not in PICTURE_SUFFIXES:
        raise click.UsageError(
            f"OUT must end in one of {' '.join(PICTURE_SUFFIXES)}, not {target.suffix or 'nothing'}"
        )
    _run(source, target, decoding(**options), (".dcn",), f".{suffix}", options["threads"])


@main.command()
@click.argument("path", type=_PATH)
@_bundle_dir
@_json
def info(path: Path, bundle_dir: str | None, as_json: bool) -> None:
    """Say what a .dcn file or a bundle holds."""
    from decant import container
    from decant.bundle import Bundle, find_bundle
    from decant.describe import as_text, describe_bundle, describe_file
    from decant.errors import BundleError

    _require(path)
    if path.is_dir():
        described = describe_bundle(Bundle.open(path))
    else:
        data = path.read_bytes()
        file = container.parse(data, str(path))
        try:
            bundle = find_bundle(file.name, file.model_id, bundle_dir)
        except BundleError:
            bundle = None  # what the file itself says is said all the same
        described = describe_file(file, str(path), len(data), bundle)
    click.echo(json.dumps(described, indent=2) if as_json else as_text(described))


@main.command()
@click.argument("path", type=_PATH)
@_bundle_dir
@_threads
@_size_limit
def verify(path: Path, bundle_dir: str | None, threads: int, size_limit: int) -> None:
    """Check a .dcn file, or a bundle: every file, and every graph on every runtime and device here."""
    from decant.verify import require_passed, verify_bundle, verify_file

    _require(path)
    if not path.is_dir():
        click.echo(verify_file(path, bundle_dir, size_limit))
        return
    findings = []
    for finding in verify_bundle(path, threads):
        click.echo(finding)
        findings.append(finding)
    require_passed(findings, str(path))


@main.command()
@_bundle_dir
@_json
def models(bundle_dir: str | None, as_json: bool) -> None:
    """List the bundles that can be found."""
    from decant.bundle import list_bundles, search_folders
    from decant.describe import describe_bundle, table

    found = list_bundles(bundle_dir)
    if as_json:
        click.echo(json.dumps([describe_bundle(bundle) for bundle in found], indent=2))
        return
    if not found:
        looked = ", ".join(map(str, search_folders(bundle_dir)))
        click.echo(f"decant: no bundles; looked in {looked}", err=True)
        return
    rows = [
        {
            "name": bundle.name,
            "version": bundle.version,
            "model id": bundle.model_id[:16],
            "pixels": "x".join(map(str, bundle.image)) if any(bundle.image) else "any",
            "folder": str(bundle.path),
        }
        for bundle in found
    ]
    click.echo(table(rows))


@main.command()
@_json
def devices(as_json: bool) -> None:
    """List the devices that the installed runtimes see."""
    from dataclasses import asdict

    from decant.describe import table
    from decant.devices import RUNTIMES, available_devices
    from decant.errors import MissingExtraError

    found = []
    for runtime in RUNTIMES:
        try:
            found += [asdict(device) for device in available_devices(runtime)]
        except MissingExtraError as error:
            click.echo(f"decant: {error}", err=True)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif found:
        click.echo(table(found))


def _require(path: Path) -> None:
    if not path.exists():
        raise Failure(f"{path}: no such file or folder")


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


def _run(
    source: Path, target: Path, work: Callable[[Path, Path], None], suffixes: Any, suffix: str, threads: int
) -> None:
    """One file, or a folder with progress: a bad file is named, the others go on, and the count of the bad
    ends it.
    """
    if not source.is_dir():
        work(source, target)
        return
    from decant.batch import pairs, run_all

    jobs = pairs(source, target, suffixes, suffix)
    if not jobs:
        raise Failure(f"{source}: nothing to do: no {'.dcn file' if suffix != '.dcn' else 'picture'} in it")
    done = 0
    live = sys.stderr.isatty()

    def report(path: Path, error: str | None) -> None:
        nonlocal done
        done += 1
        if error is not None:
            click.echo(f"{chr(13) if live else ''}decant: {error}", err=True)
        if live:
            click.echo(f"\r{done}/{len(jobs)} files", nl=False, err=True)

    failed = run_all(jobs, work, report, threads)
    click.echo(
        f"{chr(13) if live else ''}{len(jobs) - failed} of {len(jobs)} files written to {target}", err=True
    )
    if failed:
        raise Failure(f"{failed} of {len(jobs)} files failed")


if __name__ == "__main__":
    main()
