"""The scale network: integers of the hyperlatents -> the scale class of every latent, in integers throughout.

The multiplications run as float matrix products (BLAS), in float32 where no partial sum can reach 2^24 and in
float64 elsewhere, so that every sum is exact in any order: all machines compute the same classes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from decant.entropy import CLASSES
from decant.errors import BundleError

# Hyperlatents times their multiplier, in units of 1/16, are clipped to this.
LARGEST_INPUT = 1 << 22
_EXACT_FLOAT32 = 1 << 24
_EXACT_FLOAT64 = 1 << 53
_HIDDEN_SHIFT = 6
_FORM_SHIFT = 10
_HIDDEN_MAX = 255
# The largest int16 offset in the unit of the forms.
_LARGEST_OFFSET = 4 << 15


class ScaleNetwork:
    """3x3 convolution, shift, depth to space, 1x1 convolution, depth to space (docs/format.md)."""

    def __init__(self, hidden_weight: np.ndarray, hidden_bias: np.ndarray, out_weight: np.ndarray) -> None:
        self.hidden_weight = hidden_weight
        self.hidden_bias = hidden_bias
        self.out_weight = out_weight
        hidden, self.hyper = hidden_weight.shape[:2]
        self.channels = len(out_weight) // 4
        # (hyper, 9, hidden): a product takes whole hyperlatents' blocks of it.
        self._taps = np.ascontiguousarray(hidden_weight.reshape(hidden, self.hyper, 9).transpose(1, 2, 0))
        self._tap_sums = np.abs(self._taps.astype(np.int64)).sum(axis=1)
        self._bias = hidden_bias.astype(np.int64) + (1 << _HIDDEN_SHIFT >> 1)
        # (4, M, class_width): one matrix for each of the 2 x 2 places that a form's position becomes.
        rows = out_weight.reshape(self.channels, 4, -1).transpose(1, 0, 2)
        self._rows = np.ascontiguousarray(rows.astype(np.float32)) / np.float32(1 << _FORM_SHIFT)
        if _HIDDEN_MAX * int(np.abs(out_weight.astype(np.int64)).sum(axis=1).max()) + _LARGEST_OFFSET >= (
            _EXACT_FLOAT32
        ):
            raise BundleError(
                "tables: the sums of scale.out_weight can exceed 2^24; class_width is too large"
            )
        if int((self._tap_sums.sum(axis=0) * LARGEST_INPUT + np.abs(self._bias)).max()) >= _EXACT_FLOAT64:
            raise BundleError("tables: the sums of scale.hidden_weight can exceed 2^53")

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, np.ndarray], channels: int, hyper: int, class_width: int
    ) -> "ScaleNetwork":
        """The tables named ``scale.*``, for M ``channels`` and ``hyper`` hyperlatents. Raises BundleError."""
        return cls(
            _tensor(tensors, "scale.hidden_weight", np.int8, (4 * class_width, hyper, 3, 3)),
            _tensor(tensors, "scale.hidden_bias", np.int32, (4 * class_width,)),
            _tensor(tensors, "scale.out_weight", np.int8, (4 * channels, class_width)),
        )

    def to_tensors(self) -> dict[str, np.ndarray]:
        """The tensors that ``from_tensors`` reads."""
        return {
            "scale.hidden_weight": self.hidden_weight,
            "scale.hidden_bias": self.hidden_bias,
            "scale.out_weight": self.out_weight,
        }

    def classes(
        self, v: np.ndarray, class_offset: np.ndarray, rows: tuple[int, int], columns: tuple[int, int]
    ) -> np.ndarray:
        """uint8 (M, rows, columns): the classes of the latents from ``rows[0]`` to before ``rows[1]``, and of
        ``columns`` alike.

        ``v`` int32 (hyper, hz, wz), the whole picture's, within +-2^22; ``class_offset`` (M,) in units of
        1/1024 class.
        """
        live, found = self.live_classes(v, class_offset, rows, columns)
        classes = np.zeros((self.channels, *found.shape[1:]), np.uint8)
        classes[live] = found
        return classes

    def live_classes(
        self, v: np.ndarray, class_offset: np.ndarray, rows: tuple[int, int], columns: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The channels of ``classes`` that may hold a class above 0, ascending, and uint8 (those, rows,
        columns): all others are 0 throughout.
        """
        top, left = rows[0] // 4, columns[0] // 4
        bottom, right = -(-rows[1] // 4), -(-columns[1] // 4)
        hidden = self._hidden(v, top, bottom, left, right)
        offset = class_offset.astype(np.float32) / np.float32(1 << _FORM_SHIFT)
        reach = self._reach(hidden) + offset
        live = np.flatnonzero(reach >= 1)
        forms = self._rows[:, live] @ hidden.reshape(len(hidden), -1)
        forms += offset[live][:, None]
        np.clip(forms, 0, CLASSES - 1, out=forms)
        parts = forms.astype(np.uint8).reshape(2, 2, len(live), *hidden.shape[1:])
        height, width = hidden.shape[1:]
        classes = np.empty((len(live), height, 2, width, 2), np.uint8)
        for i in range(2):
            for j in range(2):
                classes[:, :, i, :, j] = parts[i, j]
        found = classes.reshape(len(live), 2 * height, 2 * width)
        y, x = rows[0] - 4 * top, columns[0] - 4 * left
        return live, found[:, y : y + rows[1] - rows[0], x : x + columns[1] - columns[0]]

    def _hidden(self, v: np.ndarray, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """float32 (class_width, 2 * rows, 2 * columns), integers 0..255, of a rectangle of hyperlatents."""
        padded = np.pad(v, ((0, 0), (1, 1), (1, 1)))[:, top : bottom + 2, left : right + 2]
        largest = np.abs(padded).reshape(self.hyper, -1).max(axis=1)
        live = np.flatnonzero(largest)
        bound = int((largest[live] @ self._tap_sums[live] + np.abs(self._bias)).max())
        dtype: type[Any] = np.float32 if bound < _EXACT_FLOAT32 else np.float64
        height, width = bottom - top, right - left
        patches = np.lib.stride_tricks.sliding_window_view(padded[live].astype(dtype), (3, 3), axis=(1, 2))
        inputs = patches.transpose(0, 3, 4, 1, 2).reshape(9 * len(live), height * width)
        taps = self._taps[live].astype(dtype).reshape(9 * len(live), -1)
        sums = taps.T @ inputs + self._bias.astype(dtype)[:, None]
        sums *= dtype(2.0**-_HIDDEN_SHIFT)
        hidden = np.floor(np.clip(sums, 0, _HIDDEN_MAX, out=sums), out=sums).astype(np.float32)
        hidden = hidden.reshape(-1, 2, 2, height, width).transpose(0, 3, 1, 4, 2)
        return np.ascontiguousarray(hidden).reshape(-1, 2 * height, 2 * width)

    def _reach(self, hidden: np.ndarray) -> np.ndarray:
        """(M,): no form of the channel exceeds this, for hidden values of this size."""
        flat = hidden.reshape(len(hidden), -1)
        reach = np.maximum(self._rows, 0) @ flat.max(axis=1) + np.minimum(self._rows, 0) @ flat.min(axis=1)
        bound: np.ndarray = reach.max(axis=0)
        return bound


def _tensor(tensors: Mapping[str, np.ndarray], name: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    tensor = tensors.get(name)
    if tensor is None or tensor.dtype != dtype or tensor.shape != shape:
        raise BundleError(f"tables: {name} is not {np.dtype(dtype)} {shape}")
    return tensor
