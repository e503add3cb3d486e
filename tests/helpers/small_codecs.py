"""Small codecs, and a folder of photos, for the tests of training."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from decant_train.codec.config import CodecConfig
from decant_train.codec.initialise import scale_hyperlatents, start_from_principal_components
from decant_train.codec.model import Codec
from decant_train.data import photos

TINY = CodecConfig(
    latents=64,
    channel_groups=(8, 24, 32),
    render_width=16,
    render_hidden=16,
    analysis_width=16,
    analysis_blocks=1,
    hyper=8,
    predicted_channels=16,
)


TWO = replace(TINY, beside=("nano",))


def started_codec(seen: photos.Photos, config: CodecConfig, crop: int = 128) -> Codec:
    """A codec of ``config`` set to the principal components of ``seen``, on crops of ``crop`` pixels."""
    torch.manual_seed(0)
    model = Codec(config)
    start_from_principal_components(model, seen.crops(2000, 16, torch.Generator().manual_seed(0)))
    scale_hyperlatents(model, seen.crops(4, crop, torch.Generator().manual_seed(0)))
    return model


def with_validation(photo_folder: Path, into: Path) -> Path:
    """A folder ``into`` of the photos in ``folder``, and one of them again under a name that is kept for
    validation.
    """
    names = (f"photo_{i:04}.png" for i in range(2000) if photos.is_validation(f"photo_{i:04}.png"))
    into.mkdir()
    for path in photo_folder.iterdir():
        shutil.copy(path, into)
    shutil.copy(photo_folder / "coffee_01a.png", into / next(names))
    return into


def small_codec(**changes: Any) -> Codec:
    torch.manual_seed(1)
    shape = CodecConfig(
        latents=16,
        channel_groups=(4, 12),
        hyper=4,
        scale_width=4,
        context_width=4,
        analysis_width=8,
        analysis_blocks=1,
        render_width=8,
        render_layers=1,
        render_hidden=8,
    )
    return Codec(replace(shape, **changes))


def linear_codec() -> Codec:
    """A codec without rectifiers in its decoder, with weights that are not orthogonal."""
    return small_codec(render_layers=0).eval()
