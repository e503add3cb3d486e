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


bundle_dir_option = click.option(
    "--bundle-dir", metavar="DIR", help="Look for bundles here first (a bundle, or a folder of bundles)."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Say nothing but warnings and errors.")
keep_suffix_option = click.option(
    "--keep-suffix",
    is_flag=True,
    help="In folders: add the new suffix to the old one (x.jpg.dcn, x.dcn.png) instead of replacing it.",
)
skip_existing_option = click.option(
    "--skip-existing", is_flag=True, help="Leave alone what is already there instead of writing it again."
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
        type=click.Choice(["cpu", "npu", "gpu", "emulator", "auto"]),
        default="cpu",
        show_default=True,
        help="Where to run.",
    ),
    click.option(
        "--runtime",
        type=click.Choice(["auto", "native", "onnxruntime", "openvino"]),
        default="auto",
        show_default=True,
        help="What to run with.",
    ),
    threads_option,
    click.option("--strict-device", is_flag=True, help="Fail rather than run anything on another device."),
    size_limit_option,
)
target_bpp_option = click.option(
    "--target-bpp",
    type=click.FloatRange(0, min_open=True),
    metavar="BITS",
    help="The highest quality whose file has at most so many bits a pixel.",
)
png_level_option = click.option(
    "--png-level",
    type=click.IntRange(FASTEST, MOST),
    metavar="N",
    help=f"Of PNG: {FASTEST} stores, {DEFAULT_LEVEL} (the default) is fast, {MOST} is smallest and slow.",
)
target_ssimulacra2_option = click.option(
    "--target-ssimulacra2",
    type=click.FloatRange(0, 100, min_open=True),
    metavar="SCORE",
    help="The lowest quality of this SSIMULACRA2 or more: 50 is medium, 70 high, 90 visually lossless.",
)
tune_option = click.option(
    "--tune",
    type=click.Choice(TUNES),
    help=f"iq: bits go where errors are seen. psnr: the least squared error. {DEFAULT_TUNE} when left out.",
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
