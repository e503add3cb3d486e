"""``decant bench``: latency, quality, grid, compare, devices. Slow imports are inside them."""

from pathlib import Path
from typing import Any

import click

from decant_bench.common.cli_types import Integers, Names, Pair
from decant_bench.common.refusals import require_measured
from decant_bench.common.shared_options import (
    allocator_option,
    known_codecs,
    known_runtimes,
    open_bundles,
    say,
    shared,
)
from decant_bench.devices.cli import devices
from decant_bench.latency.cli import latency
from decant_bench.latency.compare_cli import compare
from decant_bench.rate_distortion.effort_cli import effort
from decant_bench.test_pictures.cli import content

_PATH = click.Path(path_type=Path)
_POSITIVE = click.IntRange(1)

_BUNDLES = click.argument("bundles", metavar="BUNDLE...", nargs=-1, required=True)


@click.group()
def bench() -> None:
    """Measure latency and quality of bundles beside JPEG, WebP, AVIF and JPEG XL."""


bench.add_command(content)
bench.add_command(effort)
bench.add_command(latency)
bench.add_command(compare)
bench.add_command(devices)


@bench.command()
@_BUNDLES
@shared
@click.option(
    "--runtime", "runtimes", type=Names(), default=("onnxruntime",), help="Runtimes.  [default: onnxruntime]"
)
@click.option("--codecs", type=Names(), help="Codecs to compare with.  [default: jpeg-q10 to jpeg-q100]")
@click.option(
    "--sample", default=25, show_default=True, help="Measure codecs also on this many random pictures."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the random pictures.")
@click.option("--alpha", default=0.5, show_default=True, help="Weight of PSNR in Q.")
@click.option(
    "--archive-images", default=0, help="Number of pictures that share the model.  [default: those measured]"
)
@click.option("--plot", metavar="OUT", type=_PATH, help="Draw ratio against Q: .svg, .png or .pdf.")
def quality(
    bundles: tuple[str, ...],
    images: Path | None,
    limit: int | None,
    fit: str,
    archive: Path | None,
    bundle_dir: str | None,
    json_path: Path | None,
    plot: Path | None,
    **chosen: Any,
) -> None:
    """Measure PSNR, SSIM, MS-SSIM, ratio and Q of every variant of BUNDLE, next to JPEG 10 to 100."""
    from decant_bench.common import fitting, plots, record
    from decant_bench.evaluate import quality as lab
    from decant_bench.evaluate import quality_table

    known_runtimes(chosen["runtimes"])
    if chosen["codecs"] is None:
        del chosen["codecs"]
    else:
        known_codecs(chosen["codecs"])
    opened = open_bundles(bundles, bundle_dir)
    pictures = fitting.squares_for(opened, images, limit, fit)
    result = lab.measure(opened, pictures, lab.Options(**chosen), archive=archive, say=say)
    if json_path is not None:
        record.write(result, json_path)
    if plot is not None:
        plots.save_quality(result, plot)
    click.echo(quality_table.as_text(result))
    require_measured(result["rows"])


@bench.command()
@click.option(
    "--images",
    metavar="DIR",
    type=_PATH,
    help="Whole pictures.  [default: sample photos of scikit-image and scikit-learn]",
)
@click.option("--limit", type=_POSITIVE, help="At most this many pictures; with --groups, of each group.")
@click.option("--groups", is_flag=True, help="Also report by content: each folder below --images is a group.")
@click.option("--bundle", "bundles", metavar="NAME_OR_DIR", multiple=True, help="Codec bundle; repeatable.")
@click.option("--bundle-dir", metavar="DIR", help="Folder in which bundles are looked up first.")
@click.option(
    "--precision",
    "precisions",
    type=Names(),
    default=("auto",),
    help="One row per precision: int8,int16@avx2.",
)
@click.option("--runtime", default="auto", show_default=True, help="Runtime of the bundles.")
@click.option(
    "--effort", type=click.IntRange(0, 9), help="Effort of the bundles' encoders.  [default: theirs]"
)
@click.option(
    "--against", type=Names(), help="Codecs to compare with.  [default: jpeg, jpegli, webp-m6, avif ...]"
)
@click.option("--anchor", default="jpeg", show_default=True, help="Codec that BD-rates are relative to.")
@click.option(
    "--qualities", type=Integers(), default=(), help="Qualities of all codecs.  [default: each codec's own]"
)
@click.option(
    "--psnr-range",
    type=Pair(ascending=True),
    default=(28.0, 38.0),
    help="Range of BD-rates, in dB.  [default: 28,38]",
)
@click.option(
    "--score-range",
    type=Pair(ascending=True),
    default=(30.0, 85.0),
    help="Range of SSIMULACRA2.  [default: 30,85]",
)
@click.option(
    "--match",
    "match_bpp",
    default=0.6,
    show_default=True,
    help="Bits per pixel at which to take times; 0: none.",
)
@click.option("--threads", type=Integers(), default=(1, 2), help="Thread counts.  [default: 1,2]")
@click.option("--rounds", type=_POSITIVE, default=12, show_default=True, help="Rounds of decodes.")
@click.option("--encode-rounds", type=_POSITIVE, default=3, show_default=True, help="Rounds of encodes.")
@allocator_option
@click.option("--seed", default=0, show_default=True, help="Seed of the order of cases.")
@click.option("--features", metavar="NPZ", type=_PATH, help="SqueezeNet 1.1: adds a feature distance.")
@click.option("--show", metavar="NAME", help="Picture of side_by_side.png.  [default: the first]")
@click.option("--show-bpp", default=0.3, show_default=True, help="Its bits per pixel.")
@click.option("--show-at", metavar="X,Y", type=Pair(), help="Centre of its detail.")
@click.option(
    "--out", metavar="DIR", type=_PATH, required=True, help="Folder for record, tables and figures."
)
def rd(
    images: Path | None,
    limit: int | None,
    bundles: tuple[str, ...],
    bundle_dir: str | None,
    out: Path,
    features: Path | None,
    show: str | None,
    show_bpp: float,
    show_at: tuple[float, float] | None,
    **chosen: Any,
) -> None:
    """Measure rate and distortion of bundles, JPEG, WebP, AVIF and JPEG XL on whole pictures.

    The results are SSIMULACRA2, PSNR, MS-SSIM, BD-rates, curves, and times at one rate.
    """
    from decant_bench.common import pictures as reading
    from decant_bench.common.features import FeatureDistance
    from decant_bench.rate_distortion import measure as lab
    from decant_bench.rate_distortion import report as rd_report
    from decant_bench.rate_distortion import table as rd_table

    if chosen["against"] is None:
        chosen["against"] = lab.AGAINST
    options = lab.Options(**chosen)
    if images is None and options.groups:
        raise click.UsageError("--groups needs --images; `decant bench content` makes such a folder")
    read = reading.read_groups if options.groups else reading.read_pictures
    found = reading.wheel_pictures(limit) if images is None else read(images, limit)
    if show is not None:
        found.named(show)  # said now, not after an hour
    contenders, refused = lab.enter(open_bundles(bundles, bundle_dir), options)
    distance = None if features is None else FeatureDistance(features)
    result = lab.measure(contenders, found, options, refused=refused, distance=distance, say=say)
    centre = None if show_at is None else (round(show_at[0]), round(show_at[1]))
    rd_report.write(result, contenders, found, out, rd_report.Show(show, show_bpp, centre))
    click.echo(rd_table.as_text(result))
    require_measured(result["rows"], options.against)


@bench.command()
@click.option(
    "--images", metavar="DIR", type=_PATH, required=True, help="As many pictures as the largest set."
)
@click.option(
    "--out",
    metavar="DIR",
    type=_PATH,
    required=True,
    help="Folder for checkpoints; a later run resumes from them.",
)
@click.option("--minutes", default=5.0, show_default=True, help="Minutes of training per cell.")
@click.option("--max-minutes", default=0.0, help="Begin no further cell after this time (0: no limit).")
@click.option("--layers", type=Integers(), default=(1, 2, 3, 4), help="[default: 1,2,3,4]")
@click.option("--dims", type=Integers(), default=(16, 32, 64), help="Latent sizes.  [default: 16,32,64]")
@click.option("--sets", type=Integers(), default=(32, 64, 128, 256), help="[default: 32,64,128,256]")
@click.option("--size", default=256, show_default=True, help="Side of the pictures, in pixels.")
@click.option("--plain", is_flag=True, help="The variant without residual shortcuts.")
@click.option("--fit", type=click.Choice(["crop", "stretch"]), default="crop", show_default=True)
@click.option("--plot", metavar="OUT", type=_PATH, help="Draw the curves: .svg, .png or .pdf.")
@click.option("--json", "json_path", metavar="OUT", type=_PATH, help="Write the record here.")
def grid(
    images: Path,
    out: Path,
    size: int,
    fit: str,
    plot: Path | None,
    json_path: Path | None,
    **chosen: Any,
) -> None:
    """Train and measure the publication's grid of depths, latent sizes and set sizes."""
    from decant_bench.common import pictures as reading
    from decant_bench.common import record
    from decant_bench.errors import BenchError
    from decant_bench.evaluate import grid as lab

    options = lab.Options(**chosen)
    pictures = reading.read_squares(images, size, max(options.sets), fit)
    try:
        result = lab.measure(pictures, out, options, say=say)
    except (ValueError, FloatingPointError) as error:
        raise BenchError(str(error)) from None
    if json_path is not None:
        record.write(result, json_path)
    click.echo(lab.as_text(result))
    if plot is not None:
        lab.save_curves(result, plot)
