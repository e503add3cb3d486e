"""``decant bench effort``: time to encode against BD-rate."""

from pathlib import Path
from typing import Any

import click

from decant_bench.common.cli_types import Integers, Names, Pair

_PATH = click.Path(path_type=Path)
_POSITIVE = click.IntRange(1)


@click.command()
@click.option(
    "--images",
    metavar="DIR",
    type=_PATH,
    help="Whole pictures.  [default: sample photos of scikit-image and scikit-learn]",
)
@click.option("--limit", type=_POSITIVE, help="At most this many pictures.")
@click.option("--bundle", metavar="NAME_OR_DIR", required=True, help="A bundle with qualities.")
@click.option("--bundle-dir", metavar="DIR", help="Folder in which the bundle is looked up first.")
@click.option("--efforts", type=Integers(0, 9), help="Efforts of the bundle.  [default: 0 to 9]")
@click.option("--against", "field", type=Names(), help="Encoders to compare with.  [default: avif,jxl,webp]")
@click.option(
    "--precision", default="auto", show_default=True, help="Precision to decode the bundle's files with."
)
@click.option("--runtime", default="auto", show_default=True, help="Runtime of the bundle.")
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
    "--match",
    "match_bpp",
    default=0.6,
    show_default=True,
    help="Take times near this rate, in bits per pixel.",
)
@click.option("--rounds", type=_POSITIVE, default=3, show_default=True, help="Rounds of timed encodes.")
@click.option("--seed", default=0, show_default=True, help="Seed of the order of cases.")
@click.option("--out", metavar="DIR", type=_PATH, required=True, help="Folder for record, table and figure.")
def effort(
    images: Path | None, limit: int | None, bundle: str, bundle_dir: str | None, out: Path, **chosen: Any
) -> None:
    """Measure encoding time and BD-rate for each effort of a bundle.

    AVIF, JPEG XL and WebP are measured at their efforts in the same run, on one thread each.
    """
    from decant.bundles.bundle import Bundle, find_bundle

    from decant_bench.common import pictures as reading
    from decant_bench.rate_distortion import effort as lab
    from decant_bench.rate_distortion import effort_report

    given = {name: value for name, value in chosen.items() if value is not None}
    if unknown := [name for name in given.get("field", ()) if name not in lab.FIELD]:
        raise click.BadParameter(
            f"{unknown[0]!r} has no efforts here; known: {', '.join(lab.FIELD)}", param_hint="--against"
        )
    found = reading.wheel_pictures(limit) if images is None else reading.read_pictures(images, limit)
    here = Path(bundle, "bundle.json").is_file()
    opened = Bundle.open(bundle) if here else find_bundle(bundle, bundle_dir=bundle_dir)
    result = lab.measure(opened, found, lab.Options(**given), say=_say)
    effort_report.write(result, out)
    click.echo(effort_report.as_text(result))


def _say(line: str) -> None:
    click.echo(f"decant: {line}", err=True)
