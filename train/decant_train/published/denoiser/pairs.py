"""Pairs (original, decoded) for the denoiser, and their split."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from decant_train.common import checkpoint as checkpoints
from decant_train.common.checkpoint import CheckpointError
from decant_train.published.set.model import SetAutoencoder

log = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]
TRAINING, VALIDATION = 0.8, 0.1  # published: 80/10/10


@dataclass(frozen=True)
class Pairs:
    """``originals`` and ``decoded``: uint8 (n, S, S, 3) each."""

    originals: Pixels
    decoded: Pixels

    def __post_init__(self) -> None:
        if self.originals.shape != self.decoded.shape:
            raise ValueError(
                f"originals {self.originals.shape} and decoded pictures {self.decoded.shape} do not match"
            )

    def __len__(self) -> int:
        return len(self.originals)


@torch.no_grad()
def decode_set(model: SetAutoencoder, batch: int = 16) -> Pixels:
    """The pictures of a trained set: uint8 (set_size, S, S, 3)."""
    parts = [
        (model.decode(z) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        for z in torch.split(model.latents, batch)
    ]
    return np.concatenate(parts)


def split_of(count: int, source: str) -> npt.NDArray[np.int64]:
    """0 (training), 1 (validation) or 2 (test) for each of ``count`` images of ``source``.

    It depends on the source's name and count alone, so one image has one side in the pairs of every
    checkpoint of that source.
    """
    order = np.random.default_rng([count, *source.encode()]).permutation(count)
    sides = np.full(count, 2)
    sides[order[: round((TRAINING + VALIDATION) * count)]] = 1
    sides[order[: round(TRAINING * count)]] = 0
    return sides


def make_pairs(folders: Sequence[Path], originals_of: "dict[Path, Pixels]") -> tuple[Pairs, Pairs, Pairs]:
    """Training, validation and test pairs of the set checkpoints ``folders``.

    ``originals_of`` has each checkpoint's images, uint8 (set_size, S, S, 3). Raises CheckpointError when a
    checkpoint is of another family or its images are not as many.
    """
    sides: list[list[tuple[Pixels, Pixels]]] = [[], [], []]
    for folder in folders:
        loaded = checkpoints.load(folder)
        if not isinstance(loaded.model, SetAutoencoder):
            raise CheckpointError(
                f"{folder} is a checkpoint of family {loaded.family}; the denoiser learns from family set"
            )
        originals = originals_of[folder]
        decoded = decode_set(loaded.model)
        if len(originals) != len(decoded):
            raise CheckpointError(
                f"{folder} was trained on {len(decoded)} images; {len(originals)} were found"
            )
        split = split_of(len(originals), str(loaded.data.get("source", folder)))
        for side, parts in enumerate(sides):
            parts.append((originals[split == side], decoded[split == side]))
    training, validation, test = (
        Pairs(np.concatenate([o for o, _ in parts]), np.concatenate([d for _, d in parts])) for parts in sides
    )
    log.info("%d training, %d validation and %d test pairs", len(training), len(validation), len(test))
    return training, validation, test
