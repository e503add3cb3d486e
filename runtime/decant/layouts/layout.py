"""Latent layouts: what turns a picture's latents into the payload of a file, and back.

Every layout has a name, its value in ``model.json`` and its tensors. ``FixedLayout`` is what the layouts of
models for pictures of one size share; the codec's layout, for pictures of any size, is
``decant.codec.layout``.
"""

from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np

from decant.errors import FormatError
from decant.formats.container import DcnFile


class Layout(Protocol):
    """What every layout has; what more one has, whoever decodes or encodes with it knows."""

    @property
    def name(self) -> str:
        """Its name in model.json."""

    def to_model(self) -> dict[str, Any]:
        """The value of ``latent`` in model.json."""

    def tables(self) -> dict[str, np.ndarray]:
        """The tensors that it needs in tables.safetensors."""


class FixedLayout(ABC):
    """What the layouts of models for pictures of one size share: latents of one shape, without qualities."""

    name: str

    @abstractmethod
    def to_model(self) -> dict[str, Any]:
        """The value of ``latent`` in model.json."""

    @abstractmethod
    def tables(self) -> dict[str, np.ndarray]:
        """The tensors that it needs in tables.safetensors."""

    @abstractmethod
    def shape(self, image: tuple[int, int]) -> tuple[int, ...]:
        """Shape of a picture's latents; ``image`` is the model's (width, height)."""

    @abstractmethod
    def pack(self, latents: np.ndarray) -> bytes:
        """Latents float32 of one picture -> payload. Raises ImageError."""

    def pack_picture(self, latents: np.ndarray, pixels: np.ndarray) -> bytes:
        """``pack``, where what is stored depends on the picture uint8 (H, W, 3) too. Raises ImageError."""
        return self.pack(latents)

    @abstractmethod
    def unpack(self, payload: bytes, source: str = "<bytes>") -> np.ndarray:
        """Payload -> float32 latents. Raises FormatError."""

    def check(self, file: DcnFile, image: tuple[int, int], source: str) -> None:
        """Raise FormatError unless the picture has the model's size, no alpha, no grey and no quality."""
        if (file.width, file.height) != image:
            raise FormatError(
                f"{source}: {file.width}x{file.height} pixels; "
                f"model {file.name} makes {image[0]}x{image[1]} only"
            )
        if file.grey or file.alpha is not None:
            raise FormatError(f"{source}: flagged grey or with alpha; model {file.name} makes plain RGB only")
        if file.quality:
            raise FormatError(
                f"{source}: quality {file.quality}; model {file.name} has no qualities, 0 expected"
            )


def is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
