"""``decant bench latency``. What is slow to import is imported inside it."""

from pathlib import Path
from typing import Any

import click
from decant.commands.options import DEVICES

from decant_bench.common.cli_types import Integers, Names
from decant_bench.common.refusals import require_measured
from decant_bench.common.shared_options import (
    allocator_option,
    known_codecs,
    known_runtimes,
    open_bundles,
    say,
    shared,
)

RUNTIMES = ("native", "onnxruntime", "openvino")
_POSITIVE = click.IntRange(1)
_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("bundles", metavar="[BUNDLE]...", nargs=-1)
@shared
@click.option(
    "--profile",
    type=click.Choice(["laptop"]),
    help="Run a prepared set of measurements: default decoders, peers, sizes, stages.",
)
@click.option("--out", metavar="DIR", type=_PATH, help="Write JSON, Markdown and an HTML page here.")
@click.option("--threads", type=Integers(), default=(1, 2), help="Thread counts.  [default: 1,2]")
@click.option("--runtime", "runtimes", type=Names(), default=RUNTIMES, help="Runtimes.  [default: all]")
@click.option("--device", type=click.Choice(DEVICES), default="cpu", show_default=True)
@click.option("--codecs", type=Names(), help="Codecs to compare with: jpeg-q90, png, avif, jxl ...")
@click.option("--rounds", type=_POSITIVE, default=20, show_default=True, help="Rounds of decodes.")
@click.option("--load-rounds", type=_POSITIVE, default=10, show_default=True, help="Rounds of loads.")
@click.option(
    "--processes",
    "--fresh-rounds",
    "fresh_rounds",
    type=_POSITIVE,
    default=5,
    show_default=True,
    help="Number of processes per case; the rounds are divided among them.",
)
@click.option(
    "--min-samples", type=_POSITIVE, default=50, show_default=True, help="Least number of decodes per case."
)
@click.option("--min-seconds", default=0.25, show_default=True, help="Least seconds of decoding per case.")
@click.option("--max-minutes", default=0.0, help="End the run after this time, and after at least one round.")
@click.option(
    "--sustained",
    "sustained_minutes",
    metavar="MINUTES",
    type=click.FloatRange(0.05),
    is_flag=False,
    flag_value=10.0,
    help="With --profile: also decode this long without a pause; 10 if no number is given.",
)
@click.option(
    "--loadgen",
    "loadgen_seconds",
    metavar="SECONDS",
    type=click.FloatRange(0.1),
    help="With --profile: also run MLPerf LoadGen's single stream, this long per decoder.",
)
@allocator_option
@click.option("--seed", default=0, show_default=True, help="Seed of the order of cases.")
@click.option("--breakdown", is_flag=True, help="Measure the stages of a codec's decode instead.")
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
    sustained_minutes: float | None,
    loadgen_seconds: float | None,
    breakdown: bool,
    match_bpp: float,
    **chosen: Any,
) -> None:
    """Measure load and decode of every variant of BUNDLE, and of JPEG, PNG, WebP and AVIF, in one run."""
    from decant_bench.common import fitting, record
    from decant_bench.latency import measure as lab
    from decant_bench.latency import report as latency_report
    from decant_bench.latency import table as latency_table

    known_runtimes(chosen["runtimes"])
    if profile is None and (sustained_minutes or loadgen_seconds):
        raise click.UsageError("--sustained and --loadgen belong to --profile laptop; give it too")
    if not bundles and profile is None:
        raise click.UsageError("Missing argument '[BUNDLE]...'; --profile laptop takes the shipped ones")
    if profile is not None:
        _profile(
            bundles,
            bundle_dir,
            out or Path("latency"),
            chosen["max_minutes"],
            sustained_minutes,
            loadgen_seconds,
        )
        return
    if breakdown:
        names = ("runtimes", "rounds", "seed")
        _break_down(
            open_bundles(bundles, bundle_dir),
            images,
            limit,
            json_path,
            match_bpp,
            {n: chosen[n] for n in names},
        )
        return
    if chosen["codecs"] is None:
        chosen["codecs"] = lab.CODECS
    known_codecs(chosen["codecs"])
    opened = open_bundles(bundles, bundle_dir)
    pictures = fitting.squares_for(opened, images, limit, fit)
    result = lab.measure(opened, pictures, lab.Options(**chosen), archive=archive, say=say)
    if json_path is not None:
        record.write(result, json_path)
    if out is not None:
        latency_report.write(result, out)
    click.echo(latency_table.as_text(result))
    require_measured(result["rows"])


def _profile(
    names: tuple[str, ...],
    bundle_dir: str | None,
    out: Path,
    minutes: float,
    sustained_minutes: float | None,
    loadgen_seconds: float | None,
) -> None:
    from dataclasses import replace

    from decant_bench.latency import profile, report, sustained

    options, blocks = profile.LAPTOP, profile.Blocks()
    if minutes:
        share = minutes / profile.MINUTES
        options = replace(options, max_minutes=share * options.max_minutes)
        blocks = replace(blocks, minutes=minutes)
    if sustained_minutes:
        blocks = replace(blocks, sustained=sustained.Options(minutes=sustained_minutes))
    if loadgen_seconds:
        blocks = replace(blocks, loadgen_seconds=loadgen_seconds)
    bundles = open_bundles(names or profile.BUNDLES, bundle_dir)
    result = profile.measure(bundles, options, blocks, say=say)
    report.write(result, out)
    click.echo("\n\n".join(table.text() for table in report.tables(result)[:3]))
    click.echo(f"\nreport: {out.resolve() / 'latency.html'}")


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
    result = breakdown.measure(bundles, found, options, say=say)
    if json_path is not None:
        record.write(result, json_path)
    click.echo(breakdown.as_text(result))
