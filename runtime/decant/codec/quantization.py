"""RDO quantization: each latent becomes the symbol with the least bits + weight x squared error.

The method is that of video coders (rate-distortion optimized quantization, Karczewicz et al. 2008).
"""

from typing import TYPE_CHECKING, Protocol

import numpy as np

from decant.backends.session import Session
from decant.codec.entropy.checkerboard import anchor_positions
from decant.codec.entropy.rans import LARGEST_SYMBOL
from decant.codec.entropy.scale_network import LARGEST_INPUT
from decant.codec.layout import GridLayout, Quality
from decant.errors import BundleError

if TYPE_CHECKING:
    from decant.bundles.bundle import Bundle

# If an update raises the error around a latent by this factor, the step size there is halved.
FAR = 1.4


def quantized_hyperlatents(z: np.ndarray, quality: Quality) -> np.ndarray:
    """Hyperlatents float32 (hyper, hz, wz) -> int32, clipped to the range that can be coded and scaled."""
    largest = np.minimum(LARGEST_SYMBOL, LARGEST_INPUT // quality.hyper_multiplier)[:, None, None]
    rounded = np.rint(z * quality.hyper_gain[:, None, None])
    clipped: np.ndarray = np.clip(rounded, -largest, largest).astype(np.int32)
    return clipped


def symbol_weight(distortion_weight: float, quality: Quality, curvature: np.ndarray) -> np.ndarray:
    """RDO weight of each channel, float32 (M,): the bits that a squared error of one (in steps) is worth.

    Squared errors of latents times their ``curvature`` float32 (M,) sum to the squared error of pixels in
    0..1. ``distortion_weight`` (lambda) is for the mean over three colours in 0..255. Hence 255^2 / 3.
    """
    weight: np.ndarray = distortion_weight * 255**2 / 3 * np.square(quality.step) * curvature
    return weight


def quantized(
    x: np.ndarray, scale_indices: np.ndarray, weight: np.ndarray | None, bits: np.ndarray
) -> np.ndarray:
    """x float32 (M, rows, columns), in steps -> symbols int32, 0 where the scale index is 0.

    Without ``weight``, a symbol is x rounded. With ``weight`` float32 (M,) or (M, rows, columns), from
    ``symbol_weight``, the candidates are the rounded value, one and two steps nearer to 0, and 0. The symbol
    is the candidate with the least bits + weight x squared error. ``bits`` float32 (32, 2 R + 1) has the cost
    of the symbols -R..R at each scale index.
    """
    symbols: np.ndarray = np.clip(np.rint(x), -LARGEST_SYMBOL, LARGEST_SYMBOL).astype(np.int32)
    symbols[scale_indices == 0] = 0
    if weight is None:
        return symbols
    flat = symbols.reshape(-1)
    radius = bits.shape[1] // 2
    where = np.flatnonzero(flat)
    where = where[np.abs(flat[where]) <= radius]
    rounded, exact = flat[where], x.reshape(-1)[where]
    middle = scale_indices.reshape(-1)[where].astype(np.int64) * bits.shape[1] + radius
    weight = weight.astype(np.float32, copy=False)
    weights = weight[where // (x.shape[1] * x.shape[2])] if weight.ndim == 1 else weight.reshape(-1)[where]
    costs = bits.reshape(-1)
    best = rounded
    least = costs[middle + rounded] + weights * np.square(exact - rounded)
    for steps in (1, 2, radius):
        candidate = rounded - np.sign(rounded) * np.minimum(steps, np.abs(rounded))
        cost = costs[middle + candidate] + weights * np.square(exact - candidate)
        better = cost < least
        best, least = np.where(better, candidate, best), np.where(better, cost, least)
    flat[where] = best
    return symbols


class Prediction(Protocol):
    """Channel-conditional mean prediction (Minnen and Singh 2020): residuals of the first ``known`` channels
    correct the means of later channel groups.
    """

    known: int

    def __call__(self, residuals: np.ndarray) -> np.ndarray:
        """Residuals float32 (known, h, w) -> corrections of means (predicted, h, w), from the second channel
        group on. Residuals that are not known yet are 0. Each group is corrected from the groups before it.
        """


class Quantizer:
    """Quantizes the latents ``y`` float32 (M, rows, columns) of a tile, one part after the other.

    It is the ``choose`` of ``GridLayout.choose_symbols``. ``mean``, of the same shape, comes from the
    hyperlatents; once the anchors of a group are chosen, they correct the means of its other positions.
    In the end, ``predicted`` holds the channel-conditional corrections, as if this tile were the picture.
    """

    def __init__(
        self,
        layout: GridLayout,
        quality: Quality,
        y: np.ndarray,
        mean: np.ndarray,
        weight: np.ndarray | None,
        bits: np.ndarray,
        predict: Prediction | None = None,
    ) -> None:
        self.mean = mean.copy()
        self.predicted: np.ndarray | None = None
        self._layout, self._quality = layout, quality
        self._steps = (y - mean) * quality.gain[:, None, None]
        self._weight, self._bits = weight, bits
        self._predict = predict
        if predict is not None:
            self._residuals = np.zeros((predict.known, *y.shape[1:]), np.float32)
        self._anchors: np.ndarray | None = None  # symbols of anchors, until those of the others have come

    def __call__(self, channels: slice, scale_indices: np.ndarray) -> np.ndarray:
        weight = None if self._weight is None else self._weight[channels]
        symbols = quantized(self._steps[channels], scale_indices, weight, self._bits)
        near = self._layout.checkerboard_means.of(channels)
        if near is not None and self._anchors is None:
            added = near.added(symbols, self._quality.step[channels])
            self.mean[channels] += added
            self._steps[channels] -= added * self._quality.gain[channels, None, None]
            self._anchors = symbols
            return symbols
        if self._predict is not None and channels.start < self._predict.known:
            both = symbols
            if self._anchors is not None:
                both = np.where(anchor_positions(*symbols.shape[1:]), self._anchors, symbols)
            self._learn(channels, both, self._predict)
        self._anchors = None
        return symbols

    def _learn(self, channels: slice, symbols: np.ndarray, predict: Prediction) -> None:
        """Correct the means of later groups by the ``symbols`` of a whole channel group."""
        own = slice(channels.start, min(channels.stop, predict.known))
        self._residuals[own] = (symbols * self._quality.step[channels, None, None])[: own.stop - own.start]
        before, self.predicted = self.predicted, predict(self._residuals)
        first = self._layout.channel_groups[0]
        after = slice(channels.stop, first + len(self.predicted))
        new = self.predicted[channels.stop - first :]
        if before is not None:
            new = new - before[channels.stop - first :]
        self._steps[after] -= new * self._quality.gain[after, None, None]


def prediction_channels_of(bundle: "Bundle", layout: GridLayout) -> int | None:
    """Number of input channels of the bundle's ``prediction`` graph, or None if the bundle has no such graph.

    Raises BundleError if the graph's channels do not fit the layout.
    """
    if not bundle.has("prediction"):
        return None
    graph = bundle.graph("prediction")
    shapes = [tensor.shape for tensor in (*graph.inputs[:1], *graph.outputs[:1])]
    known, predicted = (shape[1] if len(shape) == 4 else None for shape in shapes)
    most = layout.channels - layout.channel_groups[0]
    if not (
        isinstance(known, int)
        and isinstance(predicted, int)
        and 1 <= known <= layout.channels
        and 1 <= predicted <= most
    ):
        raise BundleError(
            f"bundle {bundle.name}: graph prediction makes {predicted} channels of {known}; at most {most} "
            f"of at most {layout.channels} expected"
        )
    return known


class PredictionGraph:
    """``Prediction`` by the bundle's ``prediction`` graph, from ``known`` channels."""

    def __init__(self, session: Session, known: int) -> None:
        self._session, self.known = session, known

    def __call__(self, residuals: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._session.run(np.ascontiguousarray(residuals[None]))[0]
        return found
