"""A small codec bundle for tests: a few channels, started from the principal components of real photos and
not trained, exported as any other.
"""

from pathlib import Path

import numpy as np
import torch
from decant_export import export
from decant_export.common.threads import one_thread
from decant_train.codec.config import CodecConfig
from decant_train.codec.initialise import scale_hyperlatents, start_from_principal_components
from decant_train.codec.model import Codec
from decant_train.common.checkpoint import Checkpoint
from decant_train.data import wheel_photos

CONFIG = CodecConfig(
    latents=128,
    channel_groups=(8, 24, 96),
    render_width=24,
    render_layers=2,
    render_hidden=16,
    hyper=8,
    scale_width=8,
    context_width=8,
    analysis_width=16,
    analysis_blocks=1,
    predicted_channels=40,
    beside=("nano",),
)


@one_thread()
def checkpoint(config: CodecConfig = CONFIG) -> Checkpoint:
    """A started codec; its branches are not zero, so that every layer shows in the pixels."""
    torch.manual_seed(0)
    model = Codec(config)
    crops = wheel_photos.crops(48, 256)
    blocks = crops.reshape(48, 16, 16, 16, 16, 3).transpose(0, 1, 3, 5, 2, 4).reshape(-1, 3, 16, 16)
    start_from_principal_components(model, torch.from_numpy(blocks[::4].astype(np.float32) / 255))
    pictures = torch.from_numpy(crops[:4].transpose(0, 3, 1, 2).astype(np.float32) / 255)
    scale_hyperlatents(model, pictures)
    for name, parameter in model.named_parameters():
        if not parameter.detach().any() and name.startswith(("analysis", "synthesis", "hyperprior")):
            std = 0.03 if "render" in name or "prediction" in name else 0.02 if "contexts" in name else 0.003
            torch.nn.init.normal_(parameter, std=std)
    return Checkpoint("codec", config, model.eval())


def write(
    folder: Path,
    *,
    name: str = "codec",
    part: str | None = None,
    encoder_of: Path | None = None,
    of: Checkpoint | None = None,
) -> Path:
    """Export it, or ``of``, to ``folder``/``name``, for ONNX Runtime and OpenVINO; returns that path."""
    export(
        of or checkpoint(),
        folder / name,
        licence="for tests",
        data="photos in the wheels of scikit-image and scikit-learn",
        pictures=16,
        part=part,
        encoder_of=encoder_of,
    )
    return folder / name
