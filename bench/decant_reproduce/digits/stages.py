"""What reproducing the digit autoencoder makes and measures, stage by stage; each keeps its result in a
folder and is done once, again only where what it rests on has changed.
"""

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from decant.bundles.bundle import Bundle
from decant.decoder import Decoder
from decant.encoder import Encoder
from decant.formats import container
from decant_bench.common import metrics, palettes
from decant_bench.common.baselines import Setting

from decant_reproduce.digits import pca

LATENT = 28
BITS = 8  # of each latent, in the files of the bundle
SWEPT_BITS = (2, 3, 4, 5, 6, 8)
CALIBRATION = 2048  # training digits that ranges of int8 are measured over
PALETTE_DIGITS = 1000  # test digits that K-means is measured on
INT8_DIGITS = 1000  # test digits that int8 is measured on
ELBOW_DIGITS = 40
COLOURS = tuple(range(1, 13))
EXACT_DB = 100.0  # what a picture without any error counts in a mean of PSNR
_BATCH = 500

Report = Callable[[str], None]
Pixels = np.ndarray  # uint8 (n, 28, 28), grey


def train(folder: Path, data: Path, minutes: float) -> None:
    """Train the autoencoder, or go on, until it has had ``minutes``."""
    from decant_train.published.digits import recipe as recipes_digits

    resume = _unfinished(folder, minutes)
    if resume is not None:
        options = _options(minutes, recipes_digits.DEFAULTS)
        recipes_digits.train_digits("default", folder, options, images=data, resume=resume, progress=False)


def train_denoiser(folder: Path, trained: Path, data: Path, minutes: float) -> None:
    """Train the denoiser after ``trained``, or go on, until it has had ``minutes``; anew where the decoder
    was trained further.
    """
    from decant_train.common import checkpoint
    from decant_train.published.digits import recipe as recipes_digits

    made = folder / checkpoint.DESCRIPTION
    fresh = made.exists() and not _older(made, trained / checkpoint.DESCRIPTION)
    resume = _unfinished(folder, minutes) if fresh else False
    if resume is not None:
        options = _options(minutes, recipes_digits.DENOISER_DEFAULTS)
        recipes_digits.train_digits_denoiser(
            "default", folder, options, decoder=trained, images=data, resume=resume, progress=False
        )


def export_trained(trained: Path, denoiser: Path, data: Path, out: Path, report: Report) -> Bundle:
    """The bundle ``digits``, exported anew where a checkpoint is newer: float and int8 for the runtimes that
    are installed.
    """
    from importlib.util import find_spec

    from decant_export import export
    from decant_train.common import checkpoint
    from decant_train.data import mnist

    made = out / "bundle.json"
    sources = [folder / checkpoint.DESCRIPTION for folder in (trained, denoiser)]
    if made.exists() and not any(_older(made, source) for source in sources):
        return Bundle.open(out)
    pictures = mnist.load(data).images
    return export(
        trained,
        out,
        name="digits",
        precisions=("float", "int8", "int8-static"),
        runtimes=("onnxruntime", *(("openvino",) if find_spec("openvino") else ())),
        images=rgb(pictures[:CALIBRATION]),
        denoiser=denoiser,
        latent_coding=f"uint{BITS}",
        force=True,
        report=report,
    )


def measure(bundle: Bundle, trained: Path, denoiser: Path, data: Path, report: Report) -> dict[str, Any]:
    """Every figure, over the test digits."""
    from decant_train.common import checkpoint
    from decant_train.data import mnist

    test, training = mnist.load(data, "test"), mnist.load(data).images
    pictures, labels = test.images, test.labels
    report(f"files of {len(pictures)} test digits, encoded and decoded")
    files = encoded(bundle, pictures)
    decoded = {
        "decoder": decode(bundle, files, denoise=False),
        "denoised": decode(bundle, files, denoise=True),
    }
    report("principal components")
    fitted = pca.fit(training, LATENT)
    coefficients = fitted.encode(pictures)
    decoded["pca"] = fitted.decode(coefficients)
    layout = fitted.layout(BITS)
    stored = np.stack([layout.unpack(layout.pack(one)) for one in coefficients])
    decoded["pca_stored"] = fitted.decode(stored)
    gains = psnr_each(pictures, decoded["denoised"]) - psnr_each(pictures, decoded["decoder"])
    by_label = {
        name: [
            float(psnr_each(pictures[labels == d], decoded[name][labels == d]).mean()) for d in _known(labels)
        ]
        for name in ("decoder", "denoised", "pca")
    }
    report("bits of a latent")
    swept = _swept(trained, denoiser, pictures)
    report("K-means and PNG")
    some = pictures[:PALETTE_DIGITS]
    runs = {
        name: checkpoint.read_description(path)
        for name, path in (("digits", trained), ("denoiser", denoiser))
    }
    return {
        "test": len(pictures),
        "training": len(training),
        "quality": {name: _quality(pictures, found) for name, found in decoded.items()},
        "int8_loss_db": _int8_loss(bundle, files, pictures, decoded["decoder"]),
        "int8_digits": len(files[:INT8_DIGITS]),
        "improved": float((gains > 0).mean()),
        "by_label": {"labels": _known(labels), **by_label},
        "bytes": {
            "latent": float(np.mean([len(container.parse(one).latents) for one in files])),
            "file": float(np.mean([len(one) for one in files])),
            "png": float(np.mean([png_bytes(one) for one in pictures])),
            "pca_decoder": fitted.decoder_bytes,
        },
        "graphs": [
            {
                key: getattr(graph, key)
                for key in ("role", "precision", "runtime", "bytes", "kmac_per_pixel", "psnr_to_float_db")
            }
            for graph in bundle.graphs
        ],
        "swept": swept,
        "pca_swept": [_pca_at(bits, fitted, coefficients, pictures) for bits in SWEPT_BITS],
        "palettes": [_palette(colours, some) for colours in (2, 4, 8)],
        "palette_digits": len(some),
        "elbow": elbow(pictures[:ELBOW_DIGITS]),
        "runs": {
            name: {key: run[key] for key in ("epoch", "elapsed_s", "metrics", "stopped_by")}
            for name, run in runs.items()
        },
    }


def encoded(bundle: Bundle, pictures: Pixels) -> list[bytes]:
    """A whole .dcn file of each picture."""
    encoder = Encoder(bundle, threads=1)
    return [encoder.encode(picture) for picture in rgb(pictures)]


def decode(bundle: Bundle, files: Sequence[bytes], *, denoise: bool, precision: str = "float") -> Pixels:
    """What the runtime makes of whole files."""
    decoder = Decoder(bundle, precision=precision, runtime="onnxruntime", denoise=denoise, threads=1)
    return np.stack([decoder.decode(one)[..., 0] for one in files])


def elbow(pictures: Pixels) -> dict[str, Any]:
    """K-means of each picture with 1, 2, ... colours: mean inertia and PSNR, and where inertia bends."""
    bends, closeness = [], []
    for colours in COLOURS:
        bends.append(float(np.mean([palettes.inertia(one, colours) / 3 for one in rgb(pictures)])))
        found = [palettes.kmeans(one, colours) for one in rgb(pictures)]
        decoded = np.stack([palette[indices][..., 0] for palette, indices in found])
        closeness.append(float(psnr_each(pictures, decoded).mean()))
    return {
        "digits": len(pictures), "colours": list(COLOURS), "inertia": bends, "psnr_db": closeness,
        "bend": COLOURS[bend(bends)],
    }  # fmt: skip


def bend(values: Sequence[float]) -> int:
    """Index of the elbow of a falling curve: the point farthest below the line from its first to its last
    (Satopaa et al. 2011).
    """
    line = np.linspace(values[0], values[-1], len(values))
    return int(np.argmax(line - np.asarray(values)))


def psnr_each(pictures: Pixels, decoded: Pixels) -> np.ndarray:
    """PSNR in dB of each picture, float64 (n,); EXACT_DB for one without any error."""
    mse = np.square(pictures.astype(np.int32) - decoded).mean(axis=(1, 2), dtype=np.float64)
    with np.errstate(divide="ignore"):
        psnr: np.ndarray = np.minimum(10 * np.log10(255**2 / mse), EXACT_DB)
    return psnr


def png_bytes(picture: Pixels) -> int:
    """Length of the grey picture (28, 28) as PNG, Pillow's smallest."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", optimize=True)
    return len(stream.getvalue())


def rgb(pictures: Pixels) -> np.ndarray:
    """uint8 (n, 28, 28) -> (n, 28, 28, 3)."""
    return pictures[..., None].repeat(3, axis=3)


def _quality(pictures: Pixels, decoded: Pixels) -> dict[str, float]:
    """Means over the pictures."""
    psnr = psnr_each(pictures, decoded)
    similar = [metrics.ssim(a, b) for a, b in zip(rgb(pictures[:_BATCH]), rgb(decoded[:_BATCH]), strict=True)]
    mse = np.square(pictures.astype(np.int32) - decoded).mean(dtype=np.float64)
    return {
        "psnr_db": float(psnr.mean()),
        "psnr_of_mean_error_db": 10 * math.log10(255**2 / mse) if mse else EXACT_DB,
        "ssim": float(np.mean(similar)),
    }


def _int8_loss(bundle: Bundle, files: Sequence[bytes], pictures: Pixels, plain: Pixels) -> dict[str, float]:
    """By precision that the bundle has for ONNX Runtime: how much mean PSNR it loses against float, in dB."""
    there = {graph.precision for graph in bundle.graphs if graph.runtime == "onnxruntime"}
    some = pictures[:INT8_DIGITS]
    before = psnr_each(some, plain[:INT8_DIGITS]).mean()
    found = {}
    for precision in sorted(there - {"float"}):
        small = decode(bundle, files[:INT8_DIGITS], denoise=False, precision=precision)
        found[precision] = float(before - psnr_each(some, small).mean())
    return found


def _swept(trained: Path, denoiser: Path, pictures: Pixels) -> list[dict[str, Any]]:
    """Both networks in PyTorch, with latents of SWEPT_BITS."""
    import torch
    from decant_train.common import checkpoint
    from decant_train.published.digits import recipe as recipes_digits
    from decant_train.published.digits.denoiser import DigitDenoiser
    from decant_train.published.digits.model import DigitAutoencoder

    decoder, mender = checkpoint.load(trained).model, checkpoint.load(denoiser).model
    assert isinstance(decoder, DigitAutoencoder)
    assert isinstance(mender, DigitDenoiser)
    found = []
    for bits in SWEPT_BITS:
        plain = recipes_digits.decoded(decoder, pictures, bits)
        with torch.no_grad():
            batches = torch.split(torch.from_numpy(plain)[:, None], _BATCH)
            parts = [(mender(one.float() / 255) * 255).round().byte()[:, 0].numpy() for one in batches]
        found.append(
            {
                "bits": bits,
                "bytes": (LATENT * bits + 7) // 8,
                "decoder": float(psnr_each(pictures, plain).mean()),
                "denoised": float(psnr_each(pictures, np.concatenate(parts)).mean()),
            }
        )
    return found


def _pca_at(bits: int, fitted: pca.Pca, coefficients: np.ndarray, pictures: Pixels) -> dict[str, Any]:
    layout = fitted.layout(bits)
    stored = np.stack([layout.unpack(layout.pack(one)) for one in coefficients])
    psnr = float(psnr_each(pictures, fitted.decode(stored)).mean())
    return {"bits": bits, "bytes": layout.payload_bytes, "psnr_db": psnr}


def _palette(colours: int, pictures: Pixels) -> dict[str, Any]:
    setting = Setting("kmeans", colours)
    files = [setting.encode(one) for one in rgb(pictures)]
    decoded = np.stack([setting.decoder()(one)[..., 0] for one in files])
    return {
        "colours": colours, "bytes": float(np.mean([len(one) for one in files])),
        "psnr_db": float(psnr_each(pictures, decoded).mean()),
    }  # fmt: skip


def _known(labels: np.ndarray) -> list[int]:
    return [int(label) for label in np.unique(labels)]


def _options(minutes: float, defaults: dict[str, Any]) -> Any:
    from decant_train.common.loop import Options

    chosen = {name: defaults[name] for name in ("batch_size", "learning_rate")}
    return Options(**chosen, max_minutes=minutes, schedule="cosine", save_minutes=1)


def _unfinished(folder: Path, minutes: float) -> bool | None:
    """Whether to resume the training in ``folder``, or None where it has had its ``minutes``."""
    from decant_train.common import checkpoint

    if not (folder / checkpoint.DESCRIPTION).exists():
        return False
    description = checkpoint.read_description(folder)
    had = (
        description["stopped_by"] in ("minutes", "epochs") and description["elapsed_s"] >= 0.95 * 60 * minutes
    )
    return None if had else True


def _older(made: Path, source: Path) -> bool:
    return made.stat().st_mtime < source.stat().st_mtime
