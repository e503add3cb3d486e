"""The decoder of the family ``digits`` in static int8, its doubled convolutions in their 2x2 form."""

from collections.abc import Mapping

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from decant_train.published.digits import model as digits
from decant_train.published.digits.model import SIDE, DigitAutoencoder
from torch import Tensor

from decant_export.common import qdq
from decant_export.common.gate import evenly
from decant_export.common.linears import balanced
from decant_export.common.onnx_graph import GraphBuilder
from decant_export.common.pictures import to_pixels
from decant_export.common.qdq import Scale, Stored
from decant_export.common.tensors import array
from decant_export.families.digits.float_graphs import as_phases, three
from decant_export.families.set.float_graphs import unfolded
from decant_export.families.set.int8_graphs import SATURATED, Ranges, spread_linear

MEASURED = 1024  # latents that the ranges of the layers are measured over


class StaticDigits:
    """Builds the graph; what is left to choose is how much of each layer's range is kept (``knobs``)."""

    def __init__(self, model: DigitAutoencoder, latents: np.ndarray) -> None:
        """``latents``: float32 (k, latent_dim), calibration: ranges are what these need."""
        self.model = model
        self._ranges = measure(model, evenly(latents, MEASURED))
        linear = model.decoder.linear
        # The bias is one more row of weights, whose input is a constant.
        self._linear = balanced(np.vstack([array(linear.weight).T, array(linear.bias)]))
        ends = np.array([[-1.0], [1.0]], np.float32)
        self._inputs = ends * self._linear[1]

    @property
    def knobs(self) -> tuple[str, ...]:
        """Names of the stored layers, in the order of the graph; not the logits, which black and white need
        whole.
        """
        return tuple(name for name in self._ranges if name != "decoder.up2")

    def build(self, kept: Mapping[str, float]) -> onnx.ModelProto:
        """Latents float32 (n, latent_dim) -> pixels uint8 (n, 28, 28, 3).

        ``kept``: the part of its range, 0..1, that each layer stores (1 where not named); what lies outside
        is clipped, and the rest has finer steps.
        """
        decoder = self.model.decoder

        def scale(name: str) -> Scale:
            lowest, highest = self._ranges[name]
            return Scale.covering(lowest * kept.get(name, 1), highest * kept.get(name, 1))

        graph = GraphBuilder("synthesis", "latents", "float32", ["n", self.model.config.latent_dim])
        # Not folded into the layer as in float: its bias would be large, and with it the step of all inputs.
        two, one = (graph.constant(f"latents.by{v}", np.float32(v)) for v in (2, 1))
        centred = graph.node("Mul", ["latents", two], "latents.doubled")
        centred = graph.node("Sub", [centred, one], "latents.centred")
        x = spread_linear(graph, centred, *self._linear, self._inputs, scale("decoder.linear"))
        x = Stored(graph.reshape(x.name, [-1, *decoder.grid], "decoder.grid"), x.scale)
        side = decoder.grid[1]
        for plain, up in (("conv1", "up1"), ("conv2", "up2")):
            layer, name = getattr(decoder, plain), f"decoder.{plain}"
            x = qdq.conv(graph, x, array(layer.weight), array(layer.bias), [1] * 4, name, scale(name))
            name = f"decoder.{up}"
            x = qdq.conv(graph, x, *as_phases(getattr(decoder, up)), [1] * 4, name, scale(name))
            x, side = Stored(unfolded(graph, x.name, side, f"{name}.pixels"), x.scale), 2 * side
        grey = graph.node("Sigmoid", [qdq.restore(graph, x, "logits")], "grey")
        return graph.model(to_pixels(graph, three(graph, grey)), "uint8", ["n", SIDE, SIDE, 3])


@torch.no_grad()
def measure(model: DigitAutoencoder, latents: np.ndarray) -> Ranges:
    """Smallest and largest value of every layer of the decoder over ``latents``, by name."""
    decoder = model.decoder
    ranges: dict[str, tuple[float, float]] = {}

    def seen(name: str, x: Tensor) -> Tensor:
        ranges[f"decoder.{name}"] = (float(x.min()), float(x.max()))
        return x

    x = seen("linear", F.relu(decoder.linear(2 * torch.from_numpy(latents) - 1))).reshape(-1, *decoder.grid)
    x = seen("conv1", F.relu(decoder.conv1(x)))
    x = seen("up1", F.relu(digits.doubled(decoder.up1, x)))
    x = seen("conv2", F.relu(decoder.conv2(x)))
    seen("up2", digits.doubled(decoder.up2, x).clamp(-SATURATED, SATURATED))
    return ranges
