"""``decant adapt``."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from decant.commands.options import bundle_dir_option, json_option, quiet_option
from decant.commands.running import PATH, require
from decant.commands.terminal import say, show, show_lines
from decant.settings import DEFAULT_EFFORT, DEFAULT_QUALITY, LARGEST_EFFORT, LARGEST_QUALITY


@click.command()
@click.argument("bundle", metavar="BUNDLE")
@click.argument("images", metavar="IMAGES", type=PATH)
@click.option("--out", required=True, metavar="DIR", type=PATH, help="New folder for the adapted bundle.")
@click.option(
    "--level",
    type=click.Choice(["tables", "prior", "synthesis", "whole"]),
    default="tables",
    show_default=True,
    help="What is adapted. Levels above tables train, and need the extras train and export.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    default=5.0,
    show_default=True,
    help="How long to train, at levels above tables.",
)
@click.option(
    "--quality",
    type=click.IntRange(1, LARGEST_QUALITY),
    default=DEFAULT_QUALITY,
    show_default=True,
    help="Quality at which the archive is to be stored.",
)
@click.option(
    "--effort",
    type=click.IntRange(0, LARGEST_EFFORT),
    help=f"As in encode; {DEFAULT_EFFORT} when left out.",
)
@click.option("--name", default="own", show_default=True, help="Name of the adapted bundle; short is better.")
@click.option("--threads", default=0, help="CPU threads; 0 for all cores.")
@json_option
@quiet_option
@bundle_dir_option
def adapt(
    bundle: str,
    images: Path,
    out: Path,
    level: str,
    minutes: float,
    quality: int,
    effort: int | None,
    name: str,
    threads: int,
    as_json: bool,
    quiet: bool,
    bundle_dir: str | None,
) -> None:
    """Adapt BUNDLE to the pictures of the folder IMAGES, and measure what that gains.

    BUNDLE is a bundle's name or folder, for example lite, and needs its encoder. The adapted bundle has
    a model id of its own: files that it encodes need it to be decoded. The output gives the bytes per
    picture before and after, at equal PSNR.
    """
    from decant.adaptation.adapting import adapt as run
    from decant.adaptation.delta import pack
    from decant.adaptation.pictures import pictures_in
    from decant.bundles.bundle import open_bundle

    require(images)
    done = run(
        bundle,
        pictures_in(images),
        out,
        level=level,
        minutes=minutes,
        quality=quality,
        effort=effort,
        name=name,
        threads=threads,
        bundle_dir=bundle_dir,
        report=(lambda line: None) if quiet else say,
    )
    delta = len(pack(done.bundle, open_bundle(bundle, bundle_dir)))
    gain = done.gain
    if as_json:
        figures = {"bundle": str(out), "level": level, "model_id": done.bundle.model_id, "ratio": gain.ratio}
        show(json.dumps(figures | asdict(gain) | {"delta_bytes": delta, "seconds": round(done.seconds, 1)}))
        return
    show_lines(
        f"{out}: {done.bundle.name}, id {done.bundle.model_id[:16]}, level {level}, {done.seconds:.0f} s\n"
        f"{gain.bytes_before:.0f} -> {gain.bytes_after:.0f} bytes per picture ({gain.ratio - 1:+.1%}) at "
        f"{gain.psnr_db:.2f} dB, on {gain.pictures} pictures; {delta} bytes of decoder"
    )
