"""Options that several commands share."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from decant.commands.running import PATH
from decant.formats.container import DEFAULT_SIZE_LIMIT
from decant.formats.png import DEFAULT_LEVEL, FASTEST, MOST
from decant.settings import DEFAULT_TUNE, TUNES

_F = TypeVar("_F", bound=Callable[..., Any])


def combined(*options: Callable[[_F], _F]) -> Callable[[_F], _F]:
    """One decorator for several, in the order in which help lists them."""

    def decorate(function: _F) -> _F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


DEVICES = ("cpu", "npu", "gpu", "emulator", "auto")  # what --device takes

bundle_dir_option = click.option(
    "--bundle-dir",
    metavar="DIR",
    help="Folder in which bundles are looked up first: a bundle, or a folder of bundles.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print warnings and errors only.")
keep_suffix_option = click.option(
    "--keep-suffix",
    is_flag=True,
    help="In folders, append the new suffix (x.jpg.dcn, x.dcn.png) instead of replacing the old one.",
)
skip_existing_option = click.option(
    "--skip-existing", is_flag=True, help="Do not write outputs that already exist."
)
threads_option = click.option(
    "--threads", type=click.IntRange(0, 1024), default=0, help="CPU threads; 0 means all.", show_default=True
)
size_limit_option = click.option(
    "--size-limit",
    type=click.IntRange(1),
    default=DEFAULT_SIZE_LIMIT,
    metavar="PIXELS",
    show_default=True,
    help="Refuse larger pictures.",
)
running_options = combined(
    bundle_dir_option,
    click.option(
        "--device",
        type=click.Choice(DEVICES),
        default="cpu",
        show_default=True,
        help="Device to run on.",
    ),
    click.option(
        "--runtime",
        type=click.Choice(["auto", "native", "onnxruntime", "openvino"]),
        default="auto",
        show_default=True,
        help="Runtime to run with.",
    ),
    threads_option,
    click.option("--strict-device", is_flag=True, help="Fail if any part would run on another device."),
    size_limit_option,
)
target_bpp_option = click.option(
    "--target-bpp",
    type=click.FloatRange(0, min_open=True),
    metavar="BITS",
    help="Use the highest quality whose file has at most this many bits per pixel.",
)
png_level_option = click.option(
    "--png-level",
    type=click.IntRange(FASTEST, MOST),
    metavar="N",
    help=f"PNG compression: {FASTEST} stores, {DEFAULT_LEVEL} (the default) is fast, {MOST} is smallest.",
)
target_ssimulacra2_option = click.option(
    "--target-ssimulacra2",
    type=click.FloatRange(0, 100, min_open=True),
    metavar="SCORE",
    help="Use the lowest quality that reaches this SSIMULACRA2: 50 is medium, 70 high, 90 visually lossless.",
)
tune_option = click.option(
    "--tune",
    type=click.Choice(TUNES),
    help=f"What the encoder minimizes: the visible error (iq) or the squared error. Default {DEFAULT_TUNE}.",
)
# What `decant encode` and `decant decode` share: IN, OUT and how folders are converted.
converting_options = combined(
    click.argument("source", metavar="IN", type=PATH),
    click.argument("target", metavar="OUT", type=PATH),
    keep_suffix_option,
    skip_existing_option,
    quiet_option,
    running_options,
)
