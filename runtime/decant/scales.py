"""The scale network: integers of the hyperlatents -> the scale class of every latent, in integers throughout.

The multiplications run as float matrix products (BLAS), in float32 where no partial sum can reach 2^24 and in
float64 elsewhere, so that every sum is exact in any order: all machines compute the same classes. They run in
blocks so small that OpenBLAS keeps them on the calling thread: its threads are not the caller's to count, and
waiting for them costs more than they save.
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
# OpenBLAS keeps to one thread up to 2^18 multiplications, or 9215 where one side is a vector. Blocks of this
# many columns and this depth were about the fastest on an x86-64 core; a row of one is below 9216, too.
_BLOCK, _VECTOR_BLOCK = 1 << 18, 9215
_BLOCK_COLUMNS, _BLOCK_DEPTH = 96, 95


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
        # (4 * M, 2 * class_width): with the largest and the smallest hidden value, bounds of the forms.
        bounds = np.concatenate([np.maximum(self._rows, 0), np.minimum(self._rows, 0)], axis=2)
        self._bounds = bounds.reshape(4 * self.channels, -1)
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
        1/1024 class, within +-131072.
        """
        top, left = rows[0] // 4, columns[0] // 4
        bottom, right = -(-rows[1] // 4), -(-columns[1] // 4)
        hidden = self._hidden(v, top, bottom, left, right)
        height, width = hidden.shape[1:]
        hidden = hidden.reshape(len(hidden), -1)
        offset = class_offset.astype(np.float32) / np.float32(1 << _FORM_SHIFT)
        # Most pictures leave many channels in class 0 throughout: those whose bound stays below 1.
        ends = np.stack([hidden.max(axis=1), hidden.min(axis=1)])
        bound = _product(self._bounds, ends.reshape(-1, 1)).reshape(4, -1)
        live = np.flatnonzero(bound.max(axis=0) + offset >= 1)
        weight = np.empty((4, len(live), len(hidden) + 1), np.float32)
        weight[:, :, :-1] = self._rows[:, live]
        weight[:, :, -1] = offset[live]
        inputs = np.vstack([hidden, np.ones_like(hidden[:1])])
        forms = _product(weight.reshape(4 * len(live), len(inputs)), inputs)
        np.floor(np.clip(forms, 0, CLASSES - 1, out=forms), out=forms)
        # Two neighbours of a row leave as the two bytes of one number.
        pairs = forms.reshape(2, 2, len(live), height, width)
        pairs[:, 1] *= 256
        pairs[:, 0] += pairs[:, 1]
        found = np.empty((len(live), height, 2, width), "<u2")
        found[:, :, 0], found[:, :, 1] = pairs[0, 0], pairs[1, 0]
        classes = np.zeros((self.channels, rows[1] - rows[0], columns[1] - columns[0]), np.uint8)
        y, x = rows[0] - 4 * top, columns[0] - 4 * left
        classes[live] = found.view(np.uint8).reshape(len(live), 2 * height, 2 * width)[
            :, y : y + classes.shape[1], x : x + classes.shape[2]
        ]
        return classes

    def _hidden(self, v: np.ndarray, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """float32 (class_width, 2 * rows, 2 * columns), integers 0..255, of a rectangle of hyperlatents."""
        y, x = max(top - 1, 0), max(left - 1, 0)
        near = v[:, y : bottom + 1, x : right + 1]
        largest = np.abs(near).reshape(self.hyper, -1).max(axis=1)
        live = np.flatnonzero(largest)
        bound = int((largest[live] @ self._tap_sums[live] + np.abs(self._bias)).max())
        dtype: type[Any] = np.float32 if bound < _EXACT_FLOAT32 else np.float64
        height, width = bottom - top, right - left
        padded = np.zeros((len(live), height + 2, width + 2), dtype)
        y, x = y - top + 1, x - left + 1
        padded[:, y : y + near.shape[1], x : x + near.shape[2]] = near[live]
        inputs = np.empty((len(live), 3, 3, height, width), dtype)
        for i in range(3):
            for j in range(3):
                inputs[:, i, j] = padded[:, i : i + height, j : j + width]
        taps = self._taps[live].astype(dtype).reshape(9 * len(live), len(self._bias))
        sums = _product(taps.T, inputs.reshape(9 * len(live), height * width))
        sums += self._bias.astype(dtype)[:, None]
        sums *= dtype(0.5**_HIDDEN_SHIFT)
        np.floor(np.clip(sums, 0, _HIDDEN_MAX, out=sums), out=sums)
        hidden = np.empty((len(sums) // 4, height, 2, width, 2), np.float32)
        hidden[:] = sums.reshape(-1, 2, 2, height, width).transpose(0, 3, 1, 4, 2)
        return hidden.reshape(-1, 2 * height, 2 * width)


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """``left`` (m, k) @ ``right`` (k, n) on the calling thread; the sums must be exact in any order."""
    (m, k), n = left.shape, right.shape[1]
    columns, depth = min(_BLOCK_COLUMNS, n), max(min(_BLOCK_DEPTH, k), 1)
    rows = max(min((_BLOCK if n > 1 else _VECTOR_BLOCK) // (columns * depth), m), 1)
    # A stack of blocks of equal rows, and the rows left over.
    even = m // rows * rows
    blocks = [left[:even].reshape(m // rows, rows, k), left[even:][None]]
    product = np.zeros((m, n), left.dtype)
    sums = [product[:even].reshape(m // rows, rows, n), product[even:][None]]
    for x in range(0, n, columns):
        for z in range(0, k, depth):
            part = np.ascontiguousarray(right[z : z + depth, x : x + columns])
            for block, total in zip(blocks, sums, strict=True):
                out, chosen = total[:, :, x : x + columns], block[:, :, z : z + depth]
                if z:
                    out += np.matmul(chosen, part)
                elif block.size:
                    np.matmul(chosen, part, out=out)
    return product


def _tensor(tensors: Mapping[str, np.ndarray], name: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    tensor = tensors.get(name)
    if tensor is None or tensor.dtype != dtype or tensor.shape != shape:
        raise BundleError(f"tables: {name} is not {np.dtype(dtype)} {shape}")
    return tensor
