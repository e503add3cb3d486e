"""What ``decant train perceptual`` does, as one call: photos and options in, a checkpoint folder out."""

import dataclasses
import logging
import pickle
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from decant.errors import DecantError
from decant.formats.opening import open_picture
from decant.formats.paths import takes_paths
from PIL import Image, ImageOps
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from decant_train.common import checkpoint as checkpoints
from decant_train.common import families, loop
from decant_train.common.checkpoint import Checkpoint, CheckpointError
from decant_train.data import folders as data
from decant_train.data import wheel_photos
from decant_train.data.images import WHEELS
from decant_train.data.photos import group_of, held
from decant_train.published.perceptual import features
from decant_train.published.perceptual.model import PerceptualAutoencoder
from decant_train.published.perceptual.task import PerceptualTask

Item = TypeVar("Item")

log = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]
EVALUATE_EVERY = 5  # epochs, as published
LEARNING_RATE = 2e-3
BATCH_SIZE = 8
VALIDATION = 48  # pictures at most
RANDOM = "random"


@dataclasses.dataclass(frozen=True)
class Squares:
    """``training`` and ``validation``: uint8 (n, S, S, 3), no photograph in both."""

    training: Pixels
    validation: Pixels


@takes_paths
def train_perceptual(
    size: str,
    out: Path,
    options: loop.Options,
    *,
    images: Path | Squares | None,
    source: str | None = None,
    features_file: Path | None = None,
    mu: float = 0.1,
    bits: int = 8,
    pictures: int = 0,
    encoder_weights: Path | None = None,
    shape: Mapping[str, Any] | None = None,
    begin: Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Checkpoint:
    """Train the autoencoder ``size`` with ``bits`` a latent on the photos in the folder ``images``, or in the
    wheels where it is None, with the fields of ``shape`` changed. ``source`` says what ready squares are.

    ``features_file``: npz file of VGG-19 weights (decant_train.published.perceptual.features), needed for
    ``mu`` above 0. ``pictures``: train on so many photos, evenly spread over the folder (0: all).
    ``encoder_weights``: a state dict of torchvision's ResNet for the trunk (safetensors, or what torch.save
    wrote); random without, and checkpoint.json's data says which. ``begin``: a checkpoint of the family, of
    the same shape but for its bits, to go on from with a new optimizer. The metrics are those of the
    validation pictures, coded.
    """
    family = families.get("perceptual")
    if size not in family.sizes:
        raise ValueError(f"family perceptual has no size {size!r}; it has {', '.join(family.sizes)}")
    config = dataclasses.replace(family.sizes[size], bits=bits, **(shape or {}))
    network = None if features_file is None else features.load(features_file)
    split = images if isinstance(images, Squares) else squares(images, config.image_size, pictures)
    torch.manual_seed(options.seed)
    if resume:
        start = checkpoints.load_same(out, config)
    else:
        start = Checkpoint("perceptual", config, family.network(config))
        where = WHEELS if images is None else str(images) if isinstance(images, Path) else "array"
        start.data = {"source": source or where, "size": size, "fit": "crop"}
    if not isinstance(start.model, PerceptualAutoencoder):
        raise CheckpointError(f"{out} is not a perceptual autoencoder")
    if not resume:
        first = None if begin is None else _begin_with(start.model, begin)
        start.data["encoder_weights"] = first or _weigh(start.model, encoder_weights)
    start.data |= {
        "images": len(split.training),
        "validation_images": len(split.validation),
        "mu": mu,
    }
    start.data["features"] = None if features_file is None else features_file.name
    task = PerceptualTask(start.model, split.training, split.validation, network, mu)
    return loop.fit(task, start, out, options, resume=resume, progress=progress)


def with_defaults(options: loop.Options, given: Mapping[str, object]) -> loop.Options:
    """``options`` with this family's own rate, batch and evaluation where ``given`` leaves them open."""
    own: dict[str, Any] = {
        "learning_rate": LEARNING_RATE,
        "batch_size": BATCH_SIZE,
        "evaluate_every": EVALUATE_EVERY,
    }
    return dataclasses.replace(options, **{k: v for k, v in own.items() if given.get(k) is None})


@takes_paths
def squares(folder: Path | None, size: int, pictures: int = 0) -> Squares:
    """The middle ``size`` x ``size`` pixels of the photos below ``folder`` (a smaller photo is enlarged
    first): of the training ones ``pictures`` (0: all), of the others at most VALIDATION, both evenly spread.

    A photo's name says on which side it is (decant_train.data.photos.held); two photos leave one on each
    side. Of the photos in the wheels, which None stands for, all tiles are taken. Raises NoImagesError.
    """
    if folder is None:
        return _tiles(size, pictures)
    files = data.image_files(folder)
    groups = held(path.name for path in files)
    validation_files = [path for path in files if group_of(path.name) in groups]
    training = [path for path in files if group_of(path.name) not in groups]
    if not training or not validation_files:
        raise data.NoImagesError(f"{folder} holds one photo only: training and validation need one each")
    return Squares(
        _squares(_evenly(training, pictures), size, folder),
        _squares(_evenly(validation_files, VALIDATION), size, folder),
    )


@takes_paths
def torchvision_state(path: Path) -> dict[str, Tensor]:
    """A state dict from a .safetensors file, or from one that torch.save wrote (read as weights only).

    Raises ValueError for anything else, OSError.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as weights: {str(error).splitlines()[0]}") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no state dict; tensors by name expected")
    return dict(state)


def _begin_with(model: PerceptualAutoencoder, folder: Path) -> str:
    """Give the model the weights of another checkpoint; where that one's trunk came from."""
    other = checkpoints.load(folder)
    if not isinstance(other.model, PerceptualAutoencoder) or other.config != dataclasses.replace(
        model.config, bits=other.config.bits
    ):
        raise CheckpointError(
            f"{folder} was trained as {other.config}; {model.config} expected, but for bits"
        )
    model.encoder.load_state_dict(other.model.encoder.state_dict())
    model.decoder.load_state_dict(other.model.decoder.state_dict())
    return str(other.data["encoder_weights"])


def _weigh(model: PerceptualAutoencoder, weights: Path | None) -> str:
    """Give the trunk its weights; where they came from."""
    if weights is None:
        log.warning(
            "the trunk starts from random weights, not from ImageNet's; --encoder-weights gives others"
        )
        return RANDOM
    model.load_trunk(torchvision_state(weights), str(weights))
    return weights.name


def _evenly(items: Sequence[Item], count: int) -> list[Item]:
    count = min(count or len(items), len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _tiles(size: int, pictures: int) -> Squares:
    """Tiles of the photos in the wheels, side by side; those of one photo are for validation."""
    *others, held = sorted(wheel_photos.PHOTOS, key=lambda origin: zlib.crc32(origin[1].encode()))

    def cut(origin: tuple[str, str]) -> list[Pixels]:
        pixels = np.asarray(wheel_photos.photo(*origin))
        rows, columns = (range(0, side - size + 1, size) for side in pixels.shape[:2])
        return [pixels[top : top + size, left : left + size] for top in rows for left in columns]

    training = [tile for origin in others for tile in cut(origin)]
    return Squares(np.stack(_evenly(training, pictures)), np.stack(_evenly(cut(held), VALIDATION)))


def _middle(image: Image.Image, size: int) -> Pixels:
    image = ImageOps.exif_transpose(image)
    if min(image.size) < size:
        return data.fit_square(image, size)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)).convert("RGB"))


def _squares(files: Sequence[Path], size: int, folder: Path) -> Pixels:
    taken: list[Pixels] = []
    for path in files:
        try:
            with open_picture(path) as image:
                taken.append(_middle(image, size))
        except (DecantError, OSError) as error:
            log.warning("skipped %s: %s", path, error)
    if not taken:
        raise data.NoImagesError(f"none of the {len(files)} photos chosen from {folder} could be read")
    return np.stack(taken)
