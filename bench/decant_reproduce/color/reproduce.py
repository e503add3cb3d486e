"""The published system "color": trained, exported, and measured against palettes at the bits of K-means with
16 colours.

What is in the folder is used: a checkpoint that is finished, one that stopped (it goes on), the bundle, and
the pictures that were measured already.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from decant.bundles.bundle import Bundle
from decant.encoder import Encoder

from decant_reproduce.color import figures
from decant_reproduce.color import measures as color_measures
from decant_reproduce.color import page as color_page
from decant_reproduce.color.measures import FLOAT, INT8, KMEANS, LABELS, MEDIAN_CUT, Measures
from decant_reproduce.color.page import ACCURACY, LATENT_MAP, MEASURED, NAME
from decant_reproduce.rows import Row

Report = Callable[[str], None]

TRAINING_SHARE = 0.55  # of the minutes
WHEEL_CROPS, WHEEL_TRAINING = 320, 256
TSNE_CLASSES, TSNE_MOST = 10, 1000

sections = color_page.sections


@dataclass(frozen=True)
class Data:
    """``training``: a folder of mosaics, or pictures uint8 (n, 32, 32, 3) as ``test``; ``labels`` (n,) of the
    test pictures, and the labels' names.
    """

    training: Path | np.ndarray
    test: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]


def reproduce(
    data: Path | None,
    out: Path,
    max_minutes: float,
    report: Report,
    *,
    shape: Mapping[str, Any] | None = None,
    epochs: int = 0,
) -> list[Row]:
    """Train on the mosaics in ``data`` (on crops of the photos in the wheels where None), and measure on
    their test split as many pictures as the minutes leave time for; rows "published / ours".

    ``shape`` changes fields of the configuration, ``epochs`` (where given) ends the training instead of the
    minutes. Raises what training, export and the runtime raise.
    """
    ends_at = time.monotonic() + 60 * max_minutes
    found = _data(data)
    _train(found, out, TRAINING_SHARE * max_minutes, shape, epochs, report)
    bundle = _bundle(out, report)
    measures = color_measures.measure(bundle, found.test, out / MEASURED, ends_at, report)
    _write_labels(out, found, measures)
    _tsne(out, bundle, found, report)
    return rows(measures, color_page.training_log(out), bundle, on_cifar=data is not None)


def rows(measures: Measures, log: Sequence[Mapping[str, Any]], bundle: Bundle, on_cifar: bool) -> list[Row]:
    """The table "published / ours"."""
    psnr, ssim = measures.psnr_db.mean(axis=1), measures.ssim.mean(axis=1)
    bits = measures.bits_per_pixel(bundle.image[0] * bundle.image[1])
    at = {label: i for i, label in enumerate(LABELS)}
    test = f"{measures.count} test pictures" if on_cifar else f"{measures.count} crops of the wheels' photos"
    trained = bundle.manifest.raw["training"]
    once = 8 * _decoder_bytes(bundle) / (len(measures.order) * bundle.image[0] * bundle.image[1])

    def scores(label: str) -> str:
        return f"{psnr[at[label]]:.2f} dB, {ssim[at[label]]:.4f}"

    return [
        Row("PSNR", "26.09 dB", f"{psnr[at[FLOAT]]:.2f} dB", f"mean over {test}, real files"),
        Row("SSIM", "0.8558", f"{ssim[at[FLOAT]]:.4f}", "Gaussian window 11, mean over channels"),
        Row(
            "bits per pixel",
            "not given",
            f"{bits[at[FLOAT]]:.3f}",
            f"whole files; K-means with 16 colours takes {bits[at[KMEANS]]:.3f}. The decoder, "
            f"{_decoder_bytes(bundle)} bytes (int8 with tables), is not in it: spread over "
            f"{len(measures.order)} pictures it is {once:.2f} more",
        ),
        Row("PSNR and SSIM in int8", "not given", scores(INT8), "branch of the decoder in static int8"),
        Row(
            "K-means, 16 colours",
            "31.97 dB, 0.956",
            scores(KMEANS),
            f"{bits[at[KMEANS]]:.3f} bits per pixel, on the same pictures",
        ),
        Row(
            "median cut, 16 colours",
            "not given",
            scores(MEDIAN_CUT),
            f"{bits[at[MEDIAN_CUT]]:.3f} bits per pixel",
        ),
        Row(
            "median cut at like bits",
            "not given",
            scores(LABELS[-1]),
            f"{LABELS[-1]}, {bits[-1]:.3f} bits per pixel",
        ),
        Row(
            "training loss, first and last epoch",
            "0.0170 to 0.0029",
            f"{log[0]['training_mse']:.5f} to {log[-1]['training_mse']:.5f}",
            f"mean squared error; ours starts from principal components; {trained['epochs']} epochs of "
            f"{trained['minutes']} minutes (published: 50 epochs)",
        ),
        Row("validation loss, last epoch", "not given", f"{log[-1]['mse']:.5f}", "pictures held out"),
        Row(
            "accuracy",
            "99.88 %",
            f"{100 * log[-1]['accuracy']:.2f} %",
            f"theirs is not defined; ours: {ACCURACY}",
        ),
        Row(
            "correlation of SSIM and PSNR",
            "0.52",
            f"{figures.correlation(measures.psnr_db[0], measures.ssim[0]):.2f}",
            f"Pearson's r over {test}",
        ),
        Row(
            "pictures poor / average / good",
            "not given",
            " / ".join(f"{100 * part:.1f} %" for part in figures.quality_parts(measures.psnr_db[0])),
            f"below {figures.POOR_BELOW:g} dB / between / from {figures.GOOD_FROM:g} dB",
        ),
    ]


def _data(folder: Path | None) -> Data:
    if folder is None:
        from decant_train.data import wheel_photos

        crops = wheel_photos.crops(WHEEL_CROPS, 32)
        order = np.random.default_rng(0).permutation(len(crops))
        training, others = np.split(crops[order], [WHEEL_TRAINING])
        return Data(training, others, np.zeros(len(others), np.uint8), ("photos",))
    from decant_train.data import cifar

    test = cifar.load(folder, cifar.TEST)
    return Data(folder, test.pixels, test.labels, test.classes)


def _train(
    data: Data, out: Path, minutes: float, shape: Mapping[str, Any] | None, epochs: int, report: Report
) -> None:
    from decant_train.common import checkpoint as checkpoints
    from decant_train.common import loop
    from decant_train.published.color import recipe as recipes_color

    folder = out / "checkpoint"
    began = (folder / checkpoints.DESCRIPTION).is_file()
    if began and checkpoints.read_description(folder)["stopped_by"] in ("epochs", "minutes"):
        report(f"{folder} is trained")
        return
    if not (began or (out / NAME).exists()):
        report(f"training for {f'{epochs} epochs' if epochs else f'{minutes:.1f} minutes'}")
    options = loop.Options(
        epochs=epochs,
        max_minutes=0 if epochs else minutes,
        **recipes_color.DEFAULTS,
        schedule="cosine",
    )
    recipes_color.train_color(
        "base", folder, options, data=data.training, shape=shape, resume=began, progress=False
    )


def _bundle(out: Path, report: Report) -> Bundle:
    from decant_export import exporting

    folder = out / NAME
    if (folder / "bundle.json").is_file():
        report(f"{folder} is exported")
        return Bundle.open(folder)
    return exporting.export(
        out / "checkpoint",
        folder,
        precisions=("float", "int8-static"),
        licence="that of the pictures it was trained on",
        report=report,
    )


def _tsne(out: Path, bundle: Bundle, data: Data, report: Report) -> None:
    """t-SNE of the latents of some classes' test pictures, where it is not there already."""
    path = out / LATENT_MAP
    if path.is_file():
        return
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    classes = np.unique(data.labels)
    chosen = np.flatnonzero(
        np.isin(data.labels, classes[:: max(1, len(classes) // TSNE_CLASSES)][:TSNE_CLASSES])
    )
    chosen = chosen[:TSNE_MOST]
    report(f"t-SNE of {len(chosen)} pictures' latents")
    session = Encoder(bundle, threads=1).session
    latents = np.stack([session.run(data.test[i : i + 1])[0].ravel() for i in chosen])
    few = PCA(min(50, *latents.shape), random_state=0).fit_transform(latents)
    points = TSNE(perplexity=min(30, len(few) // 4), random_state=0).fit_transform(few)
    np.savez_compressed(path, points=points, labels=data.labels[chosen])


def _write_labels(out: Path, data: Data, measures: Measures) -> None:
    labels = data.labels[measures.order[: measures.count]]
    np.savez_compressed(out / color_page.CLASSES, labels=labels, classes=np.array(data.classes))


def _decoder_bytes(bundle: Bundle) -> int:
    """What a client needs to decode, in its smallest form."""
    graphs = [graph.bytes for graph in bundle.graphs if graph.role == "synthesis"]
    tables = [entry.bytes for entry in bundle.manifest.files if entry.path == "tables.safetensors"]
    return min(graphs) + sum(tables)
