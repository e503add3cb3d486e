"""What ``decant train`` does for each family, as one call: images and options in, a checkpoint folder out."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from decant_train import checkpoint as checkpoints
from decant_train import data, families, loop, wheel_photos
from decant_train.checkpoint import Checkpoint, CheckpointError
from decant_train.tasks import SetTask

log = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]


def images_of(folder: Path | None, size: int, count: int | None, fit: data.Fit = "crop") -> Pixels:
    """Images of ``folder``, or squares of the photos in the wheels when it is None: uint8 (n, size, size, 3), n at most ``count``."""
    if folder is None:
        return wheel_photos.crops(count or 64, size)
    return data.load_folder(folder, size, fit, count)


def train_set(
    size: str, out: Path, options: loop.Options, *, images: Path | Pixels | None = None, fit: data.Fit = "crop", plain: bool = False,
    joint: bool = False, shape: Mapping[str, int] | None = None, resume: bool = False, progress: bool = True,
) -> Checkpoint:  # fmt: skip
    """Train the set autoencoder ``size`` with the fields of ``shape`` changed.

    ``images``: a folder, an array uint8 (n, S, S, 3), or None for the photos in the wheels. When there are fewer images than the named set
    size, the set is that many, and a warning says so.
    """
    family = families.get("set")
    if size not in family.sizes:
        raise ValueError(f"family set has no size {size!r}; it has {', '.join(family.sizes)}")
    config = dataclasses.replace(family.sizes[size], residual=not plain, **(shape or {}))
    pixels = images if isinstance(images, np.ndarray) else images_of(images, config.image_size, config.set_size, fit)
    pixels = pixels[: config.set_size]
    if len(pixels) < config.set_size:
        log.warning("%s wants %d images and %d are there: the set is those %d", size, config.set_size, len(pixels), len(pixels))
        config = dataclasses.replace(config, set_size=len(pixels))
    torch.manual_seed(options.seed)
    if resume:
        start = checkpoints.load(out)
        if start.config != config:
            raise CheckpointError(f"{out} was trained as {start.config}; asked for {config}")
    else:
        start = Checkpoint("set", config, family.network(config))
        start.data = {"images": len(pixels), "source": str(images) if isinstance(images, Path) else "photos in the wheels of scikit-image and scikit-learn"}
        start.data |= {"fit": fit, "joint": joint, "size": size}
    return loop.fit(SetTask(start.model, pixels, joint=joint), start, out, options, resume=resume, progress=progress)


def train_denoiser(
    size: str, out: Path, options: loop.Options, *, checkpoints: Sequence[Path], images: Path | None = None, fit: data.Fit = "crop",
    resume: bool = False, progress: bool = True,
) -> Checkpoint:  # fmt: skip
    """Train the denoiser ``size``."""
    raise NotImplementedError
