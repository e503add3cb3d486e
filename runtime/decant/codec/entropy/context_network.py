"""The context networks: symbols of a tile's earlier parts -> their term of the scale-index logits of later
parts, in exact integers.

A part is a channel group (Minnen and Singh 2020, arXiv:2007.08739), or the anchor or non-anchor positions of
one (He et al. 2021, arXiv:2103.15306). The other term of the logits comes from the hyperlatents
(``decant.codec.entropy.scale_network``).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from decant.codec.entropy.scale_network import (
    EXACT_FLOAT32,
    HIDDEN_MAX,
    HIDDEN_SHIFT,
    LOGIT_SHIFT,
    Context,
    Frame,
    ScaleNetwork,
    exact_product,
)
from decant.errors import BundleError
from decant.formats.tensors import tensor_of

_MAGNITUDES = 256


def non_anchor_name(channel_group: int) -> str:
    """Name in tables.safetensors of the context of the non-anchor positions of ``channel_group``."""
    return f"context.{channel_group}.half" if channel_group else "context.0"


class ContextNetwork:
    """The context networks of a bundle (docs/format/grid.md).

        magnitudes of a position and its four neighbours
          -> 1x1 convolution, shift
          -> 1x1 convolution that also sees the scale network's hidden values, shift (only in some bundles)
          -> 1x1 convolution: a term of the logits

    ``contexts[i]`` is the network of channel group i, or of its anchor positions (None for the first group).
    ``non_anchors[i]`` is that of the non-anchor positions of a group with a checkerboard.
    """

    def __init__(
        self,
        magnitude: np.ndarray,
        contexts: Sequence["PartContext | None"],
        non_anchors: Sequence["PartContext"],
    ) -> None:
        self.magnitude = magnitude
        self.translation = magnitude.tobytes()
        self.contexts, self.non_anchors = contexts, non_anchors

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, np.ndarray],
        channel_groups: Sequence[int],
        context_width: int,
        scales: ScaleNetwork,
        checkerboard_groups: int = 1,
        mixed_width: int = 0,
    ) -> "ContextNetwork":
        """Read the tables ``context.*``. ``channel_groups`` has the channels of each group; the first
        ``checkerboard_groups`` have a checkerboard. ``scales`` bounds the other term of the logits. Raises
        BundleError.
        """
        widths = scales.class_width, context_width, mixed_width
        found: list[PartContext | None] = []
        second = []
        before = 0
        for i, count in enumerate(channel_groups):
            end = before + count
            largest = scales.largest_logits[before:end]
            whole = None
            if i:
                whole = PartContext.from_tensors(tensors, f"context.{i}", before, count, *widths)
                whole.check(largest)
            if i < checkerboard_groups:
                part = PartContext.from_tensors(tensors, non_anchor_name(i), end, count, *widths)
                part.check(largest)
                second.append(part)
            found.append(whole)
            before = end
        magnitude = tensor_of(tensors, "context.magnitude", np.uint8, (_MAGNITUDES,))
        return cls(magnitude, found, second)

    def to_tensors(self) -> dict[str, np.ndarray]:
        """The tensors that ``from_tensors`` reads."""
        found = {"context.magnitude": self.magnitude}
        for part in (*self.contexts, *self.non_anchors):
            if part is not None:
                found |= part.tensors
        return found

    def tile(self, frame: Frame) -> "TileContexts":
        """The contexts of a tile of latents, to be filled one channel group after the other."""
        return TileContexts(self, frame)


class PartContext:
    """The network of one part with n channels, which sees b channels. Its tables are named ``name``.*.

    ``hidden_weight`` int8 (D, 3 b), ``hidden_bias`` int32 (D,) and ``out_weight`` int8 (n, D). With a second
    layer of m values, ``out_weight`` is (n, m), and there are ``mixed_weight`` int8 (m, D), ``below_weight``
    int8 (4 m, class_width) and ``mixed_bias`` int32 (m,).
    """

    def __init__(self, name: str, tensors: Mapping[str, np.ndarray]) -> None:
        self.name = name
        self.tensors = {f"{name}.{key}": value for key, value in tensors.items()}
        self._raw = tensors
        self.known = tensors["hidden_weight"].shape[1] // 3
        # (D, b, 3), (D, 1) and (n, D), already divided by what the shifts divide by.
        hidden_weight, unit = tensors["hidden_weight"], np.float32(1 << HIDDEN_SHIFT)
        taps = hidden_weight.reshape(len(hidden_weight), 3, -1).transpose(0, 2, 1)
        self._taps = np.ascontiguousarray(taps, np.float32) / unit
        self._bias = _bias_of(tensors["hidden_bias"])
        self._rows = tensors["out_weight"].astype(np.float32) / np.float32(1 << LOGIT_SHIFT)
        self._mixed: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        if "mixed_weight" in tensors:
            mixed = tensors["mixed_weight"].astype(np.float32) / unit
            below = tensors["below_weight"].astype(np.float32) / unit
            self._mixed = mixed, below, _bias_of(tensors["mixed_bias"])

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, np.ndarray],
        name: str,
        known: int,
        count: int,
        class_width: int,
        width: int,
        mixed: int,
    ) -> "PartContext":
        """Read the tables ``name``.* of a part of ``count`` channels that sees ``known`` channels. ``mixed``
        is m, or 0 without a second layer. Raises BundleError.
        """
        shapes: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
            "hidden_weight": (np.int8, (width, 3 * known)),
            "hidden_bias": (np.int32, (width,)),
            "out_weight": (np.int8, (count, mixed or width)),
        }
        if mixed:
            shapes["mixed_weight"] = np.int8, (mixed, width)
            shapes["below_weight"] = np.int8, (4 * mixed, class_width)
            shapes["mixed_bias"] = np.int32, (mixed,)
        found = {key: tensor_of(tensors, f"{name}.{key}", *of) for key, of in shapes.items()}
        return cls(name, found)

    def check(self, largest_logits: np.ndarray) -> None:
        """Raises BundleError if a sum could exceed the integers that float32 holds exactly.
        ``largest_logits`` int64 (n,) bounds the magnitude of the scale network's term, for each channel.
        """
        wide = {key: np.abs(value.astype(np.int64)) for key, value in self._raw.items()}
        what, rounding = f"tables: the sums of {self.name}", 1 << HIDDEN_SHIFT >> 1
        taps = wide["hidden_weight"].reshape(len(wide["hidden_bias"]), 3, -1).sum(axis=2)
        largest = HIDDEN_MAX * (taps @ [1, 2, 2]) + wide["hidden_bias"]
        if largest.max() + rounding >= EXACT_FLOAT32:
            raise BundleError(f"{what}.hidden_weight can exceed 2^24")
        if "mixed_weight" in wide:
            below = wide["below_weight"].sum(axis=1).reshape(-1, 4).max(axis=1)
            largest = HIDDEN_MAX * (wide["mixed_weight"].sum(axis=1) + below) + wide["mixed_bias"]
            if largest.max() + rounding >= EXACT_FLOAT32:
                raise BundleError(f"{what}.mixed_weight can exceed 2^24")
        largest = HIDDEN_MAX * wide["out_weight"].sum(axis=1) + largest_logits
        if largest.max() >= EXACT_FLOAT32:
            raise BundleError(f"{what}.out_weight and scale.out_weight can exceed 2^24")

    def context(self, channels: np.ndarray, features: np.ndarray, frame: Frame) -> Context:
        """``features`` float32 (live, 3, height, width) -> their term of the logits in ``frame``. Only the
        ``channels`` int (live,) that are not 0 everywhere are given.
        """
        height, width = features.shape[2:]
        taps = self._taps[:, channels].reshape(len(self._taps), -1)
        hidden = _hidden_of(exact_product(taps, features.reshape(-1, height * width)), self._bias)
        if self._mixed is not None:
            mixed, below, bias = self._mixed
            sums = exact_product(mixed, hidden).reshape(len(mixed), height // 2, 2, width // 2, 2)
            more = exact_product(below, frame.hidden.reshape(len(frame.hidden), -1))
            sums += more.reshape(len(mixed), 2, 2, height // 2, width // 2).transpose(0, 3, 1, 4, 2)
            hidden = _hidden_of(sums.reshape(len(mixed), -1), bias)
        return Context(self._rows, hidden.reshape(-1, height, width))


def _bias_of(bias: np.ndarray) -> np.ndarray:
    """int32 (D,) -> float32 (D, 1): plus one half for rounding, divided by what the shift divides by."""
    rounded = (bias[:, None].astype(np.int64) + (1 << HIDDEN_SHIFT >> 1)).astype(np.float32)
    shifted: np.ndarray = rounded / np.float32(1 << HIDDEN_SHIFT)
    return shifted


def _hidden_of(sums: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Sums -> hidden values 0..255, in place."""
    sums += bias
    np.floor(np.clip(sums, 0, HIDDEN_MAX, out=sums), out=sums)
    return sums


class TileContexts:
    """The features of the symbols of one tile so far, and the contexts that follow from them."""

    def __init__(self, network: ContextNetwork, frame: Frame) -> None:
        self._network = network
        self._frame = frame
        self._channel_group = 0
        self._before = 0
        # The channels whose magnitudes are not 0 everywhere, and their features.
        self._channels = np.zeros(0, np.int64)
        most = max(part.known for part in (*network.contexts, *network.non_anchors) if part is not None)
        self._features = np.empty((most, 3, frame.height, frame.width), np.float32)

    def after_anchors(self, symbols: np.ndarray) -> Context:
        """Integer ``symbols`` (n, rows, columns) of the next channel group at anchor positions, 0 elsewhere
        -> the context of its non-anchor positions.
        """
        channels = self._with(symbols)
        features = self._features[: len(channels)]
        return self._network.non_anchors[self._channel_group].context(channels, features, self._frame)

    def add(self, symbols: np.ndarray) -> Context:
        """Integer ``symbols`` (n, rows, columns) of the next channel group -> the context of the group after
        it.
        """
        self._channels = self._with(symbols)
        self._before += len(symbols)
        self._channel_group += 1
        part = self._network.contexts[self._channel_group]
        assert part is not None
        return part.context(self._channels, self._features[: len(self._channels)], self._frame)

    def _with(self, symbols: np.ndarray) -> np.ndarray:
        """Fill in the features of ``symbols`` of the next group. Returns all channels so far that are not 0
        everywhere.
        """
        live, magnitudes = self._magnitudes(symbols)
        known = len(self._channels)
        self._fill(self._features[known : known + len(live)], magnitudes)
        return np.concatenate([self._channels, live + self._before])

    def _magnitudes(self, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The channels that are not 0 everywhere, and their magnitudes uint8."""
        sizes = np.minimum(np.abs(symbols), _MAGNITUDES - 1).astype(np.uint8)
        translated = sizes.tobytes().translate(self._network.translation)
        magnitudes = np.frombuffer(translated, np.uint8).reshape(sizes.shape)
        live = np.flatnonzero(magnitudes.any(axis=(1, 2)))
        return live, magnitudes[live]

    def _fill(self, features: np.ndarray, magnitudes: np.ndarray) -> None:
        """Compute ``features`` float32 (n, 3, height, width) of ``magnitudes`` uint8 (n, rows, columns): the
        magnitude, the sum of the left and right neighbours, and that of the upper and lower ones. Outside the
        tile all are 0.
        """
        count, rows, columns = magnitudes.shape
        height, width = self._frame.height, self._frame.width
        y, x = self._frame.y + 1, self._frame.x
        padded = np.zeros((count, height + 2, width), np.float32)
        padded[:, y : y + rows, x : x + columns] = magnitudes
        inside = padded[:, 1:-1]
        features[:, 0] = inside
        np.add(padded[:, :-2], padded[:, 2:], out=features[:, 2])
        # Whole planes at a time. At the ends of rows, the neighbour in memory belongs to another row; these
        # columns are corrected below.
        flat, last = padded.reshape(count, (height + 2) * width), (height + 1) * width
        sides = features[:, 1]
        found = sides.reshape(count, height * width)
        np.add(flat[:, width - 1 : last - 1], flat[:, width + 1 : last + 1], out=found)
        sides[:, :, 0], sides[:, :, -1] = inside[:, :, 1], inside[:, :, -2]
