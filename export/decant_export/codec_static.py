"""The codec's synthesis in static int8 (QDQ), calibrated on latents of training photos.

One scale holds a whole tensor, and channels differ a hundredfold in range. So

* every channel's range is made the same, its scale folded into the neighbouring weights (10 to 15 dB);
* the widest channels are stored more than once, each copy shifted by a part of a step and read with a part of
  the weight: n copies have n times the resolution, and their weights no longer set the step of all others
  (outlier channel splitting, Zhao et al. 2019; another 5 to 8 dB);
* so are the body's channels, exactly, and it is stored around its middle: both signs serve (3 dB);
* weights are rounded so that products, not weights, change least (GPTQ; 3 to 6 dB);
* the body shares the latents' scale, so that both go through one convolution;
* the last convolution gives pixels: its steps are those of uint8, its rounding is the picture's.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from decant_train.families.codec import Codec, Residual

from decant_export import qdq
from decant_export.codec_graphs import array, synthesis_inputs
from decant_export.onnx_graph import GraphBuilder
from decant_export.qdq import Scale, Stored

EVEN = Scale(1 / 127.5, 128)  # of a tensor whose channels were brought to -1..1
PIXEL = Scale(1 / 255, 0)
# Copies beyond the first, a channel: of the latents, and of the renderer's input at 1/4.
LATENT_COPIES, RENDER_COPIES = 5 / 16, 1 / 2
# Channels of the body with less than this part of the largest range are not made larger than so.
LEAST_RANGE = 0.02
BODY_MIDDLE = np.float32(0.5)  # of the evened body's channels, which reach from 0 to 1: 0 stays exact


@dataclass(frozen=True)
class Copies:
    """How the channels of a tensor are stored: ``source`` (k,) is the channel of each stored one, ``factor``
    (channels,) brings a channel to -1..1, ``shift`` (k,) is added in that unit before rounding.
    """

    source: np.ndarray
    factor: np.ndarray
    shift: np.ndarray

    @classmethod
    def of(cls, ranges: np.ndarray, extra: int) -> "Copies":
        """``extra`` further copies, each given to the channel whose steps are then the widest; ``ranges``
        float32 (channels,) are the largest magnitudes.
        """
        ranges = np.maximum(ranges, 1e-6)
        counts = np.ones(len(ranges), np.int64)
        for _ in range(extra):
            counts[np.argmax(ranges / counts)] += 1
        source = np.concatenate([np.arange(len(ranges)), np.repeat(np.arange(len(ranges)), counts - 1)])
        # Copy i of n is shifted by (i + 1/2) / n - 1/2 steps: together they see every n-th of a step.
        turn = np.zeros(len(ranges), np.int64)
        shift = np.zeros(len(source), np.float32)
        for k, channel in enumerate(source):
            shift[k] = ((turn[channel] + 0.5) / counts[channel] - 0.5) * EVEN.step
            turn[channel] += 1
        return cls(source, (1 / ranges).astype(np.float32), shift)

    @property
    def count(self) -> int:
        """Stored channels."""
        return len(self.source)

    def read(self, weight: np.ndarray) -> np.ndarray:
        """Weight (out, channels, h, w) on the real values -> (out, k, h, w) on the stored ones."""
        copies = np.bincount(self.source)
        each = weight / (self.factor * copies)[None, :, None, None]
        taken: np.ndarray = each[:, self.source]
        return taken

    def write(self, weight: np.ndarray, bias: np.ndarray, repeat: int) -> tuple[np.ndarray, np.ndarray]:
        """Weight (channels * repeat, in, h, w) and bias that give real values -> those that give stored ones;
        a channel has ``repeat`` rows, one after another.
        """
        rows = (self.source[:, None] * repeat + np.arange(repeat)).reshape(-1)
        factor = np.repeat(self.factor[self.source], repeat)
        return weight[rows] * factor[:, None, None, None], bias[rows] * factor + np.repeat(self.shift, repeat)

    def moment(self, real: np.ndarray, taps: int, more: float = 1.0) -> np.ndarray:
        """Second moment of the stored values, ``taps`` a channel, from that of the real ones; channels beyond
        those stored so are real values times ``more``.
        """
        extra = len(real) // taps - len(self.factor)
        source = np.append(self.source, len(self.factor) + np.arange(extra))
        factor = np.append(self.factor[self.source], np.full(extra, more))
        rows = (source[:, None] * taps + np.arange(taps)).reshape(-1)
        scale = np.repeat(factor, taps)
        found: np.ndarray = real[np.ix_(rows, rows)] * scale[:, None] * scale
        return found + np.eye(len(rows)) * EVEN.step**2 / 12  # copies differ by their rounding


class StaticCodec:
    """Builds the int8 synthesis of ``model``; ranges come from ``latents``, float32 (1, M, h, w) each."""

    def __init__(
        self,
        model: Codec,
        latents: Sequence[np.ndarray],
        latent_copies: float = LATENT_COPIES,
        render_copies: float = RENDER_COPIES,
    ) -> None:
        self.model = model = _evened(model, _measure(model, latents)[0])
        self.ranges, self._moments = _measure(model, latents)
        self.latents = Copies.of(self.ranges["latents"], round(latent_copies * model.config.latents))
        # The renderer's input has room for its sums, which then have its scale: adding moves whole steps.
        sums = [value for name, value in self.ranges.items() if name == "quarter" or name.endswith(".sum")]
        self.quarter = Copies.of(np.max(sums, axis=0), round(render_copies * model.config.render_width))

    def build(self, *, rearranged: bool) -> onnx.ModelProto:
        """Symbols, mean, step -> pixels, as the float synthesis. ``rearranged``: DepthToSpace is written as
        Reshape and Transpose with channels last, which ONNX Runtime does in a third of the time.
        """
        network = self.model.synthesis
        graph, y = self._stored_latents()
        factor = 1.0
        weight, bias = self.latents.read(array(network.up.weight)), array(_bias(network.up))
        if network.entry is not None and network.up_body is not None:
            body, factor = self._body(graph, y)
            y = Stored(graph.node("Concat", [y.name, body.name], "latents.body", axis=1), EVEN)
            weight = np.concatenate([weight, array(network.up_body.weight) * factor], axis=1)
            bias = bias + array(network.up_body.weight).sum(axis=(1, 2, 3)) * BODY_MIDDLE
        weight, bias = self.quarter.write(weight, bias, 16)
        moment = self.latents.moment(self._moments["up"], 1, 1 / factor)
        x = self._raised(graph, y, (weight, bias, moment), [0] * 4, "up", EVEN, rearranged)
        x = graph.node("Transpose", [x], "quarter.planes", perm=[0, 3, 1, 2]) if rearranged else x
        quarter = Stored(x, EVEN)
        for i, layer in enumerate(network.render):
            quarter = self._render(graph, quarter, layer, i)
        weight, bias = self.quarter.read(array(network.last.weight)), array(_bias(network.last))
        last = weight, bias + np.float32(0.5), self.quarter.moment(self._moments["last"], 9)
        x = self._raised(graph, quarter, last, [1] * 4, "last", PIXEL, rearranged)
        if not rearranged:
            x = graph.node("Transpose", [x], "pixels", perm=[0, 2, 3, 1])
        return graph.model(x, "uint8", [1, "height", "width", 3])

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
        # A row of a block is 4 pixels with all their channels: it stays together.
        shape = graph.node("Shape", [rows], f"{name}.shape", start=1, end=3)
        four = graph.constant(f"{name}.four", np.array([4, 4], np.int64))
        ends = [
            graph.constant(f"{name}.{k}", np.array([v], np.int64)) for k, v in (("n", 1), ("c", channels))
        ]
        larger = graph.node("Mul", [shape, four], f"{name}.sides")
        wanted = graph.node("Concat", [ends[0], larger, ends[1]], f"{name}.wanted", axis=0)
        rows = graph.reshape(rows, [0, 0, 0, 4, 4 * channels], f"{name}.blocks")
        rows = graph.node("Transpose", [rows], f"{name}.rows", perm=[0, 1, 3, 2, 4])
        return graph.node("Reshape", [rows, wanted], "pixels" if name == "last" else f"{name}.raised")

    def _stored_latents(self) -> tuple[GraphBuilder, Stored]:
        copies, m = self.latents, self.model.config.latents
        graph, y = synthesis_inputs(m)
        factor, shift = copies.factor[copies.source], copies.shift
        even = graph.node("Mul", [y, graph.constant("even", factor[:m].reshape(1, m, 1, 1))], "latents.even")
        shifted = graph.node(
            "Add", [even, graph.constant("shift", shift[:m].reshape(1, m, 1, 1))], "latents.0"
        )
        stored = qdq.store(graph, shifted, EVEN)
        if copies.count == m:
            return graph, stored
        more = graph.constant("copied", copies.source[m:])
        x = graph.node("Gather", [even, more], "latents.copied", axis=1)
        offset = graph.constant("copied.shift", shift[m:].reshape(1, -1, 1, 1))
        again = qdq.store(graph, graph.node("Add", [x, offset], "latents.1"), EVEN)
        both = graph.node("Concat", [stored.name, again.name], "latents.stored", axis=1)
        return graph, Stored(both, EVEN)

    def _body(self, graph: GraphBuilder, y: Stored) -> tuple[Stored, float]:
        """The body at 1/16, stored in the latents' scale; real value = factor * what that scale says +
        BODY_MIDDLE.
        """
        network = self.model.synthesis
        assert network.entry is not None
        top = float(self.ranges["body"].max())
        scale = Scale(top / 255, 0)
        weight = self.latents.read(array(network.entry.weight))
        moment = self.latents.moment(self._moments["entry"], 1)
        x = qdq.conv(graph, y, weight, array(_bias(network.entry)), [0] * 4, "entry", scale, moment)
        for i, block in enumerate(network.body):
            assert isinstance(block, Residual)
            inner = Scale(float(self.ranges[f"body.{i}.first"].max()) / 255, 0)
            first = array(block.first.weight), array(_bias(block.first))
            moment = self._moments[f"body.{i}.first"]
            z = qdq.conv(graph, x, *first, [1] * 4, f"body.{i}.first", inner, moment)
            second = array(block.second.weight), array(_bias(block.second))
            most = float(self.ranges[f"body.{i}.second"].max())
            span, moment = Scale.covering(-most, most), self._moments[f"body.{i}.second"]
            z = qdq.conv(graph, z, *second, [1] * 4, f"body.{i}.second", span, moment)
            x = qdq.add(graph, x, z, f"body.{i}", scale)
        # Stored again in the latents' scale, around its middle so that all levels serve.
        half = top - BODY_MIDDLE
        real = qdq.restore(graph, x, "body.real")
        centred = graph.node("Sub", [real, graph.constant("body.middle", BODY_MIDDLE)], "body.centred")
        scale_down = graph.constant("body.scale", np.float32(127 / 127.5 / half))
        scaled = graph.node("Mul", [centred, scale_down], "body")
        return qdq.store(graph, scaled, EVEN), float(half * 127.5 / 127)

    def _render(self, graph: GraphBuilder, x: Stored, layer: torch.nn.Module, i: int) -> Stored:
        """x + relu(conv(x)) at 1/4, in the factors of x throughout."""
        assert isinstance(layer, torch.nn.Conv2d)
        copies = self.quarter
        weight, bias = copies.write(copies.read(array(layer.weight)), array(_bias(layer)), 1)
        bias = bias - copies.shift  # x has it already
        most = float((self.ranges[f"render.{i}"] * copies.factor).max())
        moment = copies.moment(self._moments[f"render.{i}"], 9)
        y = qdq.conv(graph, x, weight, bias, [1] * 4, f"render.{i}", Scale(most / 255, 0), moment)
        return qdq.add(graph, x, y, f"render.{i}.sum", EVEN)


@torch.no_grad()
def _evened(model: Codec, ranges: dict[str, np.ndarray]) -> Codec:
    """A copy of ``model`` that decodes alike, in whose body every channel has the same range: ReLU takes a
    positive factor through, so the layer before is multiplied with it and those after divided.
    """
    model = copy.deepcopy(model)
    network = model.synthesis
    if network.entry is None or network.up_body is None:
        return model

    def factor(name: str) -> torch.Tensor:
        most = torch.from_numpy(ranges[name])
        return 1 / most.clamp_min(float(most.max()) * LEAST_RANGE)

    body = factor("body")
    _scale_outputs(network.entry, body)
    network.up_body.weight /= body[:, None, None]
    for i, block in enumerate(network.body):
        assert isinstance(block, Residual)
        inner = factor(f"body.{i}.first")
        block.first.weight /= body[:, None, None]
        _scale_outputs(block.first, inner)
        block.second.weight /= inner[:, None, None]
        _scale_outputs(block.second, body)
    return model


def _scale_outputs(layer: torch.nn.Conv2d, factor: torch.Tensor) -> None:
    layer.weight *= factor[:, None, None, None]
    _bias(layer).mul_(factor)


@torch.no_grad()
def _measure(
    model: Codec, latents: Sequence[np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Over all ``latents``: the largest magnitude of every channel of every stored tensor, and the second
    moments (k, k) of what the kernels of every layer are multiplied with.
    """
    ranges: dict[str, np.ndarray] = {}
    moments: dict[str, np.ndarray] = {}

    def see(name: str, x: torch.Tensor) -> torch.Tensor:
        most = x.abs().amax((0, 2, 3)).numpy()
        ranges[name] = np.maximum(ranges.get(name, most), most)
        return x

    def run(name: str, layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        assert isinstance(layer, torch.nn.Conv2d)
        side = layer.kernel_size[0]
        moments[name] = moments.get(name, 0) + _second_moment(F.unfold(x, side, padding=side // 2))
        result: torch.Tensor = layer(x)
        return result

    network = model.synthesis
    for latent in latents:
        y = see("latents", torch.from_numpy(latent))
        if network.entry is not None and network.up_body is not None:
            body = see("body", F.relu(run("entry", network.entry, y)))
            for i, block in enumerate(network.body):
                assert isinstance(block, Residual)
                inner = see(f"body.{i}.first", F.relu(run(f"body.{i}.first", block.first, body)))
                added = see(f"body.{i}.second", run(f"body.{i}.second", block.second, inner))
                body = see("body", F.relu(body + added))
            both = torch.cat((y, body - BODY_MIDDLE.item()), 1)
            moments["up"] = moments.get("up", 0) + _second_moment(both)
            x = network.up(y) + network.up_body(body)
        else:
            x = run("up", network.up, y)
        x = see("quarter", F.pixel_shuffle(x, 4))
        for i, layer in enumerate(network.render):
            rendered = see(f"render.{i}", F.relu(run(f"render.{i}", layer, x)))
            x = see(f"render.{i}.sum", x + rendered)
        run("last", network.last, x)
    return ranges, {name: moment / len(latents) for name, moment in moments.items()}


def _second_moment(x: torch.Tensor) -> np.ndarray:
    rows = x[0].flatten(1)
    moment: np.ndarray = (rows @ rows.T).double().numpy() / rows.shape[1]
    return moment


def _bias(layer: torch.nn.Conv2d) -> torch.Tensor:
    assert layer.bias is not None
    return layer.bias
