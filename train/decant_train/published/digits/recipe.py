"""What ``decant train digits`` and ``decant train digits-denoiser`` do, as one call each."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from decant.formats.paths import takes_paths

from decant_train.common import checkpoint as checkpoints
from decant_train.common import families, loop
from decant_train.common.checkpoint import Checkpoint, CheckpointError
from decant_train.data import mnist
from decant_train.published.digits.denoiser import DigitDenoiser
from decant_train.published.digits.model import DigitAutoencoder
from decant_train.published.digits.task import EVALUATION_BATCH, Bytes, DigitPairs, DigitsTask

HELD_OUT = 5000  # of the training digits, for validation; a twelfth where there are fewer
EVALUATE_EVERY = 5  # epochs
# What `decant train` takes for options that are not given.
DEFAULTS: dict[str, Any] = {"batch_size": 256, "learning_rate": 3e-3, "schedule": None}
DENOISER_DEFAULTS = DEFAULTS | {"learning_rate": 2e-3}
BITS = 8  # per latent, of the pictures that the denoiser learns from


def split(images: Bytes) -> tuple[Bytes, Bytes]:
    """Training digits -> those trained on, and the last ones, held out for validation."""
    count = min(HELD_OUT, len(images) // 12)
    if not count:
        raise ValueError(f"{len(images)} training digits; 12 at least expected")
    return images[:-count], images[-count:]


@takes_paths
def train_digits(
    size: str,
    out: Path,
    options: loop.Options,
    *,
    images: Path,
    shape: Mapping[str, int] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Checkpoint:
    """Train the digit autoencoder ``size``, with the fields of ``shape`` changed, on the idx files in
    ``images``.
    """
    family = families.get("digits")
    config = dataclasses.replace(_size_of(family, size), **(shape or {}))
    training, validation = (DigitPairs(part, part) for part in split(mnist.load(images).images))
    torch.manual_seed(options.seed)
    start = _start("digits", config, out, resume)
    start.data = {"images": len(training.given), "source": f"digits of {images.resolve().name}"}
    assert isinstance(start.model, DigitAutoencoder)
    task = DigitsTask(start.model, training, validation)
    return loop.fit(task, start, out, _often(options), resume=resume, progress=progress)


@takes_paths
def train_digits_denoiser(
    size: str,
    out: Path,
    options: loop.Options,
    *,
    decoder: Path,
    images: Path,
    shape: Mapping[str, int] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Checkpoint:
    """Train the denoiser ``size`` on the digits of the idx files in ``images`` as the checkpoint ``decoder``
    gives them back, their latents stored in BITS bits.
    """
    family = families.get("digits_denoiser")
    config = dataclasses.replace(_size_of(family, size), **(shape or {}))
    loaded = checkpoints.load(decoder).model
    if not isinstance(loaded, DigitAutoencoder):
        raise CheckpointError(f"{decoder} is no digit autoencoder; name one with --checkpoint")
    training, validation = (
        DigitPairs(decoded(loaded, part), part) for part in split(mnist.load(images).images)
    )
    torch.manual_seed(options.seed)
    start = _start("digits_denoiser", config, out, resume)
    start.data = {"images": len(training.given), "source": f"digits of {images.resolve().name}, decoded"}
    assert isinstance(start.model, DigitDenoiser)
    task = DigitsTask(start.model, training, validation)
    return loop.fit(task, start, out, _often(options), resume=resume, progress=progress)


@torch.no_grad()
def decoded(model: DigitAutoencoder, images: Bytes, bits: int = BITS) -> Bytes:
    """``images`` (n, 28, 28) as they come back when each latent is stored in ``bits`` bits, uint8."""
    levels = 2**bits - 1
    parts = []
    for batch in torch.split(torch.from_numpy(np.array(images))[:, None], EVALUATION_BATCH):
        latents = (model.encode(batch.float() / 255) * levels).round() / levels
        parts.append((model.decode(latents) * 255).round().byte()[:, 0].numpy())
    return np.concatenate(parts)


def _size_of(family: families.Family, size: str) -> Any:
    if size not in family.sizes:
        raise ValueError(f"family {family.name} has no size {size!r}; it has {', '.join(family.sizes)}")
    return family.sizes[size]


def _start(family: str, config: Any, out: Path, resume: bool) -> Checkpoint:
    if not resume:
        return Checkpoint(family, config, families.get(family).network(config))
    return checkpoints.load_same(out, config)


def _often(options: loop.Options) -> loop.Options:
    """Few epochs are enough here: the loop's usual pause between two evaluations would skip them all."""
    return dataclasses.replace(options, evaluate_every=min(options.evaluate_every, EVALUATE_EVERY))
