"""A small colour autoencoder for tests: few kernels, a few epochs, on crops of real photos."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from decant_train.common import loop
from decant_train.common.checkpoint import Checkpoint
from decant_train.data import wheel_photos
from decant_train.published.color import recipe as recipes_color

SIDE = 32
SHAPE: dict[str, Any] = {"channels": 24, "widths": (8, 8, 12), "bits_per_pixel": 1.5, "depths": (10, 9, 8)}


@cache
def photos(count: int = 96) -> np.ndarray:
    """Real squares, uint8 (count, 32, 32, 3)."""
    return wheel_photos.crops(count, SIDE)


def train(folder: Path, epochs: int = 3, **changes: Any) -> Checkpoint:
    """Train into ``folder``; ``changes`` are those of recipes_color.train_color."""
    options = loop.Options(epochs=epochs, batch_size=16, learning_rate=2e-3, schedule="cosine")
    shape = SHAPE | changes.pop("shape", {})
    arguments: dict[str, Any] = {"data": photos(), "shape": shape, "progress": False} | changes
    return recipes_color.train_color("base", folder, options, **arguments)
