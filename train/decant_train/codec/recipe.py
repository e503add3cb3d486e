"""``decant train codec`` and ``finetune`` as one call each: photos in, a checkpoint folder out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from decant.formats.paths import takes_paths

from decant_train.codec import finetune as codec_finetune
from decant_train.codec.config import OWN_PRIOR
from decant_train.codec.model import Codec, alone, part
from decant_train.codec.options import CodecOptions
from decant_train.codec.sensitivity import probe_pictures
from decant_train.codec.train import CodecTrainer
from decant_train.codec.validation import VALIDATION_CROP
from decant_train.codec.warm_start import move_rate_points, refined, retarget, warm_start_from
from decant_train.common import checkpoint as checkpoints
from decant_train.common import families
from decant_train.common.checkpoint import Checkpoint, CheckpointError
from decant_train.data import photos


@takes_paths
def train_codec(
    size: str,
    out: Path,
    options: CodecOptions,
    *,
    images: Sequence[Path],
    shape: Mapping[str, Any] | None = None,
    warm_start: Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Checkpoint:
    """Train the codec ``size`` and write the checkpoint folder ``out``.

    ``images``: packed photos (decant_train.data.photos) or folders. ``shape``: fields of ``CodecConfig`` to
    change. ``warm_start``: a codec checkpoint whose weights are taken where shapes agree. ``resume``: go on
    with the checkpoint in ``out``. Raises CheckpointError, ValueError.
    """
    family = families.get("codec")
    if size not in family.sizes:
        raise ValueError(f"family codec has no size {size!r}; it has {', '.join(family.sizes)}")
    if options.keep_encoder and warm_start is None and not resume:
        raise ValueError("a new codec has no encoder to keep: start from a checkpoint (--warm-start)")
    config = replace(family.sizes[size], **(shape or {}))
    trained_for = config.measure
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    if resume:
        start = checkpoints.load_same(out, config)
    else:
        start = Checkpoint(
            "codec", config, family.network(config), data={"source": [str(path) for path in images]}
        )
    if warm_start is not None and not resume:
        other = checkpoints.load(warm_start).model
        if not (isinstance(other, Codec) and isinstance(start.model, Codec)):
            raise CheckpointError(f"{warm_start} is no codec checkpoint")
        warm_start_from(start.model, other)
        if other.config.highest_lambda != config.highest_lambda:
            move_rate_points(start.model, other.config.highest_lambda)
        trained_for = other.config.measure
    training, validation = _photos(images, out, options.crop)
    if trained_for != config.measure:
        assert isinstance(start.model, Codec)
        retarget(start.model, trained_for, probe_pictures(training, options.crop))
    start.data["pictures"] = [len(training), len(validation)]
    CodecTrainer(
        start,
        training,
        validation,
        out,
        options,
        resume=resume,
        warm_started=warm_start is not None,
        progress=progress,
    ).run()
    return start


@takes_paths
def finetune_codec(
    folder: Path,
    out: Path,
    options: codec_finetune.FinetuneOptions,
    *,
    images: Sequence[Path],
    parts: Sequence[str] = (),
    own_prior: str | None = None,
    progress: bool = True,
) -> Checkpoint:
    """Fine-tune the decoder of the codec checkpoint in ``folder``, or ``parts`` of it, and write ``out``.

    ``images``: packed photos or folders. ``own_prior``: a size of ``config.beside``, or "" for the
    checkpoint's own. The result then has this size alone, with a finer entropy model that starts with the
    function of the shared one. Raises CheckpointError, ValueError.
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
    return codec_finetune.finetune(start, training, validation, out, options, parts=parts, progress=progress)


def _photos(images: Sequence[Path], out: Path, crop: int) -> tuple[photos.Photos, photos.Photos]:
    """Photos for training, at least ``crop`` pixels a side, and for validation. Folders are packed into
    ``out``.
    """
    packed = [photos.packed(path, out / f"photos-{i}.safetensors") for i, path in enumerate(images)]
    training = photos.load(packed, crop, validation=False)
    return training, photos.load(packed, VALIDATION_CROP, validation=True)
