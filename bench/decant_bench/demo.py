"""``python -m decant_bench.demo``: train, export, decode, measure, report; real pictures, one command.

It calls what ``decant train``, ``export``, ``decode`` and ``bench`` call. Each step ends before the next
begins; one that fails ends the demo with its message and exit code 1.
"""

import itertools
import json
import logging
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from decant.bundles.bundle import Bundle
from decant.errors import DecantError
from decant.formats.paths import takes_paths
from PIL import Image

from decant_bench import report
from decant_bench.common import machine, record
from decant_bench.common.images import ImageSet
from decant_bench.errors import BenchError
from decant_bench.evaluate import quality, quality_table
from decant_bench.latency import measure as latency
from decant_bench.latency import table as latency_table

SIZE = "small"
SSIM_WEIGHT = 0.01  # of 1 - SSIM in the loss: 0.01 to 0.02 more SSIM for a tenth of a dB
DENOISER_SHARE = 0.15  # of the training minutes
SHOWN = 6  # pictures in the report
OWN = ("run", "denoiser", "bundles", "archive", "decoded", "latency.json", "quality.json", "report.html")

# A demo's measurement: every variant, few rounds. Figures to publish take `decant bench latency`.
LATENCY = latency.Options(
    rounds=8, min_samples=30, min_seconds=0.1, load_rounds=3, fresh_rounds=1, batch_rounds=3, max_minutes=1.0
)


@takes_paths
def run(out: Path, images: Path | None, minutes: float, command: str, lab: latency.Options = LATENCY) -> Path:
    """All steps, into the folder ``out``; the path of the report. ``images``: a folder, or None for the
    photos in the wheels; ``minutes``: of training. Raises what a step raises.
    """
    _clean(out)
    with _step("train"):
        training = _train(out / "run", images, minutes * (1 - DENOISER_SHARE))
    with _step("train the denoiser"):
        _train_denoiser(out / "denoiser", out / "run", images, minutes * DENOISER_SHARE)
    with _step("export"):
        bundle = _export(out)
    with _step("encode the archive"):
        pictures = _encode(bundle, out, images)
    with _step("decode the archive"):
        decoded = _decode(out, len(pictures))
    with _step("measure quality"):
        looks = quality.measure(
            [bundle],
            pictures,
            quality.Options(runtimes=("onnxruntime",)),
            archive=out / "archive",
            command=command,
            say=_say,
        )
        record.write(looks, out / "quality.json")
    with _step("measure latency"):
        times = latency.measure([bundle], pictures, lab, archive=out / "archive", command=command, say=_say)
        record.write(times, out / "latency.json")
    with _step("report"):
        path = report.write_report(
            out / "report.html",
            title=f"decant: {SIZE} on {len(pictures)} pictures ({pictures.source})",
            command=command,
            training=training,
            pictures=_shown(pictures, decoded),
            latency=times,
            quality=looks,
        )
    click.echo(quality_table.as_text(looks))
    click.echo()
    click.echo(latency_table.as_text(times))
    return path


@click.command()
@click.option(
    "--images", type=click.Path(path_type=Path), help="Pictures; photos in the wheels when left out."
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
@click.option(
    "--minutes", default=1.8, show_default=True, type=click.FloatRange(0.05, 600), help="Of training."
)
def main(images: Path | None, out: Path, minutes: float) -> None:
    """Train, export, decode and measure a small set autoencoder on 64 pictures; write OUT/report.html."""
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


def _train(folder: Path, images: Path | None, minutes: float) -> dict[str, Any]:
    """The rows of the log and the final figures."""
    import torch
    from decant.process.cores import usable_cores
    from decant_train.common.loop import Options
    from decant_train.published.set import recipe as set_recipe

    # A second thread that has to wait for somebody else's work holds up the first.
    cores = usable_cores()
    torch.set_num_threads(1 if machine.busy(machine.load_average(), cores) else cores)
    done = set_recipe.train_set(
        SIZE,
        folder,
        Options(max_minutes=minutes, schedule="cosine", evaluate_every=20),
        images=images,
        ssim_weight=SSIM_WEIGHT,
        progress=sys.stderr.isatty(),
    )
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return {"rows": [json.loads(line) for line in lines], "metrics": done.metrics}


def _train_denoiser(folder: Path, trained: Path, images: Path | None, minutes: float) -> None:
    from decant_train.common.loop import Options
    from decant_train.published.denoiser import recipe as denoiser_recipe

    options = Options(max_minutes=minutes, schedule="cosine", learning_rate=1e-3, evaluate_every=20)
    denoiser_recipe.train_denoiser(
        "light", folder, options, sets=[trained], images=images, progress=sys.stderr.isatty()
    )


def _export(out: Path) -> Bundle:
    from decant_export import export

    return export(
        out / "run",
        out / "bundles" / SIZE,
        denoiser=out / "denoiser",
        data="the pictures of a demo",
        report=_say,
    )


def _encode(bundle: Bundle, out: Path, images: Path | None) -> ImageSet:
    """Write the archive; the pictures in it, as they were."""
    from decant_export.archiving import named_images, write_archive
    from decant_train.common import checkpoint
    from decant_train.data import wheel_photos

    count = checkpoint.read_description(out / "run")["config"]["set_size"]
    named = list(itertools.islice(named_images(out / "run", images), count))
    written = write_archive(bundle, iter(named), out / "archive")
    if written != len(named):
        raise BenchError(f"{out / 'archive'}: {written} files written for {len(named)} pictures")
    source = f"{len(wheel_photos.PHOTOS)} photos in the wheels of scikit-image and scikit-learn"
    names = tuple(name for name, _ in named)
    pixels = np.stack([picture for _, picture in named])
    return ImageSet(names, pixels, source if images is None else str(images))


def _decode(out: Path, count: int) -> dict[str, np.ndarray]:
    """Decode the archive into PNG files, as `decant decode` does; the pictures read back, by name."""
    from decant.batch import FileDecoder, run_all
    from decant.formats.plan import plan_folder

    jobs = plan_folder(out / "archive", out / "decoded", (".dcn",), ".png").jobs
    work = FileDecoder(
        bundle_dir=str(out / "bundles"),
        precision="auto",
        denoise=False,
        device="cpu",
        runtime="auto",
        threads=0,
        strict_device=False,
        size_limit=1 << 24,
    )
    failed = run_all(jobs, work, lambda job, result: _say(result) if isinstance(result, str) else None)
    if failed or len(jobs) != count:
        raise BenchError(f"{failed} of {len(jobs)} files could not be decoded; {count} pictures were encoded")
    found = {}
    for source, target in jobs:
        with Image.open(target) as image:
            found[source.relative_to(out / "archive").with_suffix("").as_posix()] = np.asarray(image)
    return found


def _shown(pictures: ImageSet, decoded: dict[str, np.ndarray]) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Some of the pictures, spread over the set."""
    chosen = range(0, len(pictures), max(1, len(pictures) // SHOWN))
    return [(pictures.names[i], pictures.pixels[i], decoded[pictures.names[i]]) for i in chosen][:SHOWN]


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
