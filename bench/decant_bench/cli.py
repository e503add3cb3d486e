"""``decant bench``: latency, quality, grid, compare. What is slow to import is imported inside them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from decant_bench.common.cli_types import Integers, Names, Pair
from decant_bench.common.refusals import require_measured
from decant_bench.rate_distortion.effort_cli import effort
from decant_bench.test_pictures.cli import content

_PATH = click.Path(path_type=Path)
RUNTIMES = ("native", "onnxruntime", "openvino")
METRICS = ("decode", "load", "load_cold", "first_decode", "import")  # of decant_bench.latency.compare
_POSITIVE = click.IntRange(1)
_Command = TypeVar("_Command", bound=Callable[..., Any])


_BUNDLES = click.argument("bundles", metavar="BUNDLE...", nargs=-1, required=True)


def _shared(command: _Command) -> _Command:
    """The options of every command that measures bundles on pictures."""
    options = (
        click.option(
            "--images",
            metavar="DIR",
            type=_PATH,
            help="Pictures.  [default: crops of sample photos of scikit-image and scikit-learn]",
        ),
        click.option(
            "--limit", type=_POSITIVE, help="Pictures, at most.  [default: 64 crops, or the folder]"
        ),
        click.option(
            "--fit",
            type=click.Choice(["crop", "stretch"]),
            default="crop",
            show_default=True,
            help="How pictures become squares: cropped, or distorted as published.",
        ),
        click.option("--archive", metavar="DIR", type=_PATH, help="The pictures as ready .dcn files."),
        click.option("--bundle-dir", metavar="DIR", help="Look for bundles here first."),
        click.option("--json", "json_path", metavar="OUT", type=_PATH, help="Write the record here."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def bench() -> None:
    """Measure latency and quality of bundles beside JPEG, WebP, AVIF and JPEG XL."""


bench.add_command(content)
bench.add_command(effort)


@bench.command()
@click.argument("bundles", metavar="[BUNDLE]...", nargs=-1)
@_shared
@click.option(
    "--profile",
    type=click.Choice(["laptop"]),
    help="A whole run by one word: default decoders of BUNDLE (nano, lite, full), peers, picture sizes.",
)
@click.option("--out", metavar="DIR", type=_PATH, help="Write JSON, Markdown and an HTML page here.")
@click.option("--threads", type=Integers(), default=(1, 2), help="Thread counts.  [default: 1,2]")
@click.option("--runtime", "runtimes", type=Names(), default=RUNTIMES, help="Runtimes.  [default: all]")
@click.option("--device", type=click.Choice(["cpu", "npu", "gpu", "auto"]), default="cpu", show_default=True)
@click.option("--codecs", type=Names(), help="Measured beside: jpeg-q90, png, avif, jxl ...")
@click.option("--rounds", type=_POSITIVE, default=20, show_default=True, help="Rounds of decodes.")
@click.option("--load-rounds", type=_POSITIVE, default=10, show_default=True, help="Rounds of loads.")
@click.option("--fresh-rounds", type=_POSITIVE, default=3, show_default=True, help="Processes each.")
@click.option("--min-samples", type=_POSITIVE, default=50, show_default=True, help="Decodes each.")
@click.option("--min-seconds", default=0.25, show_default=True, help="Of decoding each, at least.")
@click.option("--max-minutes", default=0.0, help="End earlier, after one round at least.")
@click.option("--seed", default=0, show_default=True, help="Of the order of visits.")
@click.option("--breakdown", is_flag=True, help="The stages of decoding, of codec bundles, instead.")
@click.option("--match", "match_bpp", default=0.6, show_default=True, help="Bits per pixel of --breakdown.")
def latency(
    bundles: tuple[str, ...],
    images: Path | None,
    limit: int | None,
    fit: str,
    archive: Path | None,
    bundle_dir: str | None,
    json_path: Path | None,
    profile: str | None,
    out: Path | None,
    breakdown: bool,
    match_bpp: float,
    **chosen: Any,
) -> None:
    """Load and decode times of every variant of BUNDLE, and of JPEG, PNG, WebP and AVIF in the same run."""
    from decant_bench.common import fitting, record
    from decant_bench.latency import measure as lab
    from decant_bench.latency import profile as profiles
    from decant_bench.latency import report as latency_report
    from decant_bench.latency import table as latency_table

    _known_runtimes(chosen["runtimes"])
    if not bundles and profile is None:
        raise click.UsageError("Missing argument '[BUNDLE]...'; --profile laptop takes the shipped ones")
    if profile is not None:
        options = profiles.shortened(chosen["max_minutes"] or profiles.LAPTOP.max_minutes)
        result = profiles.measure(_open(bundles or profiles.BUNDLES, bundle_dir), options, say=_say)
        latency_report.write(result, out or Path("latency"))
        click.echo("\n\n".join(table.text() for table in latency_report.tables(result)[:3]))
        click.echo(f"\nreport: {(out or Path('latency')).resolve() / 'latency.html'}")
        return
    if breakdown:
        names = ("runtimes", "rounds", "seed")
        _break_down(
            _open(bundles, bundle_dir), images, limit, json_path, match_bpp, {n: chosen[n] for n in names}
        )
        return
    if chosen["codecs"] is None:
        chosen["codecs"] = lab.CODECS
    _known_codecs(chosen["codecs"])
    opened = _open(bundles, bundle_dir)
    pictures = fitting.squares_for(opened, images, limit, fit)
    result = lab.measure(opened, pictures, lab.Options(**chosen), archive=archive, say=_say)
    if json_path is not None:
        record.write(result, json_path)
    if out is not None:
        latency_report.write(result, out)
    click.echo(latency_table.as_text(result))
    require_measured(result["rows"])


@bench.command()
@_BUNDLES
@_shared
@click.option(
    "--runtime", "runtimes", type=Names(), default=("onnxruntime",), help="Runtimes.  [default: onnxruntime]"
)
@click.option("--codecs", type=Names(), help="Measured beside.  [default: jpeg-q10 to jpeg-q100]")
@click.option("--sample", default=25, show_default=True, help="Codecs also on so many random pictures.")
@click.option("--seed", default=0, show_default=True, help="Of the random pictures.")
@click.option("--alpha", default=0.5, show_default=True, help="Weight of PSNR in Q.")
@click.option("--archive-images", default=0, help="Pictures that share the model.  [default: those measured]")
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
    """PSNR, SSIM, MS-SSIM, ratio and Q score of every variant of BUNDLE, beside JPEG 10 to 100."""
    from decant_bench.common import fitting, plots, record
    from decant_bench.evaluate import quality as lab
    from decant_bench.evaluate import quality_table

    _known_runtimes(chosen["runtimes"])
    if chosen["codecs"] is None:
        del chosen["codecs"]
    else:
        _known_codecs(chosen["codecs"])
    opened = _open(bundles, bundle_dir)
    pictures = fitting.squares_for(opened, images, limit, fit)
    result = lab.measure(opened, pictures, lab.Options(**chosen), archive=archive, say=_say)
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
    help="Pictures, whole.  [default: sample photos of scikit-image and scikit-learn]",
)
@click.option("--limit", type=_POSITIVE, help="Pictures, at most; with --groups, of each.")
@click.option("--groups", is_flag=True, help="Also by content: each folder below --images is a group.")
@click.option("--bundle", "bundles", metavar="NAME_OR_DIR", multiple=True, help="May be given again.")
@click.option("--bundle-dir", metavar="DIR", help="Look for bundles here first.")
@click.option("--precision", "precisions", type=Names(), default=("auto",), help="int8,int16@avx2: rows.")
@click.option("--runtime", default="auto", show_default=True, help="Of the bundles.")
@click.option("--effort", type=click.IntRange(0, 9), help="Of the bundles' encoders.  [default: theirs]")
@click.option("--against", type=Names(), help="Codecs.  [default: jpeg, jpegli, webp-m6, avif ...]")
@click.option("--anchor", default="jpeg", show_default=True, help="What BD-rates are relative to.")
@click.option("--qualities", type=Integers(), default=(), help="For all.  [default: each codec's own]")
@click.option(
    "--psnr-range", type=Pair(ascending=True), default=(28.0, 38.0), help="In dB.  [default: 28,38]"
)
@click.option(
    "--score-range", type=Pair(ascending=True), default=(30.0, 85.0), help="SSIMULACRA2.  [default: 30,85]"
)
@click.option("--match", "match_bpp", default=0.6, show_default=True, help="Bits per pixel to time; 0: no.")
@click.option("--threads", type=Integers(), default=(1, 2), help="Thread counts.  [default: 1,2]")
@click.option("--rounds", type=_POSITIVE, default=12, show_default=True, help="Rounds of decodes.")
@click.option("--encode-rounds", type=_POSITIVE, default=3, show_default=True, help="Rounds of encodes.")
@click.option("--seed", default=0, show_default=True, help="Of the order of visits.")
@click.option("--features", metavar="NPZ", type=_PATH, help="SqueezeNet 1.1: adds a feature distance.")
@click.option("--show", metavar="NAME", help="The picture of side_by_side.png.  [default: the first]")
@click.option("--show-bpp", default=0.3, show_default=True, help="Its bits per pixel.")
@click.option("--show-at", metavar="X,Y", type=Pair(), help="Centre of its detail.")
@click.option("--out", metavar="DIR", type=_PATH, required=True, help="Record, tables and figures go here.")
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
    """Rate and distortion of bundles and of JPEG, WebP, AVIF and JPEG XL on whole pictures: SSIMULACRA2, PSNR
    and MS-SSIM, BD-rates, curves, and times at one rate.
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
    contenders, refused = lab.enter(_open(bundles, bundle_dir), options)
    distance = None if features is None else FeatureDistance(features)
    result = lab.measure(contenders, found, options, refused=refused, distance=distance, say=_say)
    centre = None if show_at is None else (round(show_at[0]), round(show_at[1]))
    rd_report.write(result, contenders, found, out, rd_report.Show(show, show_bpp, centre))
    click.echo(rd_table.as_text(result))
    require_measured(result["rows"], options.against)


@bench.command()
@click.option(
    "--images", metavar="DIR", type=_PATH, required=True, help="Pictures, as many as the largest set."
)
@click.option("--out", metavar="DIR", type=_PATH, required=True, help="Checkpoints; a run goes on with them.")
@click.option("--minutes", default=5.0, show_default=True, help="Of training a cell.")
@click.option("--max-minutes", default=0.0, help="Begin no further cell after so long (0: no limit).")
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
        result = lab.measure(pictures, out, options, say=_say)
    except (ValueError, FloatingPointError) as error:
        raise BenchError(str(error)) from None
    if json_path is not None:
        record.write(result, json_path)
    click.echo(lab.as_text(result))
    if plot is not None:
        lab.save_curves(result, plot)


@bench.command()
@click.argument("first", metavar="A.json", type=_PATH)
@click.argument("second", metavar="B.json", type=_PATH)
@click.option("--metric", type=click.Choice(METRICS), default="decode", show_default=True)
@click.option("--force", is_flag=True, help="Compare records of different machines or configurations.")
@click.option(
    "--fail-above", metavar="RATIO", type=float, help="Exit 1 when a median grew by more than this."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(
    first: Path, second: Path, metric: str, force: bool, fail_above: float | None, as_json: bool
) -> None:
    """Compare two latency records of one machine: ratios of medians, and whether chance explains them."""
    import json

    from decant_bench.common import record
    from decant_bench.errors import BenchError
    from decant_bench.latency import compare as comparing

    a, b = record.read(first, "latency"), record.read(second, "latency")
    found = comparing.compare(a, b, metric, force=force)
    click.echo(json.dumps(found.as_dict(), indent=1) if as_json else comparing.as_text(found))
    if fail_above is not None and (slower := found.slower_than(fail_above)):
        worst = max(slower, key=lambda line: line.change.ratio)
        raise BenchError(
            f"{len(slower)} of {len(found.lines)} medians grew by more than {fail_above}: "
            f"{worst.key} by {worst.change.ratio:.2f}"
        )


def _break_down(
    bundles: list[Any],
    folder: Path | None,
    limit: int | None,
    json_path: Path | None,
    match_bpp: float,
    chosen: dict[str, Any],
) -> None:
    from decant_bench.common import pictures, record
    from decant_bench.latency import breakdown

    found = pictures.wheel_pictures(limit) if folder is None else pictures.read_pictures(folder, limit)
    options = breakdown.Options(match_bpp=match_bpp, **chosen)
    result = breakdown.measure(bundles, found, options, say=_say)
    if json_path is not None:
        record.write(result, json_path)
    click.echo(breakdown.as_text(result))


def _say(line: str) -> None:
    click.echo(f"decant: {line}", err=True)


def _open(names: tuple[str, ...], bundle_dir: str | None) -> list[Any]:
    """Bundles by name or folder."""
    from decant.bundles.bundle import Bundle, find_bundle

    return [
        Bundle.open(name) if Path(name, "bundle.json").is_file() else find_bundle(name, bundle_dir=bundle_dir)
        for name in names
    ]


def _known_runtimes(names: tuple[str, ...]) -> None:
    from decant.backends.devices import RUNTIMES

    if unknown := [name for name in names if name not in RUNTIMES]:
        raise click.BadParameter(
            f"{unknown[0]!r} is unknown; known: {', '.join(RUNTIMES)}", param_hint="--runtime"
        )


def _known_codecs(labels: tuple[str, ...]) -> None:
    from decant_bench.common.baselines import setting

    for label in labels:
        try:
            setting(label)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--codecs") from None
