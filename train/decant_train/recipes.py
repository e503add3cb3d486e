"""What ``decant train`` does for each family, as one call: images and options in, a checkpoint folder out."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from decant.formats.paths import takes_paths

from decant_train import checkpoint as checkpoints
from decant_train import codec_finish, codec_loop, data, families, loop, photos, wheel_photos
from decant_train.checkpoint import Checkpoint, CheckpointError
from decant_train.codec_encoding import probes
from decant_train.codec_start import begin_with, refined, turn_from
from decant_train.families.codec import OWN_PRIOR, Codec, alone, part
from decant_train.families.denoiser import Denoiser
from decant_train.families.set import SetAutoencoder
from decant_train.pairs import make_pairs
from decant_train.tasks import DenoiserTask, SetTask

log = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]
WHEELS = "photos in the wheels of scikit-image and scikit-learn"


@takes_paths
def images_of(folder: Path | None, size: int, count: int | None, fit: data.Fit = "crop") -> Pixels:
    """Images of ``folder``, or squares of the photos in the wheels when it is None: uint8 (n, size, size, 3),
    n at most ``count``.
    """
    if folder is None:
        return wheel_photos.crops(count or 64, size)
    return data.load_folder(folder, size, fit, count)


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


@takes_paths
def train_denoiser(
    size: str,
    out: Path,
    options: loop.Options,
    *,
    sets: Sequence[Path],
    images: Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Checkpoint:
    """Train the denoiser ``size`` on the pictures that the set checkpoints ``sets`` decode.

    ``images``: folder of the originals; None for those that each checkpoint names. The metrics hold PSNR and
    SSIM of the validation pairs, and of the test pairs before and after ("test_*").
    """
    family = families.get("denoiser")
    if size not in family.sizes:
        raise ValueError(f"family denoiser has no size {size!r}; it has {', '.join(family.sizes)}")
    if not sets:
        raise ValueError("the denoiser learns from decoded pictures: name set checkpoints with --checkpoint")
    pairs = make_pairs(sets, {folder: originals(folder, images) for folder in sets})
    torch.manual_seed(options.seed)
    if resume:
        start = checkpoints.load(out)
    else:
        start = Checkpoint("denoiser", family.sizes[size], family.network(family.sizes[size]))
        start.data = {"checkpoints": [str(folder) for folder in sets], "pairs": [len(side) for side in pairs]}
    if not isinstance(start.model, Denoiser):
        raise CheckpointError(f"{out} is not a denoiser")
    task = DenoiserTask(start.model, *pairs)
    return loop.fit(task, start, out, options, resume=resume, progress=progress)


@takes_paths
def originals(folder: Path, images: Path | None = None) -> Pixels:
    """The images that the set checkpoint in ``folder`` learnt, read again: uint8 (set_size, S, S, 3)."""
    description = checkpoints.read_description(folder)
    config, source = description["config"], description["data"]
    chosen = images or (None if source["source"] == WHEELS else Path(source["source"]))
    return images_of(chosen, config["image_size"], config["set_size"], source.get("fit", "crop"))


@takes_paths
def train_codec(
    size: str,
    out: Path,
    options: codec_loop.CodecOptions,
    *,
    images: Sequence[Path],
    shape: Mapping[str, Any] | None = None,
    begin: Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Checkpoint:
    """Train the codec ``size`` on packed photos (decant_train.photos) or folders of them, with the fields of
    ``shape`` changed. ``begin``: a codec checkpoint whose weights it starts with, where shapes agree.
    """
    family = families.get("codec")
    if size not in family.sizes:
        raise ValueError(f"family codec has no size {size!r}; it has {', '.join(family.sizes)}")
    if options.keep_encoder and begin is None and not resume:
        raise ValueError("a new codec has no encoder to keep: begin with a checkpoint")
    config = dataclasses.replace(family.sizes[size], **(shape or {}))
    share = config.ms_ssim  # that the weights were trained for
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    if resume:
        start = checkpoints.load_same(out, config)
    else:
        start = Checkpoint(
            "codec", config, family.network(config), data={"source": [str(path) for path in images]}
        )
    if begin is not None and not resume:
        other = checkpoints.load(begin).model
        if not (isinstance(other, Codec) and isinstance(start.model, Codec)):
            raise CheckpointError(f"{begin} is no codec checkpoint")
        begin_with(start.model, other)
        share = other.config.ms_ssim
    training, validation = _photos(images, out, options.crop)
    if share != config.ms_ssim:
        assert isinstance(start.model, Codec)
        turn_from(start.model, share, probes(training, options.crop))
    start.data["pictures"] = [len(training), len(validation)]
    return codec_loop.fit(
        start, training, validation, out, options, resume=resume, begun=begin is not None, progress=progress
    )


@takes_paths
def finish_codec(
    folder: Path,
    out: Path,
    options: codec_finish.FinishOptions,
    *,
    images: Sequence[Path],
    parts: Sequence[str] = (),
    own_prior: str | None = None,
    progress: bool = True,
) -> Checkpoint:
    """Train what decoders have of the codec checkpoint in ``folder``, or ``parts`` of it, on what its encoder
    sends of packed photos or folders of them, and write ``out``. ``own_prior``: of the size of this name
    alone, trained beside (or "" for the checkpoint's own), with a finer prior that begins as the shared one.
    Raises CheckpointError, ValueError.
    """
    start = checkpoints.load(folder)
    if not isinstance(start.model, Codec):
        raise CheckpointError(f"{folder} is no codec checkpoint")
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    if own_prior is not None:
        single = part(start.model, own_prior) if own_prior else alone(start.model)
        start.model = refined(single, replace(single.config, **OWN_PRIOR))
        start.config = start.model.config
    training, validation = _photos(images, out, options.crop)
    return codec_finish.finish(start, training, validation, out, options, parts=parts, progress=progress)


def _photos(images: Sequence[Path], out: Path, crop: int) -> tuple[photos.Photos, photos.Photos]:
    """Those for training, at least ``crop`` pixels a side, and those for validation, of packed files or
    folders, which are packed into ``out``.
    """
    packed = [photos.packed(path, out / f"photos-{i}.safetensors") for i, path in enumerate(images)]
    training = photos.load(packed, crop, validation=False)
    return training, photos.load(packed, codec_loop.VALIDATION_CROP, validation=True)
