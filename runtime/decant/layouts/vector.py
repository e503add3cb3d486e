"""The layout ``vector``: one short vector per picture of one size."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from decant.errors import BundleError, FormatError, ImageError
from decant.layouts.fixed import FixedLayout, is_int

_FLOATS: dict[str, np.dtype[Any]] = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}


MAX_DIM = 1 << 20


@dataclass(frozen=True, eq=False)
class VectorLayout(FixedLayout):
    """One vector of ``dim`` numbers per picture, stored as ``coding``: float32, float16 or uint.

    ``uint`` stores ``bits`` bits per number; value = minimum[i] + step[i] * q[i], both float32 (dim,).
    """

    dim: int
    coding: str = "float16"
    bits: int | None = None
    minimum: np.ndarray | None = field(default=None, repr=False)
    step: np.ndarray | None = field(default=None, repr=False)

    name = "vector"

    def __post_init__(self) -> None:
        if not is_int(self.dim) or not 1 <= self.dim <= MAX_DIM:
            raise BundleError(f"latent layout vector: dim {self.dim!r}; 1..{MAX_DIM} expected")
        if not isinstance(self.coding, str):
            raise BundleError("latent layout vector: coding must be text")
        if self.coding in _FLOATS:
            if self.bits is not None or self.minimum is not None or self.step is not None:
                raise BundleError(
                    f"latent layout vector: coding {self.coding} takes no bits, minimum or step"
                )
            return
        if self.coding != "uint":
            raise BundleError(
                f"latent layout vector: coding {self.coding!r}; float32, float16 or uint expected"
            )
        if self.bits is None or not is_int(self.bits) or not 1 <= self.bits <= 16:
            raise BundleError(f"latent layout vector: bits {self.bits!r}; 1..16 expected")
        for what, table in (("minimum", self.minimum), ("step", self.step)):
            if table is None or table.shape != (self.dim,) or table.dtype != np.float32:
                raise BundleError(f"latent layout vector: table latent.{what} is not float32 ({self.dim},)")
            if not np.isfinite(table).all() or (what == "step" and (table < 0).any()):
                raise BundleError(
                    f"latent layout vector: table latent.{what} holds a number that is not usable"
                )

    @classmethod
    def from_model(cls, model: Mapping[str, Any], tables: Mapping[str, np.ndarray]) -> "VectorLayout":
        """The layout that ``model.json`` describes. Raises BundleError."""
        latent = model["latent"]
        unknown = set(latent) - {"layout", "dim", "coding", "bits"}
        if unknown or not {"dim", "coding"} <= set(latent):
            raise BundleError(
                f"latent layout vector: keys {sorted(latent)}; layout, dim, coding and bits expected"
            )
        return cls(
            dim=latent["dim"],
            coding=latent["coding"],
            bits=latent.get("bits"),
            minimum=tables.get("latent.minimum"),
            step=tables.get("latent.step"),
        )

    def to_model(self) -> dict[str, Any]:
        """The value of ``latent`` in model.json."""
        described: dict[str, Any] = {"layout": self.name, "dim": self.dim, "coding": self.coding}
        return described if self.bits is None else {**described, "bits": self.bits}

    def tables(self) -> dict[str, np.ndarray]:
        """The tensors that the layout needs in tables.safetensors."""
        if self.minimum is None or self.step is None:
            return {}
        return {"latent.minimum": self.minimum, "latent.step": self.step}

    @property
    def payload_bytes(self) -> int:
        """Length of every payload."""
        bits = self.bits if self.bits is not None else 8 * _FLOATS[self.coding].itemsize
        return (self.dim * bits + 7) // 8

    def shape(self, image: tuple[int, int]) -> tuple[int, ...]:
        """(dim,), whatever the picture's size."""
        return (self.dim,)

    def unpack(self, payload: bytes, source: str = "<bytes>") -> np.ndarray:
        """Payload -> float32 (dim,), all finite. Raises FormatError."""
        if len(payload) != self.payload_bytes:
            raise FormatError(
                f"{source}: latents of {len(payload)} bytes; this model has {self.payload_bytes}"
            )
        if self.coding in _FLOATS:
            latents: np.ndarray = np.frombuffer(payload, _FLOATS[self.coding]).astype(np.float32)
        else:
            assert self.bits is not None
            bits = np.unpackbits(np.frombuffer(payload, np.uint8), bitorder="little")
            if bits[self.dim * self.bits :].any():
                raise FormatError(f"{source}: the bits after the last latent are not zero")
            steps = bits[: self.dim * self.bits].reshape(self.dim, self.bits) @ (1 << np.arange(self.bits))
            assert self.minimum is not None
            assert self.step is not None
            with np.errstate(over="ignore"):
                latents = self.minimum + self.step * steps.astype(np.float32)
        if not np.isfinite(latents).all():
            raise FormatError(
                f"{source}: latent {int(np.argmin(np.isfinite(latents)))} is not a finite number"
            )
        return latents

    def pack(self, latents: np.ndarray) -> bytes:
        """float32 (dim,) -> payload. Each number is stored as the nearest one that the coding holds. Raises
        ImageError for numbers that it cannot hold.
        """
        if latents.shape != (self.dim,):
            raise ImageError(f"latents of shape {latents.shape}; this model has ({self.dim},)")
        latents = latents.astype(np.float32)
        if self.coding in _FLOATS:
            with np.errstate(over="ignore"):
                stored: np.ndarray = latents.astype(_FLOATS[self.coding])
            if not np.isfinite(stored).all():
                raise ImageError(
                    f"a latent of this picture does not fit {self.coding}: it is unlike any trained on"
                )
            return stored.tobytes()
        if not np.isfinite(latents).all():
            raise ImageError("a latent of this picture is not a finite number")
        assert self.bits is not None
        assert self.minimum is not None
        assert self.step is not None
        # A constant latent has step 0: its only value is the minimum.
        with np.errstate(over="ignore"):
            steps = np.divide(
                latents - self.minimum, self.step, out=np.zeros_like(latents), where=self.step > 0
            )
        quantized = np.clip(np.rint(steps), 0, (1 << self.bits) - 1).astype(np.uint32)
        bits = (quantized[:, None] >> np.arange(self.bits, dtype=np.uint32)) & 1
        return np.packbits(bits.astype(np.uint8).reshape(-1), bitorder="little").tobytes()
