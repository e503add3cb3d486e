"""What reproducing the set autoencoder makes and measures, stage by stage; each keeps its result in a folder
and is done once, again only where what it rests on has changed.
"""

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from decant.bundles.bundle import Bundle, find_bundle
from decant.errors import BundleError
from decant_bench.common import pictures as reading
from decant_bench.common import record
from decant_bench.common.pages import write
from decant_bench.common.pictures import PictureSet
from decant_bench.common.record import Record
from decant_bench.errors import BenchError
from decant_bench.evaluate import measure as evaluate
from decant_bench.evaluate import quality
from decant_bench.latency import measure as latency

SIDE = 256
SET = 64  # pictures of `small`
SAMPLE = 25  # of them are measured, as many as JPEG was measured on in the publication
CODECS = ("lite", "nano", "full")
CODEC_QUALITIES = (3, 15, 30, 45, 60, 80, 100)
SHAPES = ("base", "large", "xlarge")  # exported with the weights they begin with: for sizes and times
SSIM_WEIGHT = 0.01  # of 1 - SSIM in the loss, as `small` that ships

# The least that keeps every phase; figures to publish take `decant bench latency`.
PACE = latency.Options(
    threads=(1,), runtimes=("onnxruntime",), codecs=("jpeg-q90", "png"), rounds=4, min_samples=20,
    min_seconds=0.05, load_rounds=3, fresh_rounds=1, batch_rounds=1,
)  # fmt: skip

Report = Callable[[str], None]


def pictures_of(data: Path | None) -> PictureSet:
    """The set: the first SET pictures of ``data`` as squares, or squares of the photos in the wheels."""
    return reading.wheel_crops(SET, SIDE) if data is None else reading.read_squares(data, SIDE, SET)


def draw(folder: Path) -> None:
    """A homogeneous set: SET plots of one kind, as squares; done once."""
    from decant_bench.test_pictures.drawings import drawings
    from PIL import ImageOps

    folder.mkdir(parents=True, exist_ok=True)
    drawing = drawings()["lines"]
    for seed in range(SET):
        path = folder / f"lines_{seed:02}.png"
        if not path.exists():
            ImageOps.fit(drawing(seed), (SIDE, SIDE)).save(path)


def sample_of(pictures: PictureSet) -> PictureSet:
    """SAMPLE random ones of the set."""
    chosen = quality.pick(len(pictures), SAMPLE, 0)
    return PictureSet(tuple(pictures.pictures[index] for index in chosen), pictures.source)


def train(folder: Path, data: Path | None, minutes: float, *, plain: bool) -> dict[str, Any]:
    """Train `small`, or go on, until it has had ``minutes``; the description of its checkpoint. Raises
    BenchError where it was trained on other pictures.
    """
    from decant_train.common import checkpoint
    from decant_train.common.loop import Options
    from decant_train.data import images as data_images
    from decant_train.published.set import recipe as set_recipe

    there = (folder / checkpoint.DESCRIPTION).exists()
    if there:
        source = checkpoint.read_description(folder)["data"]["source"]
        if source != (data_images.WHEELS if data is None else str(data)):
            raise BenchError(f"{folder} was trained on {source}; give another --out for other pictures")
    if not there or not _had(checkpoint.read_description(folder), minutes):
        set_recipe.train_set(
            "small",
            folder,
            Options(max_minutes=minutes, schedule="cosine", save_minutes=1, evaluate_every=50),
            images=data,
            plain=plain,
            ssim_weight=SSIM_WEIGHT,
            resume=there,
            progress=False,
        )
    return checkpoint.read_description(folder)


def train_denoiser(folder: Path, trained: Path, data: Path | None, minutes: float) -> dict[str, Any]:
    """Train a denoiser after the decoder of ``trained``, anew where that was trained further; the
    description of its checkpoint, with ``parameters``.
    """
    from decant_train.common import checkpoint
    from decant_train.common.loop import Options
    from decant_train.published.denoiser import recipe as denoiser_recipe

    there = (folder / checkpoint.DESCRIPTION).exists()
    older = there and _older(folder / checkpoint.DESCRIPTION, trained / checkpoint.DESCRIPTION)
    if older or not there or not _had(checkpoint.read_description(folder), minutes):
        options = Options(
            max_minutes=minutes, schedule="cosine", learning_rate=1e-3, batch_size=4, evaluate_every=50
        )
        denoiser_recipe.train_denoiser(
            "light",
            folder,
            options,
            sets=[trained],
            images=data,
            resume=there and not older,
            progress=False,
        )
    parameters = sum(p.numel() for p in checkpoint.load(folder).model.parameters())
    return checkpoint.read_description(folder) | {"parameters": parameters}


def export_trained(trained: Path, out: Path, report: Report) -> Bundle:
    """The bundle of a trained `small`, exported anew where it was trained further."""
    from decant_export import export
    from decant_train.common import checkpoint

    if (out / "bundle.json").exists() and not _older(out / "bundle.json", trained / checkpoint.DESCRIPTION):
        return Bundle.open(out)
    return export(
        trained,
        out,
        name="small",
        precisions=("float", "int8", "int8-static"),
        runtimes=("onnxruntime",),
        force=True,
        report=report,
    )


def shapes(folder: Path, report: Report) -> tuple[dict[str, dict[str, int]], list[Bundle]]:
    """Bytes of the graphs of SHAPES by name and precision, and the bundles of those that times are taken of
    (all but the largest); their weights are those that training begins with.
    """
    from decant_export import export
    from decant_train.common import checkpoint, families

    sizes_path = folder / "sizes.json"
    sizes: dict[str, dict[str, int]] = json.loads(sizes_path.read_text()) if sizes_path.exists() else {}
    bundles = []
    for name in SHAPES:
        place, timed = folder / name, name != SHAPES[-1]
        if name not in sizes or (timed and not (place / "bundle.json").exists()):
            report(f"graphs of {name}, untrained")
            family = families.get("set")
            config = family.sizes[name]
            start = checkpoint.Checkpoint("set", config, family.network(config))
            checkpoint.save(folder / "start", start)
            made = export(
                folder / "start",
                place,
                precisions=("float", "int8"),
                runtimes=("onnxruntime",),
                encoder=timed,
                images=np.zeros((4, SIDE, SIDE, 3), np.uint8),
                golden=1,
                force=True,
            )
            sizes[name] = {g.precision: g.bytes for g in made.graphs if g.role == "synthesis"}
            write(json.dumps(sizes), sizes_path)
            shutil.rmtree(folder / "start")
            if not timed:
                shutil.rmtree(place)
        if timed:
            bundles.append(Bundle.open(place))
    return sizes, bundles


def quality_record(bundle: Bundle, pictures: PictureSet, path: Path, report: Report) -> Record:
    """PSNR and SSIM of every variant of `small` on the sample, its ratio for the whole set."""
    sample = sample_of(pictures)
    kept = _kept(path, "quality")
    same = {"bundles": {bundle.name: bundle.model_id}, "images": sample.described()}
    if kept is not None and all(kept["config"][key] == value for key, value in same.items()):
        return kept
    options = quality.Options(codecs=(), archive_images=len(pictures), ms_ssim=False)
    return _written(quality.measure([bundle], sample, options, say=report), path)


def rates_record(pictures: PictureSet, path: Path, report: Report) -> Record:
    """JPEG at 10 to 100 and the codec bundles that are here, on the sample."""
    whole = sample_of(pictures)
    options = evaluate.Options(qualities=CODEC_QUALITIES, ms_ssim=False)
    coders = [evaluate.jpeg_coder(options.jpeg)]
    for name in CODECS:
        try:
            coders.append(evaluate.bundle_coder(find_bundle(name), whole, options))
        except BundleError as error:
            report(f"{name} is left out: {error}")
    kept = _kept(path, "evaluation")
    if (
        kept is not None
        and kept["config"]["images"] == whole.described()
        and [row["facts"] for row in kept["rows"]] == [coder.facts for coder in coders]
    ):
        return kept
    return _written(evaluate.measure(coders, whole, options, say=report), path)


def latency_record(
    bundles: Sequence[Bundle], pictures: PictureSet, path: Path, minutes: float, report: Report
) -> Record:
    """Load and decode times of ``bundles`` and of the codec bundles that are here, beside JPEG."""
    sample = sample_of(pictures)
    kept = _kept(path, "latency")
    if kept is not None and kept["config"]["images"]["sha256"] == sample.sha256:
        return kept
    found = list(bundles)
    for name in CODECS:
        try:
            found.append(find_bundle(name))
        except BundleError:
            continue  # said where rates are taken
    options = dataclasses.replace(PACE, max_minutes=minutes)
    return _written(latency.measure(found, sample, options, say=report), path)


def _had(description: dict[str, Any], minutes: float) -> bool:
    """Has training had its time, or nothing more to win?"""
    return bool(description["stopped_by"] == "convergence" or description["elapsed_s"] >= 0.97 * 60 * minutes)


def _older(made: Path, source: Path) -> bool:
    return made.stat().st_mtime < source.stat().st_mtime


def _kept(path: Path, kind: str) -> Record | None:
    """The record that an earlier run left; None for none, or for one of another version."""
    try:
        return record.read(path, kind)
    except BenchError:
        return None


def _written(found: Record, path: Path) -> Record:
    record.write(found, path)
    return found
