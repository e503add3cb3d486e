"""What ``decant train set`` does, as one call: images in, a checkpoint folder out."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from decant.formats.paths import takes_paths

from decant_train.common import checkpoint as checkpoints
from decant_train.common import families, loop
from decant_train.common.checkpoint import Checkpoint, CheckpointError
from decant_train.data import folders as data
from decant_train.data.images import WHEELS, Pixels, images_of
from decant_train.published.set.model import SetAutoencoder
from decant_train.published.set.task import SetTask

log = logging.getLogger(__name__)


@takes_paths
def train_set(
    size: str,
    out: Path,
    options: loop.Options,
    *,
    images: Path | Pixels | None = None,
    fit: data.Fit = "crop",
    plain: bool = False,
    joint: bool = False,
    ssim_weight: float = 0.0,
    shape: Mapping[str, int] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Checkpoint:
    """Train the set autoencoder ``size`` with the fields of ``shape`` changed.

    ``images``: a folder, an array uint8 (n, S, S, 3), or None for the photos in the wheels. When there are
    fewer images than the named set size, the set is that many, and a warning says so.
    """
    family = families.get("set")
    if size not in family.sizes:
        raise ValueError(f"family set has no size {size!r}; it has {', '.join(family.sizes)}")
    config = dataclasses.replace(family.sizes[size], residual=not plain, **(shape or {}))
    pixels = (
        images
        if isinstance(images, np.ndarray)
        else images_of(images, config.image_size, config.set_size, fit)
    )
    pixels = pixels[: config.set_size]
    if len(pixels) < config.set_size:
        log.warning(
            "%s wants %d images and %d are there: the set is those %d",
            size,
            config.set_size,
            len(pixels),
            len(pixels),
        )
        config = dataclasses.replace(config, set_size=len(pixels))
    torch.manual_seed(options.seed)
    if resume:
        start = checkpoints.load_same(out, config)
    else:
        start = Checkpoint("set", config, family.network(config))
        source = WHEELS if images is None else str(images) if isinstance(images, Path) else "array"
        start.data = {"images": len(pixels), "source": source}
        start.data |= {"fit": fit, "joint": joint, "size": size}
    if not isinstance(start.model, SetAutoencoder):
        raise CheckpointError(f"{out} is not a set autoencoder")
    start.data["ssim_weight"] = ssim_weight
    task = SetTask(start.model, pixels, joint=joint, ssim_weight=ssim_weight)
    return loop.fit(task, start, out, options, resume=resume, progress=progress)
