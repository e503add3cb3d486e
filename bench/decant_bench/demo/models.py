"""What a demo trains: a `nano` codec on photographs, and a small set autoencoder."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from decant.bundles.bundle import Bundle

from decant_bench.common import machine

CODEC = "nano"
NAME = "nano-demo"  # of the fresh bundle: shipped names are taken
PRECISIONS = ("float", "int8", "int16")
SET, SSIM_WEIGHT = "small", 0.01  # of 1 - SSIM in the loss: 0.01 to 0.02 more SSIM for a tenth of a dB

Say = Callable[[str], None]


@dataclass(frozen=True)
class Trained:
    """A bundle and the log of its training: a dict a line of metrics.jsonl."""

    bundle: Bundle
    log: list[dict[str, Any]]


def codec(photos: Path, out: Path, minutes: float, say: Say, crops: int = 48) -> Trained:
    """Train `nano` on the pictures in ``photos`` and export it in float, int8 and int16, for ONNX Runtime,
    OpenVINO and decant's own kernels; ``crops`` of them decide its tables. Raises what training and export
    raise.
    """
    from decant_export import export
    from decant_train.codec import recipe
    from decant_train.codec.options import CodecOptions

    _set_threads()
    folder = out / "codec"
    options = CodecOptions(max_minutes=minutes, crop=128, batch_size=8, validate_every=10_000)
    recipe.train_codec(CODEC, folder, options, images=[photos], progress=sys.stderr.isatty())
    bundle = export(
        folder,
        out / "bundles" / NAME,
        data="the photographs of a demo",
        precisions=PRECISIONS,
        images=photos,
        pictures=crops,
        report=say,
    )
    return Trained(bundle, _log(folder))


def set_autoencoder(images: Path | None, out: Path, minutes: float, say: Say) -> Trained:
    """Train the set autoencoder `small` on pictures of ``images`` (None: the photos in the wheels) and export
    it in float and int8. Raises what training and export raise.
    """
    from decant_export import export
    from decant_train.common.loop import Options
    from decant_train.published.set import recipe

    _set_threads()
    folder = out / "set"
    recipe.train_set(
        SET,
        folder,
        Options(max_minutes=minutes, schedule="cosine", evaluate_every=20),
        images=images,
        ssim_weight=SSIM_WEIGHT,
        progress=sys.stderr.isatty(),
    )
    bundle = export(
        folder,
        out / "bundles" / SET,
        data="the pictures of a demo",
        precisions=("float", "int8"),
        runtimes=("onnxruntime",),
        report=say,
    )
    return Trained(bundle, _log(folder))


def _set_threads() -> None:
    """All cores; one where others keep the machine busy, for a thread that waits holds up the other."""
    import torch
    from decant.process.cores import usable_cores

    cores = usable_cores()
    torch.set_num_threads(1 if machine.busy(machine.load_average(), cores) else cores)


def _log(folder: Path) -> list[dict[str, Any]]:
    path = folder / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
