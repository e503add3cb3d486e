"""Small checkpoints for the tests: set autoencoders and a denoiser, on crops of real photos."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from decant_export.common.onnx_graph import serialise, with_output
from decant_train.common import checkpoint as checkpoints
from decant_train.common import loop
from decant_train.common.checkpoint import Checkpoint
from decant_train.data import wheel_photos
from decant_train.published.denoiser.model import Denoiser, DenoiserConfig
from decant_train.published.set import recipe as set_recipe
from decant_train.published.set.model import SetAutoencoder, SetConfig

COUNT = 8
SIDE = 64


@cache
def photos(count: int = COUNT, side: int = SIDE) -> np.ndarray:
    """Real squares, uint8 (count, side, side, 3)."""
    return wheel_photos.crops(count, side)


def train_set(folder: Path, **shape: int) -> Path:
    """A residual set autoencoder of 64x64 pictures, trained for some steps on real photos."""
    options = loop.Options(epochs=20, batch_size=4, evaluate_every=20, precision="float32")
    chosen = {"image_size": SIDE, "set_size": COUNT, "latent_dim": 6, **shape}
    set_recipe.train_set("small", folder, options, images=None, shape=chosen, progress=False)
    return folder


def save_denoiser(folder: Path) -> Path:
    """A light denoiser whose correction is not zero, as it would be before its first step."""
    torch.manual_seed(3)
    config = DenoiserConfig(features=8, growth=4, layers=2, blocks=2)
    model = Denoiser(config)
    torch.nn.init.normal_(model.last.weight, 0, 0.02)
    checkpoints.save(folder, Checkpoint("denoiser", config, model))
    return folder


def untrained(**shape: Any) -> SetAutoencoder:
    """A set autoencoder with random weights and the latents that training would start from."""
    torch.manual_seed(7)
    config = SetConfig(**{"image_size": 32, "set_size": COUNT, "latent_dim": 5, **shape})
    model = SetAutoencoder(config)
    images = torch.from_numpy(photos(config.set_size, config.image_size)).permute(0, 3, 1, 2).float() / 255
    model.initialise_latents(images)
    return model.eval()


def latents_of(model: SetAutoencoder) -> np.ndarray:
    """Its set's latents, float32 (set_size, latent_dim)."""
    return model.latents.detach().numpy()


def run(model: Any, x: np.ndarray, tensor: str | None = None) -> np.ndarray:
    """``x`` through an ONNX graph in plain ONNX Runtime: its output, or the float ``tensor`` on the way."""
    chosen = model if tensor is None else with_output(model, tensor)
    session = ort.InferenceSession(serialise(chosen), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    return np.asarray(y)
