"""``decant train color`` as one call: pictures and options in, a checkpoint folder out."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from decant.formats.paths import takes_paths

from decant_train.common import checkpoint as checkpoints
from decant_train.common import families, loop
from decant_train.common.checkpoint import Checkpoint, CheckpointError
from decant_train.data import cifar, wheel_photos
from decant_train.data.images import WHEELS
from decant_train.published.color.model import ColorAutoencoder
from decant_train.published.color.task import ColorTask

EPOCHS = 50  # as published
DEFAULTS: dict[str, Any] = {"batch_size": 32, "learning_rate": 1e-3}
HELD_OUT = 0.1  # part of the training pictures that validates
WHEEL_CROPS = 320


@takes_paths
def train_color(
    size: str,
    out: Path,
    options: loop.Options,
    *,
    data: Path | npt.NDArray[np.uint8] | None = None,
    shape: Mapping[str, Any] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Checkpoint:
    """Train the colour autoencoder ``size`` with the fields of ``shape`` changed.

    ``data``: a folder of CIFAR-100 mosaics (decant_train.data.cifar), whose training split is taken; an array
    uint8 (n, S, S, 3); or None for crops of the photos in the wheels. A tenth of the pictures is held out for
    validation, evaluated after every epoch.
    """
    options = dataclasses.replace(options, evaluate_every=1, stop_when_converged=False)
    family = families.get("color")
    if size not in family.sizes:
        raise ValueError(f"family color has no size {size!r}; it has {', '.join(family.sizes)}")
    config = dataclasses.replace(family.sizes[size], **(shape or {}))
    torch.manual_seed(options.seed)
    if resume:
        start = checkpoints.load_same(out, config)
    else:
        start = Checkpoint("color", config, family.network(config))
    if not isinstance(start.model, ColorAutoencoder):
        raise CheckpointError(f"{out} is not a colour autoencoder")
    pixels = _pixels(data, config.image_size)
    training, validation = split(pixels)
    source = WHEELS if data is None else str(data) if isinstance(data, Path) else "array"
    start.data = {"images": len(training), "validation": len(validation), "source": source, "size": size}
    task = ColorTask(start.model, training, validation)
    return loop.fit(task, start, out, options, resume=resume, progress=progress)


def split(pixels: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Training and validation pictures: the same ones for the same pictures. Raises ValueError for fewer than
    two.
    """
    if len(pixels) < 2:
        raise ValueError(f"{len(pixels)} pictures; training and validation need at least one each")
    order = np.random.default_rng(0).permutation(len(pixels))
    held = max(1, round(HELD_OUT * len(pixels)))
    return pixels[order[held:]], pixels[order[:held]]


def _pixels(data: Path | npt.NDArray[np.uint8] | None, side: int) -> npt.NDArray[np.uint8]:
    if data is None:
        return wheel_photos.crops(WHEEL_CROPS, side)
    return cifar.load(data, cifar.TRAINING).pixels if isinstance(data, Path) else data
