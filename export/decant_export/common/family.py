"""How each model family becomes graphs: the one place where export knows families by name.

Everything after it (quantization, gates, golden files, the bundle) knows roles only.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
from decant.layouts.layout import Layout
from decant_train.common import checkpoint as checkpoints
from decant_train.common.checkpoint import Checkpoint, CheckpointError

from decant_export.errors import ExportError


class StoredLayout(Layout, Protocol):
    """A latent layout of one vector a picture, that can be written into a bundle."""

    def unpack(self, payload: bytes, source: str = "<bytes>") -> np.ndarray:
        """Payload -> latents as the synthesis graph takes them, without the batch axis."""

    def pack(self, latents: np.ndarray) -> bytes:
        """Latents of one picture -> payload."""

    def to_model(self) -> dict[str, Any]:
        """The value of ``latent`` in model.json."""

    def tables(self) -> dict[str, np.ndarray]:
        """The tensors that it needs in tables.safetensors."""


class StaticGraph(Protocol):
    """A graph in static int8 whose stored ranges are still to be chosen."""

    @property
    def knobs(self) -> tuple[str, ...]:
        """Names of the stored tensors."""

    def build(self, kept: Mapping[str, float]) -> onnx.ModelProto:
        """The graph that stores, of each named tensor, the part 0..1 of its range (1 where not named)."""


class Decodes(Protocol):
    """A family whose checkpoints decode images: its float graphs, and what PyTorch says they must give."""

    image: tuple[int, int]  # width, height in pixels

    def synthesis(self) -> onnx.ModelProto:
        """Latents float32 (n, ...) -> pixels uint8 (n, H, W, 3), with a float tensor ``pictures.PICTURE`` on
        the way.
        """

    def analysis(self) -> onnx.ModelProto:
        """Pixels uint8 (n, H, W, 3) -> latents float32 (n, ...)."""

    def static(self, latents: np.ndarray) -> StaticGraph | None:
        """The synthesis in static int8, calibrated on ``latents``; None where the family has no such form."""

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Latents -> pictures float32 (n, 3, H, W) in [0, 1], by PyTorch."""

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels uint8 (n, H, W, 3) -> latents float32 (n, ...), by PyTorch."""

    def known_latents(self) -> np.ndarray | None:
        """Latents of the training set kept in the checkpoint, float32 (k, ...); None when it has none."""

    def layout(self, coding: str, latents: np.ndarray) -> StoredLayout:
        """How files store latents: ``coding`` float16, float32 or uintK, measured over ``latents`` where it
        needs ranges.
        """

    def tensors(self) -> Mapping[str, np.ndarray]:
        """The parameters that decide decoding, by name."""


class Mends(Protocol):
    """A family whose checkpoints turn decoded pictures into better ones."""

    def denoiser(self, image: tuple[int, int]) -> onnx.ModelProto:
        """Pixels uint8 (n, H, W, 3) -> the same, with a float tensor ``pictures.PICTURE`` on the way."""

    def mend(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels uint8 (n, H, W, 3) -> pictures float32 (n, 3, H, W) in [0, 1], by PyTorch."""

    def tensors(self) -> Mapping[str, np.ndarray]:
        """The parameters, by name."""


_DECODING = {
    "set": "decant_export.families.set.family",
    "color": "decant_export.families.color.graphs",
    "perceptual": "decant_export.families.perceptual.family",
    "digits": "decant_export.families.digits.family",
}
_MENDING = {
    "denoiser": "decant_export.families.denoiser.float_graphs",
    "digits_denoiser": "decant_export.families.digits_denoiser.float_graphs",
}


def load(folder: Path | str) -> Checkpoint:
    """The checkpoint in ``folder``. Raises ExportError."""
    try:
        return checkpoints.load(folder)
    except CheckpointError as error:
        raise ExportError(str(error)) from None


def decoding(checkpoint: Checkpoint) -> Decodes:
    """The graphs of a decoder's checkpoint. Raises ExportError for another family."""
    graphs: Decodes = _make(checkpoint, _DECODING, "a decoder")
    return graphs


def mending(checkpoint: Checkpoint) -> Mends:
    """The graphs of a denoiser's checkpoint. Raises ExportError for another family."""
    graphs: Mends = _make(checkpoint, _MENDING, "a denoiser")
    return graphs


def _make(checkpoint: Checkpoint, known: Mapping[str, str], what: str) -> Any:
    if checkpoint.family not in known:
        raise ExportError(f"family {checkpoint.family} is not {what}; {', '.join(known)} expected")
    return import_module(known[checkpoint.family]).graphs(checkpoint)
