"""``decant reproduce digits``: the autoencoder and its denoiser trained, exported and measured on the test
digits beside principal components, PNG and K-means.

``out`` holds, each made once: ``digits`` and ``denoiser`` (checkpoints), ``bundles/digits``,
``figures.json``, ``digits.png``; and ``data`` where no data were given.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from decant.bundles.bundle import Bundle
from decant_bench.common import pages, palettes, plots
from decant_bench.common.pages import Section
from decant_bench.common.tables import Table
from decant_bench.errors import BenchError

from decant_reproduce.digits import pca
from decant_reproduce.digits import plots as digits_plots
from decant_reproduce.digits import stages as digits_stages
from decant_reproduce.rows import Row

# Of the minutes; what is left measures.
TRAINING, DENOISER = 0.5, 0.3
FIGURES = "figures.json"
SHEET = "digits.png"
SHOWN = 14  # digits in the sheet
NOT_GIVEN = "not given"


def reproduce(data: Path | None, out: Path, max_minutes: float, report: Callable[[str], None]) -> list[Row]:
    """Train for TRAINING and DENOISER of ``max_minutes``, measure; the rows. ``data``: a folder of MNIST's
    four idx files; None for the digits in scikit-learn's wheel, which are fewer and coarser.

    Raises BenchError for a folder without those files, and what training and export raise.
    """
    from decant_train.common import checkpoint
    from decant_train.data import mnist, wheel_digits

    if data is None:
        data = wheel_digits.write(out / "data")
    if not mnist.is_folder(data):
        raise BenchError(f"{data} does not hold MNIST's four files (train-images-idx3-ubyte.gz, ...)")
    trained, denoiser, made = out / "digits", out / "denoiser", out / FIGURES
    report(f"training the autoencoder: {TRAINING * max_minutes:.1f} minutes in all")
    digits_stages.train(trained, data, TRAINING * max_minutes)
    report(f"training the denoiser: {DENOISER * max_minutes:.1f} minutes in all")
    digits_stages.train_denoiser(denoiser, trained, data, DENOISER * max_minutes)
    bundle = digits_stages.export_trained(trained, denoiser, data, out / "bundles" / "digits", report)
    if not made.exists() or made.stat().st_mtime < (bundle.path / "bundle.json").stat().st_mtime:
        found = digits_stages.measure(bundle, trained, denoiser, data, report)
        found["data"] = checkpoint.read_description(trained)["data"]["source"]
        draw_sheet(bundle, data, out / SHEET)
        pages.write(json.dumps(found, indent=1) + "\n", made)
    return rows_of(json.loads(made.read_text()))


def rows_of(found: dict[str, Any]) -> list[Row]:
    """The table of the figures that ``digits_stages.measure`` found."""
    quality, sizes, runs = found["quality"], found["bytes"], found["runs"]
    over = f"{found['test']:,} test digits ({found['data']})"
    four = next(one for one in found["palettes"] if one["colours"] == 4)
    small = next(one for one in found["swept"] if one["bits"] == 4)
    same = f"{digits_stages.BITS} bits a number, files decoded by the runtime; {over}"
    return [
        Row(
            "latent", "28 numbers (.npy)", f"28 numbers, {sizes['latent']:.0f} bytes", "packed in 8 bits each"
        ),
        Row(
            "training",
            "50 epochs",
            f"{runs['digits']['epoch']} epochs, {runs['digits']['elapsed_s'] / 60:.0f} minutes",
            f"denoiser: {runs['denoiser']['epoch']} epochs, {runs['denoiser']['elapsed_s'] / 60:.0f} minutes",
        ),
        Row("PSNR, decoder alone", NOT_GIVEN, _db(quality["decoder"]), same),
        Row(
            "PSNR, decoder + denoiser",
            NOT_GIVEN,
            _db(quality["denoised"]),
            f"{quality['denoised']['psnr_db'] - quality['decoder']['psnr_db']:+.2f} dB; "
            f"{100 * found['improved']:.0f} % of the digits gain",
        ),
        Row(
            "PSNR, PCA of 28 components",
            NOT_GIVEN,
            _db(quality["pca"]),
            "fitted on the training digits, float",
        ),
        Row(
            "PSNR, PCA of 28 components, 8 bits each",
            NOT_GIVEN,
            _db(quality["pca_stored"]),
            "28 bytes as ours",
        ),
        *(
            Row(
                f"PSNR that {precision} loses",
                NOT_GIVEN,
                f"{loss:.3f} dB",
                f"decoder alone, the first {found['int8_digits']:,} test digits",
            )
            for precision, loss in found["int8_loss_db"].items()
        ),
        Row(
            "PSNR with 4 bits a number",
            NOT_GIVEN,
            f"{small['denoised']:.2f} dB",
            f"{small['bytes']} bytes; decoder alone {small['decoder']:.2f} dB",
        ),
        Row(
            "bytes of a digit",
            NOT_GIVEN,
            f"{sizes['latent']:.0f} (file: {sizes['file']:.0f})",
            f"PNG, exact: {sizes['png']:.0f}; the decoder is not counted",
        ),
        Row(
            "K-means, 4 colours",
            NOT_GIVEN,
            f"{four['bytes']:.0f} bytes, {four['psnr_db']:.2f} dB",
            f"whole files, entropy-coded, the first {found['palette_digits']:,} test digits",
        ),
        Row(
            "elbow of K-means",
            "plotted",
            f"k = {found['elbow']['bend']}",
            f"mean inertia of {found['elbow']['digits']} digits, k = 1 to {found['elbow']['colours'][-1]}",
        ),
    ]


def sections(out: Path) -> list[Section]:
    """What the page shows below the table."""
    found = json.loads((out / FIGURES).read_text())
    logs = {name: _log(out / name) for name in ("digits", "denoiser")}
    trained = [
        pages.plot(svg, f"Training of {name}")
        for name, rows in logs.items()
        if (svg := plots.training_svg(rows)) is not None
    ]
    graphs = [
        [
            graph["role"],
            graph["precision"],
            graph["runtime"],
            f"{graph['bytes']:,}",
            "-" if graph["psnr_to_float_db"] is None else f"{graph['psnr_to_float_db']:.1f}",
            f"{graph['kmac_per_pixel']}",
        ]
        for graph in found["graphs"]
    ]
    names = {
        "decoder": "decoder", "denoised": "decoder + denoiser", "pca": "PCA-28, float",
        "pca_stored": "PCA-28, 8 bits",
    }  # fmt: skip
    quality = [
        [label, *(f"{found['quality'][name][key]:.{places}f}" for key, places in _QUALITY)]
        for name, label in names.items()
    ]
    swept = [
        [
            str(a["bits"]),
            str(a["bytes"]),
            f"{a['denoised']:.2f}",
            f"{a['decoder']:.2f}",
            f"{b['psnr_db']:.2f}",
        ]
        for a, b in zip(found["swept"], found["pca_swept"], strict=True)
    ]
    return [
        Section(
            "Digits",
            notes=[f"The first test digits, from files of {found['bytes']['latent']:.0f} bytes of latents."],
            images=[pages.image_file(out / SHEET, "Originals and what each method makes of them")],
        ),
        Section(
            "Quality",
            tables=[
                Table(("", "PSNR\ndB", "PSNR of the\nmean error, dB", "SSIM"), quality, note=_QUALITY_NOTE),
                Table(
                    ("bits a\nnumber", "bytes", "decoder +\ndenoiser, dB", "decoder\ndB", "PCA-28\ndB"), swept
                ),
            ],
            plots=[
                pages.plot(digits_plots.rates_svg(found), "Bytes of a digit against PSNR"),
                pages.plot(digits_plots.labels_svg(found["by_label"]), "PSNR of each digit"),
            ],
        ),
        Section(
            "K-means",
            notes=["Colour clustering of each digit by itself, as the publication's web page does."],
            plots=[
                pages.plot(digits_plots.elbow_svg(found["elbow"]), "Inertia against the number of colours"),
                pages.plot(digits_plots.colours_svg(found["elbow"]), "PSNR against the number of colours"),
            ],
        ),
        Section("Training", plots=trained),
        Section(
            "Graphs",
            notes=[
                f"PCA's decoder, mean and components in float32: {found['bytes']['pca_decoder']:,} bytes."
            ],
            tables=[Table(("role", "precision", "runtime", "bytes", "dB to float", "kMAC a pixel"), graphs)],
            downloads=[pages.download(FIGURES, json.dumps(found, indent=1), "every figure of this page")],
        ),
    ]


_QUALITY = (("psnr_db", 2), ("psnr_of_mean_error_db", 2), ("ssim", 4))
_QUALITY_NOTE = "Means over the test digits; SSIM over the first 500."


def draw_sheet(bundle: Bundle, data: Path, path: Path) -> None:
    """The first test digits as every method gives them back."""
    from decant_train.data import mnist

    pictures = mnist.load(data, "test").images[:SHOWN]
    files = digits_stages.encoded(bundle, pictures)
    fitted = pca.fit(mnist.load(data).images, digits_stages.LATENT)
    clustered = [palettes.kmeans(one, 4) for one in digits_stages.rgb(pictures)]
    digits_plots.save_sheet(
        [
            ("original", pictures),
            ("decoder", digits_stages.decode(bundle, files, denoise=False)),
            ("+ denoiser", digits_stages.decode(bundle, files, denoise=True)),
            ("PCA-28", fitted.decode(fitted.encode(pictures))),
            ("K-means, 4 colours", np.stack([palette[indices][..., 0] for palette, indices in clustered])),
        ],
        path,
    )


def _db(quality: dict[str, float]) -> str:
    return f"{quality['psnr_db']:.2f} dB"


def _log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
