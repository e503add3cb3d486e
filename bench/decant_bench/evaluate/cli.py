"""``decant evaluate``: one report of what a bundle makes of pictures."""

from pathlib import Path
from typing import Any

import click
from decant.commands.options import DEVICES

from decant_bench.common.cli_types import Integers

_PATH = click.Path(path_type=Path)


@click.command(short_help="Measure a bundle on pictures, and write one HTML report.")
@click.argument("bundle", metavar="BUNDLE")
@click.option(
    "--images",
    metavar="DIR",
    type=_PATH,
    help="Pictures.  [default: sample photos of scikit-image and scikit-learn, or crops of them]",
)
@click.option("--limit", type=click.IntRange(1), help="At most this many pictures.")
@click.option(
    "--fit",
    type=click.Choice(["crop", "stretch"]),
    default="crop",
    show_default=True,
    help="How to make squares of pictures, for a bundle of one picture size.",
)
@click.option(
    "--quality",
    "qualities",
    type=Integers(),
    default=(),
    help="Qualities to measure, for bundles with qualities.  [default: 10,30,50,70,90]",
)
@click.option("--jpeg", type=Integers(), help="Qualities of JPEG to compare with.  [default: 10,20 to 100]")
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    help="Precision: float, int8, int16, int8-static, int4, auto.",
)
@click.option(
    "--runtime",
    type=click.Choice(["auto", "native", "onnxruntime", "openvino"]),
    default="auto",
    show_default=True,
)
@click.option("--device", type=click.Choice(DEVICES), default="cpu", show_default=True)
@click.option("--features", metavar="NPZ", type=_PATH, help="SqueezeNet 1.1: adds a feature distance.")
@click.option("--archive", metavar="DIR", type=_PATH, help="Take the pictures as ready .dcn files from here.")
@click.option("--bundle-dir", metavar="DIR", help="Folder in which bundles are looked up first.")
@click.option("--json", "json_path", metavar="OUT", type=_PATH, help="Write the record to this file, too.")
@click.option("--out", metavar="HTML", type=_PATH, required=True, help="The report: one file.")
def evaluate(
    bundle: str,
    images: Path | None,
    limit: int | None,
    fit: str,
    features: Path | None,
    archive: Path | None,
    bundle_dir: str | None,
    json_path: Path | None,
    out: Path,
    **chosen: Any,
) -> None:
    """Measure BUNDLE and JPEG on pictures, and write one HTML report.

    The report has tables, plots, originals next to reconstructions, the worst ten, and downloads.
    """
    from decant.bundles.bundle import Bundle, find_bundle

    from decant_bench.common import fitting, pages, record
    from decant_bench.common.features import FeatureDistance
    from decant_bench.evaluate import measure as lab
    from decant_bench.evaluate import report as evaluate_report
    from decant_bench.evaluate import table as evaluate_table

    if chosen["jpeg"] is None:
        del chosen["jpeg"]
    options = lab.Options(**chosen)
    if high := [number for number in (*options.qualities, *options.jpeg) if number > 100]:
        raise click.BadParameter(f"quality {high[0]}; 1 to 100 expected", param_hint="--quality, --jpeg")
    here = Path(bundle, "bundle.json").is_file()
    opened = Bundle.open(bundle) if here else find_bundle(bundle, bundle_dir=bundle_dir)
    distance = None if features is None else FeatureDistance(features)
    pictures = fitting.pictures_for(opened, images, limit, fit)
    coder = lab.bundle_coder(opened, pictures, options, archive)
    found = lab.measure([coder, lab.jpeg_coder(options.jpeg)], pictures, options, distance, say=_say)
    if json_path is not None:
        record.write(found, json_path)
    pages.write(evaluate_report.render(found, coder, pictures), out)
    click.echo(evaluate_table.as_text(found))


def _say(line: str) -> None:
    click.echo(f"decant: {line}", err=True)
