"""The context networks: the symbols of a group's earlier stages -> what they add to the scale classes of its
later ones, in exact integers, as ``decant.scales`` has them. The first stage is coded in two halves, and its
first half adds to the classes of its second in the same way.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from decant.errors import BundleError
from decant.scales import (
    EXACT_FLOAT32,
    FORM_SHIFT,
    HIDDEN_MAX,
    HIDDEN_SHIFT,
    Context,
    Frame,
    ScaleNetwork,
    exact_product,
)
from decant.tables import tensor_of

_MAGNITUDES = 256


class ContextNetwork:
    """Magnitudes of a place and its four neighbours, 1x1 convolution, shift, 1x1 convolution, for each stage:
    for the first, of its first half (docs/format.md).
    """

    def __init__(self, magnitude: np.ndarray, stages: Sequence["StageContext"]) -> None:
        self.magnitude = magnitude
        self.translation = magnitude.tobytes()
        self.stages = stages

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, np.ndarray],
        stages: Sequence[int],
        context_width: int,
        scales: ScaleNetwork,
    ) -> "ContextNetwork":
        """The tables named ``context.*``, for ``stages`` of so many channels, whose other part of the class
        is that of ``scales``. Raises BundleError.
        """
        found = []
        before = 0
        for i, count in enumerate(stages):
            known = before or count
            stage = StageContext(
                tensor_of(tensors, f"context.{i}.hidden_weight", np.int8, (context_width, 3 * known)),
                tensor_of(tensors, f"context.{i}.hidden_bias", np.int32, (context_width,)),
                tensor_of(tensors, f"context.{i}.out_weight", np.int8, (count, context_width)),
            )
            stage.check(scales.largest_forms[before : before + count], f"tables: the sums of context.{i}")
            found.append(stage)
            before += count
        return cls(tensor_of(tensors, "context.magnitude", np.uint8, (_MAGNITUDES,)), found)

    def to_tensors(self) -> dict[str, np.ndarray]:
        """The tensors that ``from_tensors`` reads."""
        found = {"context.magnitude": self.magnitude}
        for i, stage in enumerate(self.stages):
            found[f"context.{i}.hidden_weight"] = stage.hidden_weight
            found[f"context.{i}.hidden_bias"] = stage.hidden_bias
            found[f"context.{i}.out_weight"] = stage.out_weight
        return found

    def group(self, frame: Frame) -> "GroupContexts":
        """The contexts of a group of latents, to be filled stage after stage."""
        return GroupContexts(self, frame)


class StageContext:
    """The tables of one stage of n channels with b known: int8 (D, 3 b), int32 (D,), int8 (n, D)."""

    def __init__(self, hidden_weight: np.ndarray, hidden_bias: np.ndarray, out_weight: np.ndarray) -> None:
        self.hidden_weight = hidden_weight
        self.hidden_bias = hidden_bias
        self.out_weight = out_weight
        # (D, b, 3), (D, 1) and (n, D), with what the shifts divide by in them.
        unit = np.float32(1 << HIDDEN_SHIFT)
        taps = hidden_weight.reshape(len(hidden_bias), 3, -1).transpose(0, 2, 1)
        self._taps = np.ascontiguousarray(taps, np.float32) / unit
        self._bias = (hidden_bias[:, None].astype(np.int64) + (1 << HIDDEN_SHIFT >> 1)).astype(
            np.float32
        ) / unit
        self._rows = out_weight.astype(np.float32) / np.float32(1 << FORM_SHIFT)

    def check(self, largest_forms: np.ndarray, what: str) -> None:
        """Raises BundleError where a sum could exceed what float32 holds exactly. ``largest_forms`` int64
        (n,) is the largest size of the scale network's part of each channel's sum.
        """
        taps = np.abs(self.hidden_weight.astype(np.int64)).reshape(len(self.hidden_bias), 3, -1).sum(axis=2)
        largest = HIDDEN_MAX * (taps @ [1, 2, 2]) + np.abs(self.hidden_bias.astype(np.int64))
        if largest.max() + (1 << HIDDEN_SHIFT >> 1) >= EXACT_FLOAT32:
            raise BundleError(f"{what}.hidden_weight can exceed 2^24")
        largest = HIDDEN_MAX * np.abs(self.out_weight.astype(np.int64)).sum(axis=1) + largest_forms
        if largest.max() >= EXACT_FLOAT32:
            raise BundleError(f"{what}.out_weight and scale.out_weight can exceed 2^24")

    def context(self, channels: np.ndarray, features: np.ndarray) -> Context:
        """``features`` float32 (live, 3, height, width) of the ``channels`` int (live,) that are not 0
        throughout -> what they add to the classes.
        """
        height, width = features.shape[2:]
        taps = self._taps[:, channels].reshape(len(self._taps), -1)
        hidden = exact_product(taps, features.reshape(-1, height * width))
        hidden += self._bias
        np.floor(np.clip(hidden, 0, HIDDEN_MAX, out=hidden), out=hidden)
        return Context(self._rows, hidden.reshape(-1, height, width))


class GroupContexts:
    """The features of one group's symbols, and the contexts that they give."""

    def __init__(self, network: ContextNetwork, frame: Frame) -> None:
        self._network = network
        self._frame = frame
        self._stages = iter(network.stages[1:])
        self._before = 0
        # Of the channels whose magnitudes are not 0 throughout: which they are, and their features.
        self._channels = np.zeros(0, np.int64)
        most = network.stages[-1].hidden_weight.shape[1] // 3
        self._features = np.empty((most, 3, frame.height, frame.width), np.float32)

    def half(self, symbols: np.ndarray) -> Context:
        """Integer ``symbols`` (n, rows, columns) of the first stage's first half, 0 elsewhere -> the context
        of its second half.
        """
        live, magnitudes = self._magnitudes(symbols)
        features = self._features[: len(live)]
        self._fill(features, magnitudes)
        return self._network.stages[0].context(live, features)

    def add(self, symbols: np.ndarray) -> Context:
        """Integer ``symbols`` (n, rows, columns) of the next stage -> the context of the stage after it."""
        live, magnitudes = self._magnitudes(symbols)
        known = len(self._channels)
        self._channels = np.concatenate([self._channels, live + self._before])
        self._before += len(symbols)
        features = self._features[: len(self._channels)]
        self._fill(features[known:], magnitudes)
        return next(self._stages).context(self._channels, features)

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
        outside the group all are 0.
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
