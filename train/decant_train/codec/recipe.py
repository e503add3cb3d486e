"""What ``decant train codec`` and ``decant train finish`` do, as one call each: photos in, a checkpoint
folder out.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from decant.formats.paths import takes_paths

from decant_train.codec import finetune as codec_finish
from decant_train.codec import train as codec_loop
from decant_train.codec.config import OWN_PRIOR
from decant_train.codec.encoder import probes
from decant_train.codec.initialise import begin_with, refined, turn_from
from decant_train.codec.model import Codec, alone, part
from decant_train.common import checkpoint as checkpoints
from decant_train.common import families
from decant_train.common.checkpoint import Checkpoint, CheckpointError
from decant_train.data import photos


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
    """Train the codec ``size`` on packed photos (decant_train.data.photos) or folders of them, with the
    fields of ``shape`` changed. ``begin``: a codec checkpoint whose weights it starts with, where shapes
    agree.
    """
    family = families.get("codec")
    if size not in family.sizes:
        raise ValueError(f"family codec has no size {size!r}; it has {', '.join(family.sizes)}")
    if options.keep_encoder and begin is None and not resume:
        raise ValueError("a new codec has no encoder to keep: begin with a checkpoint")
    config = dataclasses.replace(family.sizes[size], **(shape or {}))
    measure = config.measure  # that the weights were trained for
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
        measure = other.config.measure
    training, validation = _photos(images, out, options.crop)
    if measure != config.measure:
        assert isinstance(start.model, Codec)
        turn_from(start.model, measure, probes(training, options.crop))
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
