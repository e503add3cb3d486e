"""``python -m decant_bench.demo``: train, export, measure, report; real pictures, one command.

It calls what ``decant train``, ``export``, ``bench rd`` and ``bench latency`` call. Each step ends before the
next begins; one that fails ends the demo with its message and exit code 1.
"""

import logging
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from decant.bundles.bundle import Bundle, find_bundle
from decant.errors import BundleError, DecantError
from decant.formats.paths import takes_paths

from decant_bench.common import fitting, pages, record
from decant_bench.demo import measure, models, photos
from decant_bench.demo.measure import Pace
from decant_bench.demo.report import Demo, render
from decant_bench.evaluate import quality
from decant_bench.rate_distortion import table as rd_table

SET_SHARE = 0.25  # of the training minutes, for the set autoencoder
OWN = ("photos", "codec", "set", "bundles", "rates.json", "times.json", "quality.json", "report.html")


@takes_paths
def run(out: Path, images: Path | None, minutes: float, command: str, pace: Pace | None = None) -> Path:
    """All steps, into the folder ``out``; the path of the page. ``images``: a folder, or None for the photos
    in the wheels; ``minutes``: of training, codec and set autoencoder together. Raises what a step raises.
    """
    pace = pace or Pace()
    _clean(out)
    with _step("pictures"):
        found = photos.split(images, out / "photos")
    with _step("train and export the codec"):
        codec = models.codec(found.training, out, minutes * (1 - SET_SHARE), _say, pace.export_pictures)
    shipped = _shipped(pace.shipped)
    with _step("measure rate, distortion and decode times"):
        rates = measure.rates([*shipped, codec.bundle], found.held, pace, command, _say)
        record.write(rates.record, out / "rates.json")
        shown = [rates.equal_bytes(one, index) for index, one in enumerate(found.held.pictures)]
    with _step("measure load and cold start"):
        squares = photos.squares(found.held)
        times = measure.times(shipped, codec.bundle, squares, pace, command, _say)
        record.write(times, out / "times.json")
    with _step("train, export and measure the set autoencoder"):
        trained = models.set_autoencoder(images, out, minutes * SET_SHARE, _say)
        pictures = fitting.squares_for([trained.bundle], images)
        looks = quality.measure([trained.bundle], pictures, quality.Options(), command=command, say=_say)
        record.write(looks, out / "quality.json")
    with _step("report"):
        page = render(
            Demo(
                command=command,
                fresh=models.NAME,
                pictures=shown,
                rates=rates.record,
                times=times,
                quality=looks,
                minutes=minutes * (1 - SET_SHARE),
                codec_log=codec.log,
                set_log=trained.log,
            )
        )
        path = pages.write(page, out / "report.html")
    click.echo(rd_table.bd_table(rates.record).text())
    return path


@click.command()
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    help="Pictures.  [default: sample photos of scikit-image and scikit-learn]",
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
@click.option(
    "--minutes", default=2.8, show_default=True, type=click.FloatRange(0.05, 600), help="Of training."
)
def main(images: Path | None, out: Path, minutes: float) -> None:
    """Train a small codec on photographs, export it, measure it and the shipped bundles next to JPEG and
    AVIF; write OUT/report.html.
    """
    logging.basicConfig(level=logging.WARNING, format="decant: %(message)s")
    started = time.monotonic()
    try:
        path = run(out, images, minutes, record.command_line())
    except (DecantError, ValueError, FloatingPointError, OSError) as error:
        click.echo(f"decant: {error}", err=True)
        sys.exit(1)
    click.echo(f"\n{time.monotonic() - started:.0f} s; report: {path.resolve()}")


def _clean(out: Path) -> None:
    """Remove what an earlier demo left, and nothing else."""
    for name in OWN:
        place = out / name
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)


def _shipped(names: Sequence[str]) -> list[Bundle]:
    """The shipped bundles that are installed."""
    found = []
    for name in names:
        try:
            found.append(find_bundle(name))
        except BundleError as error:
            _say(f"{name} is left out: {error}")
    return found


@contextmanager
def _step(name: str) -> Iterator[None]:
    started = time.monotonic()
    _say(f"{name} ...")
    yield
    _say(f"{name}: {time.monotonic() - started:.1f} s")


def _say(line: str) -> None:
    click.echo(f"decant: {line}", err=True)


if __name__ == "__main__":
    main()
