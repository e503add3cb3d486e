"""The scale network: hyperlatents -> the scale index of every latent, in integers throughout (the hyperprior
of Ballé et al. 2018, arXiv:1802.01436). Earlier symbols add a second term to its logits
(``decant.codec.entropy.context_network``).

All machines must compute the same scale indices. Products run as float matrix products (BLAS), in float32 if
no partial sum can reach 2^24, else in float64. Every sum is then exact in any order.

Products run in blocks so small that OpenBLAS stays on the calling thread. Its threads are not counted by
``threads``, and waiting for them costs more than they save.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from decant.codec.entropy.rans import SCALES
from decant.errors import BundleError
from decant.formats.tensors import tensor_of

# Hyperlatents times their multiplier, in units of 1/16, are clipped to this.
LARGEST_INPUT = 1 << 22
# Limit of scale.hidden_bias: plus one half for rounding, it stays far inside int32, in which C adds.
LARGEST_BIAS = 1 << 30
EXACT_FLOAT32 = 1 << 24
_EXACT_FLOAT64 = 1 << 53
HIDDEN_SHIFT = 6
LOGIT_SHIFT = 10
HIDDEN_MAX = 255
# The largest int16 offset in the unit of the logits.
_LARGEST_OFFSET = 4 << 15
# OpenBLAS uses one thread up to 2^18 multiplications, or 9215 if one side is a vector. Blocks of
# _BLOCK_COLUMNS and _BLOCK_DEPTH were about the fastest on an x86-64 core.
_BLOCK, _VECTOR_BLOCK = 1 << 18, 9215
_BLOCK_COLUMNS, _BLOCK_DEPTH = 128, 192
# In matrices wider than this, a copy of a block of columns is read faster, if the copy fits into the cache.
_FAR_COLUMNS, _COPIED_BYTES = 512, 1 << 19
# Scale indices are computed for this many channels at once, so that intermediate values fit a core's cache.
_CHANNELS = 96


@dataclass(frozen=True)
class Frame:
    """The hidden values of the scale network for a rectangle of latents, before its last layer.

    A frame covers whole hyperlatents: ``height`` x ``width`` latents. The rectangle of ``rows`` x ``columns``
    begins at ``y``, ``x`` in it. ``hidden`` float32 (class_width, height / 2, width / 2) holds integers.
    ``reach`` float32 (M,) is an upper bound of the logits of each channel, in scale indices.
    """

    hidden: np.ndarray
    reach: np.ndarray
    y: int
    x: int
    rows: int
    columns: int

    @property
    def height(self) -> int:
        """Rows of latents of the whole hyperlatents."""
        return 2 * int(self.hidden.shape[1])

    @property
    def width(self) -> int:
        """Columns of latents of the whole hyperlatents."""
        return 2 * int(self.hidden.shape[2])


@dataclass(frozen=True)
class Context:
    """The term that earlier symbols add to the logits of n channels: ``weight`` float32 (n, D), in scale
    indices, times ``planes`` float32 (D, height, width) of a frame, integers 0..255.
    """

    weight: np.ndarray
    planes: np.ndarray

    def places(self) -> np.ndarray:
        """float32 (D, 4 * height / 2 * width / 2): the planes at each of the 2 x 2 positions of a hidden
        value, one after the other.
        """
        count, height, width = self.planes.shape
        split = self.planes.reshape(count, height // 2, 2, width // 2, 2).transpose(0, 2, 4, 1, 3)
        return split.reshape(count, -1)

    def reach(self) -> np.ndarray:
        """float32 (n,): an upper bound of the term, in scale indices."""
        most = self.planes.reshape(len(self.planes), -1).max(axis=1)
        bounds: np.ndarray = (np.maximum(self.weight, 0) * most).sum(axis=1)
        return bounds


class ScaleNetwork:
    """3x3 convolution, shift, depth to space, 1x1 convolution, depth to space (docs/format/grid.md)."""

    def __init__(self, hidden_weight: np.ndarray, hidden_bias: np.ndarray, out_weight: np.ndarray) -> None:
        self.hidden_weight = hidden_weight
        self.hidden_bias = hidden_bias
        self.out_weight = out_weight
        hidden, self.hyper = hidden_weight.shape[:2]
        self.channels, self.class_width = len(out_weight) // 4, hidden // 4
        # (hyper, 9, hidden): a product takes whole hyperlatents' blocks of it.
        self._taps = np.ascontiguousarray(hidden_weight.reshape(hidden, self.hyper, 9).transpose(1, 2, 0))
        self._tap_sums = np.abs(self._taps.astype(np.int64)).sum(axis=1)
        if np.abs(hidden_bias.astype(np.int64)).max(initial=0) > LARGEST_BIAS:
            raise BundleError(f"tables: scale.hidden_bias holds a value beyond {LARGEST_BIAS}")
        self._bias = hidden_bias.astype(np.int64) + (1 << HIDDEN_SHIFT >> 1)
        # (M, 4, class_width): one row for each of the 2 x 2 positions that a position becomes.
        rows = out_weight.reshape(self.channels, 4, -1).astype(np.float32)
        self._rows = rows / np.float32(1 << LOGIT_SHIFT)
        # (M, class_width): times the largest hidden values, upper bounds of the logits.
        self._bounds = np.maximum(self._rows, 0).max(axis=1)
        sums = np.abs(out_weight.astype(np.int64)).sum(axis=1).reshape(self.channels, 4).max(axis=1)
        # (M,): the largest magnitude of each channel's sums, offset included.
        self.largest_logits = HIDDEN_MAX * sums + _LARGEST_OFFSET
        if self.largest_logits.max() >= EXACT_FLOAT32:
            raise BundleError(
                "tables: the sums of scale.out_weight can exceed 2^24; class_width is too large"
            )
        if int((self._tap_sums.sum(axis=0) * LARGEST_INPUT + np.abs(self._bias)).max()) >= _EXACT_FLOAT64:
            raise BundleError("tables: the sums of scale.hidden_weight can exceed 2^53")

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, np.ndarray], channels: int, hyper: int, class_width: int
    ) -> "ScaleNetwork":
        """Read the tables ``scale.*``, for M ``channels`` and ``hyper`` hyperlatents. Raises BundleError."""
        return cls(
            tensor_of(tensors, "scale.hidden_weight", np.int8, (4 * class_width, hyper, 3, 3)),
            tensor_of(tensors, "scale.hidden_bias", np.int32, (4 * class_width,)),
            tensor_of(tensors, "scale.out_weight", np.int8, (4 * channels, class_width)),
        )

    def to_tensors(self) -> dict[str, np.ndarray]:
        """The tensors that ``from_tensors`` reads."""
        return {
            "scale.hidden_weight": self.hidden_weight,
            "scale.hidden_bias": self.hidden_bias,
            "scale.out_weight": self.out_weight,
        }

    def frame(self, v: np.ndarray, rows: tuple[int, int], columns: tuple[int, int]) -> Frame:
        """Compute the first layers for the latents in ``rows`` (first, end) and ``columns`` (first, end).

        ``v`` int32 (hyper, hz, wz) are the scaled hyperlatents of the whole picture, within +-2^22.
        """
        top, left = rows[0] // 4, columns[0] // 4
        hidden = self._hidden(v, top, -(-rows[1] // 4), left, -(-columns[1] // 4))
        planes = hidden.reshape(len(hidden), -1)
        reach = (self._bounds * planes.max(axis=1)).sum(axis=1)
        y, x = rows[0] - 4 * top, columns[0] - 4 * left
        return Frame(hidden, reach, y, x, rows[1] - rows[0], columns[1] - columns[0])

    def scale_indices(
        self, frame: Frame, scale_offset: np.ndarray, channels: slice, context: Context | None = None
    ) -> np.ndarray:
        """uint8 (n, rows, columns): the scale indices of n ``channels`` of the frame's latents.

        ``scale_offset`` (M,) in units of 1/1024 scale index, within +-131072.
        """
        height, width = frame.hidden.shape[1:]
        offset = scale_offset[channels].astype(np.float32) / np.float32(1 << LOGIT_SHIFT)
        # In most pictures many channels have scale index 0 everywhere: their bound is below 1. Skip them.
        reach = frame.reach[channels] + offset
        if context is not None:
            reach += context.reach()
        live = np.flatnonzero(reach >= 1)
        inputs = np.ones((len(frame.hidden) + 1, height * width), np.float32)
        inputs[:-1] = frame.hidden.reshape(len(frame.hidden), -1)
        near = None if context is None else context.places()
        scale_indices = np.zeros((len(offset), frame.rows, frame.columns), np.uint8)
        for start in range(0, len(live), _CHANNELS):
            some = live[start : start + _CHANNELS]
            weight = np.empty((len(some), 4, len(inputs)), np.float32)
            weight[:, :, :-1] = self._rows[channels.start + some]
            weight[:, :, -1] = offset[some, None]
            logits = exact_product(weight.reshape(-1, len(inputs)), inputs).reshape(len(some), -1)
            if context is not None and near is not None:
                logits += exact_product(context.weight[some], near)
            found = np.clip(logits, 0, SCALES - 1, out=logits).astype(np.uint8)
            # Two neighbours of a row are written as the two bytes of one number.
            places = found.reshape(len(some), 2, 2, height, width)
            pairs = places[:, :, 1].astype("<u2")
            pairs <<= 8
            pairs |= places[:, :, 0]
            whole = np.ascontiguousarray(pairs.transpose(0, 2, 1, 3))
            scale_indices[some] = whole.view(np.uint8).reshape(len(some), frame.height, frame.width)[
                :, frame.y : frame.y + frame.rows, frame.x : frame.x + frame.columns
            ]
        return scale_indices

    def _hidden(self, v: np.ndarray, top: int, bottom: int, left: int, right: int) -> np.ndarray:
        """The hidden values of a rectangle of hyperlatents: float32 (class_width, 2 * rows, 2 * columns) that
        hold integers 0..255.
        """
        y, x = max(top - 1, 0), max(left - 1, 0)
        near = v[:, y : bottom + 1, x : right + 1]
        largest = np.abs(near).reshape(self.hyper, -1).max(axis=1)
        live = np.flatnonzero(largest)
        bound = int((largest[live] @ self._tap_sums[live] + np.abs(self._bias)).max())
        dtype: type[Any] = np.float32 if bound < EXACT_FLOAT32 else np.float64
        height, width = bottom - top, right - left
        padded = np.zeros((len(live), height + 2, width + 2), dtype)
        y, x = y - top + 1, x - left + 1
        padded[:, y : y + near.shape[1], x : x + near.shape[2]] = near[live]
        inputs = np.empty((len(live), 3, 3, height, width), dtype)
        for i in range(3):
            for j in range(3):
                inputs[:, i, j] = padded[:, i : i + height, j : j + width]
        taps = self._taps[live].astype(dtype).reshape(9 * len(live), len(self._bias))
        sums = exact_product(taps.T, inputs.reshape(9 * len(live), height * width))
        sums += self._bias.astype(dtype)[:, None]
        sums *= dtype(0.5**HIDDEN_SHIFT)
        np.floor(np.clip(sums, 0, HIDDEN_MAX, out=sums), out=sums)
        hidden = np.empty((len(sums) // 4, height, 2, width, 2), np.float32)
        hidden[:] = sums.reshape(-1, 2, 2, height, width).transpose(0, 3, 1, 4, 2)
        return hidden.reshape(-1, 2 * height, 2 * width)


def exact_product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """``left`` (m, k) @ ``right`` (k, n) on the calling thread. The sums must be exact in any order, since
    blocks are added in an order of their own.
    """
    (m, k), n = left.shape, right.shape[1]
    columns, depth = _even(n, _BLOCK_COLUMNS), _even(k, _BLOCK_DEPTH)
    rows = _even(m, (_BLOCK if n > 1 else _VECTOR_BLOCK) // (columns * depth))
    if m % rows == 1 or rows == 1:  # a block of one row is a vector
        depth = _even(k, _VECTOR_BLOCK // columns)
    found = np.empty((m, n), left.dtype) if k else np.zeros((m, n), left.dtype)
    for z in range(0, k, depth):
        for x, width in _stacks(n, columns):
            part = right[z : z + depth, x].reshape(-1, (x.stop - x.start) // width, width).transpose(1, 0, 2)
            if n > _FAR_COLUMNS and part.nbytes <= _COPIED_BYTES:
                part = np.ascontiguousarray(part)
            for y, height in _stacks(m, rows):
                block = left[y, z : z + depth].reshape((y.stop - y.start) // height, 1, height, -1)
                out = found[y, x].reshape(len(block), height, len(part), width).transpose(0, 2, 1, 3)
                if z:
                    out += np.matmul(block, part)
                else:
                    np.matmul(block, part, out=out)
    return found


def _stacks(size: int, length: int) -> list[tuple[slice, int]]:
    """Divide 0..size into parts of ``length``: the range of the whole parts and that of the rest, each with
    the length of its parts.
    """
    even = size - size % length
    found = [(slice(0, even), length), (slice(even, size), size - even)]
    return [(part, long) for part, long in found if long and part.stop > part.start]


def _even(size: int, most: int) -> int:
    """The length of equal parts of ``size``: as few parts as with the length ``most``."""
    return max(-(-size // max(-(-size // most), 1)), 1)
