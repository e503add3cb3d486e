"""The codec's synthesis in static int8 (QDQ), calibrated on latents of training photos.

One scale holds a whole tensor, and channels differ a hundredfold in range. So

* every channel's range is made the same, its scale folded into the neighbouring weights (10 to 15 dB); it
  covers not all that was ever seen, but what makes rounding and clipping together cost least;
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
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from decant_train.families.codec import Codec, Residual

from decant_export import qdq
from decant_export.codec_copies import EVEN, Copies, balanced, narrow_ranges, neighbours
from decant_export.codec_graphs import array, synthesis_inputs
from decant_export.gate import session_of
from decant_export.onnx_graph import GraphBuilder
from decant_export.qdq import Scale, Stored
from decant_export.variants import make

PIXEL = Scale(1 / 255, 0)
# Copies beyond the first, a channel: of the latents, and of the renderer's input at 1/4.
LATENT_COPIES, RENDER_COPIES = 1 / 2, 1 / 3
LIGHT_LATENT_COPIES, LIGHT_RENDER_COPIES = 3 / 8, 2 / 3  # without layers in the renderer
TOGETHER = 8  # channels that are added: of a number that 4 does not divide kernels take three times as long
MIXED = 4  # neighbouring latents that are stored as their sums and differences
UNMIXED = 4  # channels of the renderer's input that stay as they are
SKIPPED = 4  # of positions at 1/4, so many a one measured
# Rectified channels with less than this part of the largest range are not made larger than so.
LEAST_RANGE = 0.02
CORRECTED = 32  # latents on which the mean error of pixels is measured
RECTIFIED = Scale(1 / 255, 0)  # of channels that were made even: 0 to 1


class StaticCodec:
    """Builds the int8 synthesis of ``model``; ranges come from ``latents``, float32 (1, M, h, w) each."""

    def __init__(
        self,
        model: Codec,
        latents: Sequence[np.ndarray],
        latent_copies: float | None = None,
        render_copies: float | None = None,
    ) -> None:
        light = not model.config.render_layers
        if latent_copies is None:
            latent_copies = LIGHT_LATENT_COPIES if light else LATENT_COPIES
        if render_copies is None:
            render_copies = LIGHT_RENDER_COPIES if light else RENDER_COPIES
        seen = _measure(model, latents)
        gains, extra = _latent_gains(model), round(latent_copies * model.config.latents)
        mixed = neighbours(gains, _mixed(len(gains)))
        self.latents = Copies.of(seen.samples["latents"], np.diag(gains), extra, mixed)
        weight = array(model.synthesis.last.weight)
        errors = np.einsum("oihw,ojhw->ij", weight, weight)

        def stored(samples: np.ndarray, copies: float) -> Copies:
            mixed = balanced(samples, errors, UNMIXED)
            extra = round(copies * len(errors) / TOGETHER) * TOGETHER
            return Copies.of(samples, errors, extra, mixed)

        self.quarter = stored(seen.samples["quarter"], render_copies)
        self.added = None if light else stored(seen.samples["added"], 0)
        self.model = _evened(
            model, {name: narrow_ranges(x) for name, x in seen.samples.items() if name.endswith(".first")}
        )
        self._moments = _measure(self.model, latents, self).moments
        self._offset = self._mean_error(latents)

    def build(self, *, rearranged: bool) -> onnx.ModelProto:
        """Symbols, mean, step -> pixels, as the float synthesis. ``rearranged``: DepthToSpace is written as
        Split and Concat of rows with channels last, which ONNX Runtime does in a tenth of the time.
        """
        return self._graph(self._offset, rearranged=rearranged)

    def _graph(self, offset: np.ndarray, *, rearranged: bool) -> onnx.ModelProto:
        """As ``build``; ``offset`` (48,) is taken off the outputs of the last convolution."""
        network = self.model.synthesis
        graph, y = self._stored_latents(grouped=rearranged)
        weight, bias = self.latents.read(array(network.up.weight)), array(_bias(network.up))
        weight, bias = self.quarter.write(weight, bias, 16)
        x = self._raised(graph, y, (weight, bias, self._moments["up"]), [0] * 4, "up", EVEN, rearranged)
        x = graph.node("Transpose", [x], "quarter.planes", perm=[0, 3, 1, 2]) if rearranged else x
        quarter = Stored(x, EVEN)
        weight, bias = array(network.last.weight), array(_bias(network.last))
        read = self.quarter.read(weight)
        if self.added is not None:
            both = [quarter.name, self._added(graph, quarter, self.added).name]
            quarter = Stored(graph.node("Concat", both, "rendered", axis=1), EVEN)
            read = np.concatenate([read, self.added.read(weight)], axis=1)
        last = read, bias + np.float32(0.5) - offset, self._moments["last"]
        x = self._raised(graph, quarter, last, [1] * 4, "last", PIXEL, rearranged)
        if not rearranged:
            x = graph.node("Transpose", [x], "pixels", perm=[0, 2, 3, 1])
        return graph.model(x, "uint8", [1, "height", "width", 3])

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
                wanted = self.model.synthesis(torch.from_numpy(latent)).clamp(-0.5, 0.5)
            error = F.pixel_unshuffle(torch.from_numpy(made).permute(2, 0, 1)[None] - wanted, 4)[0]
            total, count = total + error.sum((1, 2)), count + error[0].numel()
        found: np.ndarray = (total / count).numpy()
        return found

    def _raised(
        self,
        graph: GraphBuilder,
        x: Stored,
        kernel: tuple[np.ndarray, np.ndarray, np.ndarray],
        pads: list[int],
        name: str,
        result: Scale,
        rearranged: bool,
    ) -> str:
        """A convolution and DepthToSpace(4), whose output channels lie one after another: uint8 (1, C, 4 h,
        4 w), or (1, 4 h, 4 w, C) when ``rearranged``.
        """
        weight, bias, moment = kernel
        channels = len(bias) // 16
        if not rearranged:
            y = qdq.conv(graph, x, weight, bias, pads, name, result, moment)
            return graph.node("DepthToSpace", [y.name], f"{name}.raised", blocksize=4, mode="CRD")
        order = np.arange(len(bias)).reshape(channels, 16).T.reshape(-1)  # position, channel
        y = qdq.conv(graph, x, weight[order], bias[order], pads, name, result, moment)
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

    def _stored_latents(self, *, grouped: bool) -> tuple[GraphBuilder, Stored]:
        """``grouped``: neighbours are mixed by a grouped convolution, which costs ONNX Runtime nothing beside
        the factors; OpenVINO does products of small matrices faster.
        """
        copies, m = self.latents, self.model.config.latents
        graph, x = synthesis_inputs(self.model)
        size = _mixed(m)
        blocks = _blocks(copies.matrix()[:m], size).astype(np.float32)
        if grouped:
            kernel = graph.constant("mixing", blocks[:, :, None, None])
            moved = [x, kernel, graph.constant("shift", copies.shift[:m])]
            x = graph.node("Conv", moved, "latents.0", kernel_shape=[1, 1], group=m // size)
        else:
            sides = graph.node("Shape", [x], "latents.shape")
            x = graph.reshape(x, [1, m // size, size, -1], "latents.blocks")
            kernel = graph.constant("mixing", blocks.reshape(1, -1, size, size))
            x = graph.node(
                "Reshape", [graph.node("MatMul", [kernel, x], "latents.mixed"), sides], "latents.even"
            )
            shift = graph.constant("shift", copies.shift[:m].reshape(1, m, 1, 1))
            x = graph.node("Add", [x, shift], "latents.0")
        first = qdq.store(graph, x, EVEN)
        if copies.count == m:
            return graph, first
        more = graph.constant("copied", copies.source[m:])
        again = graph.node("Gather", [x, more], "latents.copied", axis=1)
        moved = (copies.shift[m:] - copies.shift[copies.source[m:]]).reshape(1, -1, 1, 1)
        again = graph.node("Add", [again, graph.constant("copied.shift", moved)], "latents.1")
        both = [first.name, qdq.store(graph, again, EVEN).name]
        return graph, Stored(graph.node("Concat", both, "latents.stored", axis=1), EVEN)

    def _added(self, graph: GraphBuilder, x: Stored, copies: Copies) -> Stored:
        """What all layers of the renderer add to x, stored as ``copies`` says. Each sees x and what those
        before it add, in one copy of each channel; the sums have the scale of x, so that adding moves whole
        steps.
        """
        layers, seen = [*self.model.synthesis.render], self.quarter.first()
        unshifted = replace(seen, shift=np.zeros_like(seen.shift))
        if seen.count < self.quarter.count:
            bounds = {"from": 0, "to": seen.count, "axis": 1}
            named = [graph.constant(f"seen.{k}", np.array([v], np.int64)) for k, v in bounds.items()]
            x = Stored(graph.node("Slice", [x.name, *named], "seen"), EVEN)
        hidden = []
        for i, layer in enumerate(layers):
            assert isinstance(layer, Residual)
            weight, bias = array(layer.first.weight), array(_bias(layer.first))
            bias = bias - seen.shifted(weight)
            name, moment = f"render.{i}", self._moments[f"render.{i}.first"]
            found = qdq.conv(graph, x, seen.read(weight), bias, [1] * 4, f"{name}.first", RECTIFIED, moment)
            hidden.append(found.name)
            if i + 1 < len(layers):
                weight, bias = unshifted.write(array(layer.second.weight), array(_bias(layer.second)), 1)
                moment = self._moments[f"{name}.second"]
                more = qdq.conv(graph, found, weight, bias, [0] * 4, f"{name}.second", EVEN, moment)
                x = qdq.add(graph, x, more, name, EVEN)
        every = hidden[0] if len(hidden) == 1 else graph.node("Concat", hidden, "hidden", axis=1)
        weight = np.concatenate([array(layer.second.weight) for layer in layers], axis=1)
        bias = np.sum([array(_bias(layer.second)) for layer in layers], axis=0)
        weight, bias = copies.write(weight, bias, 1)
        moment = self._moments["added"]
        return qdq.conv(graph, Stored(every, RECTIFIED), weight, bias, [0] * 4, "added", EVEN, moment)


@torch.no_grad()
def _evened(model: Codec, ranges: dict[str, np.ndarray]) -> Codec:
    """A copy of ``model`` that decodes alike, in whose renderer every rectified channel has the same range:
    ReLU takes a positive factor through, so the layer before is multiplied with it and that after divided.
    """
    model = copy.deepcopy(model)
    for i, layer in enumerate(model.synthesis.render):
        assert isinstance(layer, Residual)
        factor = torch.from_numpy(_even_factor(ranges[f"render.{i}.first"]))
        layer.first.weight *= factor[:, None, None, None]
        _bias(layer.first).mul_(factor)
        layer.second.weight /= factor[:, None, None]
    return model


def _even_factor(ranges: np.ndarray) -> np.ndarray:
    found: np.ndarray = 1 / np.maximum(ranges, max(float(ranges.max()) * LEAST_RANGE, 1e-6))
    return found


@dataclass
class _Seen:
    """What was measured: values (channels, n) of every tensor, or the second moments (k, k) of what the
    kernels of every layer are multiplied with.
    """

    samples: dict[str, np.ndarray] = field(default_factory=dict)
    moments: dict[str, np.ndarray] = field(default_factory=dict)


@torch.no_grad()
def _measure(
    model: Codec,
    latents: Sequence[np.ndarray],
    stored: StaticCodec | None = None,
) -> _Seen:
    """Over all ``latents``: samples, or moments when it is known how tensors are ``stored``."""
    found = _Seen()
    samples: dict[str, list[np.ndarray]] = {}

    def see(name: str, x: torch.Tensor) -> torch.Tensor:
        if stored is None:
            part = SKIPPED if x.shape[2] > latent.shape[2] else 1
            samples.setdefault(name, []).append(x[0].flatten(1).numpy()[:, ::part])
        return x

    def given(name: str, x: torch.Tensor, side: int, noise: float = 0.0) -> None:
        rows = F.unfold(x, side, padding=side // 2)[0]
        if x.shape[2] > latent.shape[2]:
            rows = rows[:, ::SKIPPED]
        moment = (rows @ rows.T).double().numpy() / rows.shape[1]
        moment += np.eye(len(moment)) * noise
        found.moments[name] = found.moments.get(name, 0) + moment / len(latents)

    network, rounding = model.synthesis, EVEN.step**2 / 12
    for latent in latents:
        y = see("latents", torch.from_numpy(latent))
        start = x = see("quarter", F.pixel_shuffle(network.up(y), 4))
        hidden = []
        for i, layer in enumerate(network.render):
            assert isinstance(layer, Residual)
            hidden.append(see(f"render.{i}.first", F.relu(layer.first(x))))
            if stored is not None:
                given(f"render.{i}.first", stored.quarter.first().store(x), 3, rounding)
                given(f"render.{i}.second", hidden[-1], 1)
            x = x + layer.second(hidden[-1])
        if hidden:
            see("added", x - start)
        if stored is not None:
            given("up", stored.latents.store(y), 1, rounding)
            kept = [stored.quarter.store(start)]
            if stored.added is not None:
                given("added", torch.cat(hidden, 1), 1)
                kept.append(stored.added.store(x - start))
            given("last", torch.cat(kept, 1), 3, rounding)
    found.samples = {name: np.concatenate(rows, axis=1) for name, rows in samples.items()}
    return found


def _mixed(channels: int) -> int:
    return MIXED if channels % MIXED == 0 else 1


def _blocks(matrix: np.ndarray, size: int) -> np.ndarray:
    """The blocks of ``size`` columns on the diagonal of a square matrix: (rows, size)."""
    rows = np.arange(len(matrix))
    found: np.ndarray = matrix[rows[:, None], (rows // size * size)[:, None] + np.arange(size)]
    return found


@torch.no_grad()
def _latent_gains(model: Codec) -> np.ndarray:
    """Squared error of all pixels for an error of 1 in one latent of each channel (channels,), by the linear
    path.
    """
    network, m = model.synthesis, model.config.latents
    gains = np.zeros(m, np.float32)
    for channels in torch.split(torch.arange(m), 32):
        single = torch.zeros(len(channels), m, 3, 3)
        single[torch.arange(len(channels)), channels, 1, 1] = 1
        made = F.conv2d(
            F.pixel_shuffle(F.conv2d(single, network.up.weight), 4), network.last.weight, padding=1
        )
        gains[channels.numpy()] = made.square().sum((1, 2, 3)).numpy()
    return gains


def _bias(layer: torch.nn.Conv2d) -> torch.Tensor:
    assert layer.bias is not None
    return layer.bias
