"""The context networks: symbols of a tile's earlier parts -> what they add to the scale-index logits of later
ones, in exact integers, as ``decant.codec.entropy.scale_network`` has them.

A part is a channel group (Minnen and Singh 2020, arXiv 2007.08739), or the anchor or non-anchor positions of
one (He et al. 2021, arXiv 2103.15306).
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
    """Magnitudes of a place and its four neighbours, 1x1 convolution, shift, in some bundles a second 1x1
    convolution, of the scale network's hidden values too, and shift, 1x1 convolution (docs/format.md):
    ``contexts[i]`` adds to the logits of a channel group, or of its anchor positions (the first group has
    none), ``non_anchors[i]`` to those of the non-anchor positions of a group with a checkerboard.
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
        """The tables named ``context.*`` of ``channel_groups`` (the channels of each), the first
        ``checkerboard_groups`` of which have a checkerboard. ``scales`` gives the rest of the logits. Raises
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
        """The contexts of a tile of latents, to be filled channel_group after channel_group."""
        return TileContexts(self, frame)


class PartContext:
    """The tables of one part of n channels with b known, named ``name``.*: int8 ``hidden_weight`` (D, 3 b),
    int32 ``hidden_bias`` (D,), int8 ``out_weight`` (n, D); with a second layer of m values ``out_weight`` is
    (n, m), and there are int8 ``mixed_weight`` (m, D), ``below_weight`` (4 m, class_width), int32
    ``mixed_bias`` (m,).
    """

    def __init__(self, name: str, tensors: Mapping[str, np.ndarray]) -> None:
        self.name = name
        self.tensors = {f"{name}.{key}": value for key, value in tensors.items()}
        self._raw = tensors
        self.known = tensors["hidden_weight"].shape[1] // 3
        # (D, b, 3), (D, 1) and (n, D), with what the shifts divide by in them.
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
        """The tables named ``name``.*, of a part of ``count`` channels with so many ``known``; ``mixed``: m
        or 0. Raises BundleError.
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
        """Raises BundleError where a sum could exceed what float32 holds exactly. ``largest_logits`` int64
        (n,) is the largest size of the scale network's part of each channel's sum.
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
        """``features`` float32 (live, 3, height, width) of the ``channels`` int (live,) that are not 0
        throughout -> what they add to the logits in ``frame``.
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
    """float32 (D, 1) of int32 (D,): with the half that rounds, divided by what the shift divides by."""
    rounded = (bias[:, None].astype(np.int64) + (1 << HIDDEN_SHIFT >> 1)).astype(np.float32)
    shifted: np.ndarray = rounded / np.float32(1 << HIDDEN_SHIFT)
    return shifted


def _hidden_of(sums: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Hidden values of sums, in their place."""
    sums += bias
    np.floor(np.clip(sums, 0, HIDDEN_MAX, out=sums), out=sums)
    return sums


class TileContexts:
    """The features of one tile's symbols, and the contexts that they give."""

    def __init__(self, network: ContextNetwork, frame: Frame) -> None:
        self._network = network
        self._frame = frame
        self._channel_group = 0
        self._before = 0
        # Of the channels whose magnitudes are not 0 throughout: which they are, and their features.
        self._channels = np.zeros(0, np.int64)
        most = max(part.known for part in (*network.contexts, *network.non_anchors) if part is not None)
        self._features = np.empty((most, 3, frame.height, frame.width), np.float32)

    def after_anchors(self, symbols: np.ndarray) -> Context:
        """Integer ``symbols`` (n, rows, columns) of the anchor positions of the next channel group, 0
        elsewhere -> the context of its non-anchor positions.
        """
        channels = self._with(symbols)
        features = self._features[: len(channels)]
        return self._network.non_anchors[self._channel_group].context(channels, features, self._frame)

    def add(self, symbols: np.ndarray) -> Context:
        """Integer ``symbols`` (n, rows, columns) of the next channel group -> the context after it."""
        self._channels = self._with(symbols)
        self._before += len(symbols)
        self._channel_group += 1
        part = self._network.contexts[self._channel_group]
        assert part is not None
        return part.context(self._channels, self._features[: len(self._channels)], self._frame)

    def _with(self, symbols: np.ndarray) -> np.ndarray:
        """The channels so far with those of ``symbols`` of the next group, whose features are filled in."""
        live, magnitudes = self._magnitudes(symbols)
        known = len(self._channels)
        self._fill(self._features[known : known + len(live)], magnitudes)
        return np.concatenate([self._channels, live + self._before])

    def _magnitudes(self, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which channels are not 0 throughout, and the magnitudes of these, uint8."""
        sizes = np.minimum(np.abs(symbols), _MAGNITUDES - 1).astype(np.uint8)
        translated = sizes.tobytes().translate(self._network.translation)
        magnitudes = np.frombuffer(translated, np.uint8).reshape(sizes.shape)
        live = np.flatnonzero(magnitudes.any(axis=(1, 2)))
        return live, magnitudes[live]

    def _fill(self, features: np.ndarray, magnitudes: np.ndarray) -> None:
        """Put what becomes of ``magnitudes`` uint8 (n, rows, columns) into ``features`` float32
        (n, 3, height, width): each, the sum of those to the left and the right, and of those above and below;
        outside the tile all are 0.
        """
        count, rows, columns = magnitudes.shape
        height, width = self._frame.height, self._frame.width
        y, x = self._frame.y + 1, self._frame.x
        padded = np.zeros((count, height + 2, width), np.float32)
        padded[:, y : y + rows, x : x + columns] = magnitudes
        inside = padded[:, 1:-1]
        features[:, 0] = inside
        np.add(padded[:, :-2], padded[:, 2:], out=features[:, 2])
        # Whole planes at a time: only at the ends of rows is the place before or after another row's.
        flat, last = padded.reshape(count, (height + 2) * width), (height + 1) * width
        sides = features[:, 1]
        found = sides.reshape(count, height * width)
        np.add(flat[:, width - 1 : last - 1], flat[:, width + 1 : last + 1], out=found)
        sides[:, :, 0], sides[:, :, -1] = inside[:, :, 1], inside[:, :, -2]
