"""The codec's synthesis in static int8 (QDQ), calibrated on latents of training photos and of extremes.

One scale holds a whole tensor, and channels differ a hundredfold in range. So

* every channel's range is made the same, its scale folded into the neighbouring weights (10 to 15 dB); it
  covers not all that photos have, but what makes rounding and clipping together cost least;
* the channels whose rounding does most are stored more than once (codec_copies): n copies have n times the
  resolution, and their weights no longer set the step of all others (another 5 to 8 dB);
* neighbouring latents are stored as their sums and differences, and the renderer's input, which nothing but
  linear layers are beside, in a basis that loses least (2 dB each);
* what the renderer's layers add is rounded once, when all of it is summed, in ranges of its own; the layers
  themselves look at sums of one copy of each channel: what is lost there, they hardly see (2 dB);
* the rectified channels of the renderer's layers are made even exactly;
* weights are rounded so that products, not weights, change least (GPTQ; 3 to 6 dB);
* the last convolution gives pixels: its steps are those of uint8, its rounding is the picture's;
* what all this does to pixels on average is taken off its bias.

Ranges also hold flat colours and edges whole. Latents further out than ``OVERFLOW`` (text, stripes) take
the other branch of an ``If``, which computes with floats (codec_exact).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from decant_train.codec.layers import Residual
from decant_train.codec.transforms import Synthesis

from decant_export.common import qdq
from decant_export.common.gate import session_of
from decant_export.common.onnx_graph import GraphBuilder
from decant_export.common.qdq import Scale, Stored
from decant_export.common.variants import make
from decant_export.families.codec import exact as codec_exact
from decant_export.families.codec.calibration import bias_of, evened, latent_gains, measure
from decant_export.families.codec.channel_copies import EVEN, Copies, balanced, narrow_ranges, neighbours
from decant_export.families.codec.float_graphs import array
from decant_export.families.codec.limits import Limits
from decant_export.families.codec.network import FloatSynthesis

PIXEL = Scale(1 / 255, 0)
# Copies beyond the first, a channel: of the latents, and of the renderer's input at 1/4.
LATENT_COPIES, RENDER_COPIES = 1 / 2, 1 / 3
LIGHT_LATENT_COPIES, LIGHT_RENDER_COPIES = 3 / 8, 2 / 3  # without layers in the renderer
TOGETHER = 8  # channels that are added: of a number that 4 does not divide kernels take three times as long
MIXED = 4  # neighbouring latents that are stored as their sums and differences
UNMIXED = 4  # channels of the renderer's input that stay as they are
CORRECTED = 32  # latents on which the mean error of pixels is measured
RECTIFIED = Scale(1 / 255, 0)  # of channels that were made even: 0 to 1
# How far a latent may lie beyond its range before floats decode the picture, in the unit of what errors of
# all latents do to pixels: root of the sum of squares of pixels, 1 being the whole range of one.
OVERFLOW = 0.5
# Share of extremes in the second moments that weights are rounded with.
EXTREME = 0.02


@dataclass(frozen=True)
class Calibration:
    """Latents float32 (1, M, h, w) of pictures: of ``photos``, and of what ``extremes`` are sorted into."""

    photos: Sequence[np.ndarray]
    flats: Sequence[np.ndarray] = ()
    edges: Sequence[np.ndarray] = ()
    busy: Sequence[np.ndarray] = ()


class StaticCodec:
    """Builds the int8 form of a float ``synthesis``. Ranges are chosen on the photos of ``calibration`` and
    hold its flats and edges whole.
    """

    def __init__(
        self,
        synthesis: FloatSynthesis,
        calibration: Calibration,
        latent_copies: float | None = None,
        render_copies: float | None = None,
    ) -> None:
        network, light = synthesis.network, not len(synthesis.network.render)
        if latent_copies is None:
            latent_copies = LIGHT_LATENT_COPIES if light else LATENT_COPIES
        if render_copies is None:
            render_copies = LIGHT_RENDER_COPIES if light else RENDER_COPIES
        seen, whole = measure(network, calibration.photos).samples, _held(network, calibration)
        gains, extra = latent_gains(network), round(latent_copies * synthesis.channels)
        mixed = neighbours(gains, _mixed(len(gains)))
        self.latents = Copies.of(seen["latents"], np.diag(gains), extra, mixed, whole.get("latents"))
        self.limits = Limits.of(np.tile(1 + OVERFLOW * self.latents.factor, 2))
        weight = array(network.last.weight)
        errors = np.einsum("oihw,ojhw->ij", weight, weight)

        def stored(name: str, copies: float) -> Copies:
            mixed = balanced(seen[name], errors, UNMIXED)
            extra = round(copies * len(errors) / TOGETHER) * TOGETHER
            return Copies.of(seen[name], errors, extra, mixed, whole.get(name))

        self.quarter = stored("quarter", render_copies)
        self.added = None if light else stored("added", 0)
        self.synthesis = synthesis
        self.network = evened(
            network,
            {name: narrow_ranges(x, whole.get(name)) for name, x in seen.items() if name.endswith(".first")},
        )
        self._moments = self._measured(calibration)
        self._weights: dict[str, qdq.Rounded] = {}
        self._offset = self._mean_error(calibration.photos)

    def _measured(self, calibration: Calibration) -> dict[str, np.ndarray]:
        """Second moments of what each layer's weights are multiplied with."""
        found = measure(self.network, calibration.photos, self).moments
        extremes = [*calibration.edges, *calibration.busy]
        if not extremes:
            return found
        beyond = measure(self.network, extremes, self, clamped=False).moments
        return {name: (1 - EXTREME) * found[name] + EXTREME * beyond[name] for name in found}

    def build(self, *, rearranged: bool) -> onnx.ModelProto:
        """Symbols, mean, step -> pixels, as the float synthesis. ``rearranged``: DepthToSpace is written as
        Split and Concat of rows with channels last, which ONNX Runtime does in a tenth of the time.
        """
        return self._graph(self._offset, rearranged=rearranged)

    def _graph(self, offset: np.ndarray, *, rearranged: bool) -> onnx.ModelProto:
        """As ``build``; ``offset`` (48,) is taken off the outputs of the last convolution."""
        root, latents = self._mixed_latents(grouped=rearranged)
        graph = root.branch("int8")
        y = self._stored_latents(graph, latents)
        network = self.network
        weight, bias = self.latents.read(array(network.up.weight)), array(bias_of(network.up))
        weight, bias = self.quarter.write(weight, bias, 16)
        x = self._raised(graph, y, (weight, bias), [0] * 4, "up", EVEN, rearranged)
        x = graph.node("Transpose", [x], "quarter.planes", perm=[0, 3, 1, 2]) if rearranged else x
        quarter = Stored(x, EVEN)
        weight, bias = array(network.last.weight), array(bias_of(network.last))
        read = self.quarter.read(weight)
        if self.added is not None:
            both = [quarter.name, self._added(graph, quarter, self.added).name]
            quarter = Stored(graph.node("Concat", both, "rendered", axis=1), EVEN)
            read = np.concatenate([read, self.added.read(weight)], axis=1)
        last = read, bias + np.float32(0.5) - offset
        x = self._raised(graph, quarter, last, [1] * 4, "last", PIXEL, rearranged)
        if not rearranged:
            x = graph.node("Transpose", [x], "pixels", perm=[0, 2, 3, 1])
        overflows = codec_exact.overflows(root, latents, self.limits)
        exact = codec_exact.branch(root, latents, self, order="DCR" if rearranged else "CRD")
        x = root.choice(overflows, exact, (graph, x), "pixels")
        return root.model(x, "uint8", [1, "height", "width", 3])

    def _mean_error(self, latents: Sequence[np.ndarray]) -> np.ndarray:
        """What the graph's pixels lie above those of the float synthesis on average, for each output channel
        of the last convolution (48,): flat areas round alike everywhere, and such errors do not cancel.
        """
        graph = self._graph(np.zeros(48, np.float32), rearranged=True)
        session = session_of(make("synthesis", "int8", "onnxruntime", graph), "codec")
        total, count = torch.zeros(48), 0
        for latent in latents[:: max(len(latents) // CORRECTED, 1)]:
            one = np.ones((1, latent.shape[1], 1, 1), np.float32)
            made = session.run(np.zeros_like(latent), latent, one)[0].astype(np.float32) / 255 - 0.5
            with torch.no_grad():
                wanted = self.network(torch.from_numpy(latent)).clamp(-0.5, 0.5)
            error = F.pixel_unshuffle(torch.from_numpy(made).permute(2, 0, 1)[None] - wanted, 4)[0]
            total, count = total + error.sum((1, 2)), count + error[0].numel()
        found: np.ndarray = (total / count).numpy()
        return found

    def _raised(
        self,
        graph: GraphBuilder,
        x: Stored,
        kernel: tuple[np.ndarray, np.ndarray],
        pads: list[int],
        name: str,
        result: Scale,
        rearranged: bool,
    ) -> str:
        """A convolution and DepthToSpace(4), whose output channels lie one after another: uint8 (1, C, 4 h,
        4 w), or (1, 4 h, 4 w, C) when ``rearranged``.
        """
        weight, bias = kernel
        weights, channels = self._rounded(name, weight, bias, x.scale), len(bias) // 16
        if not rearranged:
            y = qdq.conv(graph, x, weights, bias, pads, name, result)
            return graph.node("DepthToSpace", [y.name], f"{name}.raised", blocksize=4, mode="CRD")
        order = codec_exact.ordered(channels, "DCR")
        y = qdq.conv(graph, x, weights.rows(order), bias[order], pads, name, result)
        rows = graph.node("Transpose", [y.name], f"{name}.last", perm=[0, 2, 3, 1])
        # A row of a block is 4 pixels with all their channels: it stays together. Split and Concat move such
        # short rows in a third of the time of Transpose.
        axes = [graph.constant(f"{name}.axis.{k}", np.array([k], np.int64)) for k in (2, 0)]
        rows = graph.node("Unsqueeze", [rows, axes[0]], f"{name}.apart")
        rows = graph.node("Squeeze", [rows, axes[1]], f"{name}.rows")  # (h, 1, w, 16 C)
        split = graph.nodes("Split", [rows], [f"{name}.row.{i}" for i in range(4)], axis=3, num_outputs=4)
        lines = [graph.reshape(row, [0, 1, -1, channels], f"{row}.line") for row in split]
        blocks = graph.node("Concat", lines, f"{name}.blocks", axis=1)  # (h, 4, 4 w, C)
        return graph.reshape(blocks, [1, -1, 0, channels], "pixels" if name == "last" else f"{name}.raised")

    def _mixed_latents(self, *, grouped: bool) -> tuple[GraphBuilder, str]:
        """A graph with one copy of the latents in the unit of what is stored, before rounding.

        ``grouped``: neighbours are mixed by a grouped convolution, which costs ONNX Runtime nothing beside
        the factors; OpenVINO does products of small matrices faster.
        """
        copies, m = self.latents, self.synthesis.channels
        graph, x = self.synthesis.begun()
        size = _mixed(m)
        blocks = _blocks(copies.matrix()[:m], size).astype(np.float32)
        if grouped:
            kernel = graph.constant("mixing", blocks[:, :, None, None])
            moved = [x, kernel, graph.constant("shift", copies.shift[:m])]
            return graph, graph.node("Conv", moved, "latents.0", kernel_shape=[1, 1], group=m // size)
        sides = graph.node("Shape", [x], "latents.shape")
        x = graph.reshape(x, [1, m // size, size, -1], "latents.blocks")
        kernel = graph.constant("mixing", blocks.reshape(1, -1, size, size))
        x = graph.node("Reshape", [graph.node("MatMul", [kernel, x], "latents.mixed"), sides], "latents.even")
        shift = graph.constant("shift", copies.shift[:m].reshape(1, m, 1, 1))
        return graph, graph.node("Add", [x, shift], "latents.0")

    def _stored_latents(self, graph: GraphBuilder, x: str) -> Stored:
        """The mixed latents ``x`` and their further copies, rounded."""
        first, more = qdq.store(graph, x, EVEN), codec_exact.further_copies(graph, x, self.latents)
        if more is None:
            return first
        both = [first.name, qdq.store(graph, more, EVEN).name]
        return Stored(graph.node("Concat", both, "latents.stored", axis=1), EVEN)

    def _added(self, graph: GraphBuilder, x: Stored, copies: Copies) -> Stored:
        """What all layers of the renderer add to x, stored as ``copies`` says. Each sees x and what those
        before it add, in one copy of each channel; the sums have the scale of x, so that adding moves whole
        steps.
        """
        layers, seen = [*self.network.render], self.quarter.first()
        unshifted = replace(seen, shift=np.zeros_like(seen.shift))
        if seen.count < self.quarter.count:
            bounds = {"from": 0, "to": seen.count, "axis": 1}
            named = [graph.constant(f"seen.{k}", np.array([v], np.int64)) for k, v in bounds.items()]
            x = Stored(graph.node("Slice", [x.name, *named], "seen"), EVEN)
        hidden = []
        for i, layer in enumerate(layers):
            assert isinstance(layer, Residual)
            weight, bias = array(layer.first.weight), array(bias_of(layer.first))
            bias, name = bias - seen.shifted(weight), f"render.{i}"
            weights = self._rounded(f"{name}.first", seen.read(weight), bias, EVEN)
            found = qdq.conv(graph, x, weights, bias, [1] * 4, f"{name}.first", RECTIFIED)
            hidden.append(found.name)
            if i + 1 < len(layers):
                weight, bias = unshifted.write(array(layer.second.weight), array(bias_of(layer.second)), 1)
                weights = self._rounded(f"{name}.second", weight, bias, RECTIFIED)
                more = qdq.conv(graph, found, weights, bias, [0] * 4, f"{name}.second", EVEN)
                x = qdq.add(graph, x, more, name, EVEN)
        every = hidden[0] if len(hidden) == 1 else graph.node("Concat", hidden, "hidden", axis=1)
        weight = np.concatenate([array(layer.second.weight) for layer in layers], axis=1)
        bias = np.sum([array(bias_of(layer.second)) for layer in layers], axis=0)
        weight, bias = copies.write(weight, bias, 1)
        weights = self._rounded("added", weight, bias, RECTIFIED)
        return qdq.conv(graph, Stored(every, RECTIFIED), weights, bias, [0] * 4, "added", EVEN)

    def _rounded(self, name: str, weight: np.ndarray, bias: np.ndarray, x: Scale) -> qdq.Rounded:
        """The weights of a layer on inputs of scale ``x``, rounded once for all graphs."""
        if name not in self._weights:
            self._weights[name] = qdq.rounded(weight, bias, x, self._moments[name])
        return self._weights[name]


def _held(network: Synthesis, calibration: Calibration) -> dict[str, np.ndarray]:
    """Values (channels, n) by tensor that ranges must hold."""
    held = [*calibration.flats, *calibration.edges]
    if not held:
        return {}
    found = measure(network, held, skipped=1).samples
    # Sums of what layers add are stored in the ranges of what it is added to.
    sums = [values for name, values in found.items() if name.endswith(".sum")]
    return found | {"quarter": np.concatenate([found["quarter"], *sums], axis=1)}


def _mixed(channels: int) -> int:
    return MIXED if channels % MIXED == 0 else 1


def _blocks(matrix: np.ndarray, size: int) -> np.ndarray:
    """The blocks of ``size`` columns on the diagonal of a square matrix: (rows, size)."""
    rows = np.arange(len(matrix))
    found: np.ndarray = matrix[rows[:, None], (rows // size * size)[:, None] + np.arange(size)]
    return found
