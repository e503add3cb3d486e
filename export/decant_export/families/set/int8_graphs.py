"""The decoder of the family ``set`` in static int8, with every transposed convolution rewritten exactly.

ConvTranspose k4 s2 p1 writes every output pixel from 2 x 2 inputs. So it is a 2 x 2 convolution with four
times the channels, padded by one, then DepthToSpace(2), then one pixel cut off each side: cell g of the
convolution holds rows 2 g - 1 and 2 g. No multiplication is added (a 3 x 3 form aligned to the cells spends
2.25 times as many). The residual shortcut, ConvTranspose k1 s2, is a 1 x 1 convolution that writes only one
of the four.
"""

from collections.abc import Mapping

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from decant_train.published.set.model import DecoderBlock, SetAutoencoder
from torch import Tensor, nn

from decant_export.common import qdq
from decant_export.common.gate import evenly
from decant_export.common.linears import balanced, groups_of, spread, widened
from decant_export.common.onnx_graph import GraphBuilder
from decant_export.common.pictures import PICTURE, to_pixels
from decant_export.common.qdq import Scale, Stored
from decant_export.common.tensors import array
from decant_export.families.set.float_graphs import four_phases, unfolded

# Logits beyond this give the same pixel: sigmoid(6.24) * 255 = 254.5.
SATURATED = 6.24
MEASURED = 256  # latents that the ranges of the layers are measured over
BATCH = 16
Ranges = Mapping[str, tuple[float, float]]


class StaticSynthesis:
    """Builds the graph; what is left to choose is how much of each layer's range is kept (``knobs``)."""

    def __init__(self, model: SetAutoencoder, latents: np.ndarray) -> None:
        """``latents``: float32 (k, latent_dim), calibration: ranges are what these need."""
        self.model = model
        self._ranges = measure(model, evenly(latents, MEASURED))
        # The bias is one more row of weights, whose input is a constant: the product is stored with it.
        linear = model.decoder.linear
        self._linear = balanced(np.vstack([array(linear.weight).T, array(linear.bias)]))
        self._inputs = np.append(latents, np.ones((len(latents), 1), np.float32), axis=1) * self._linear[1]

    @property
    def knobs(self) -> tuple[str, ...]:
        """Names of the stored layers, in the order of the graph.

        Not the logits: clipping those is what black and white show first.
        """
        return tuple(name for name in self._ranges if name != "decoder.last")

    def build(self, kept: Mapping[str, float]) -> onnx.ModelProto:
        """Latents float32 (n, latent_dim) -> pixels uint8 (n, S, S, 3).

        ``kept``: the part of its range, 0..1, that each layer stores (1 where not named); what lies outside
        is clipped, and the rest has finer steps.
        """
        config, decoder = self.model.config, self.model.decoder

        def scale(name: str) -> Scale:
            lowest, highest = self._ranges[name]
            return Scale.covering(lowest * kept.get(name, 1), highest * kept.get(name, 1))

        graph = GraphBuilder("synthesis", "latents", "float32", ["n", config.latent_dim])
        x = spread_linear(graph, "latents", *self._linear, self._inputs, scale("decoder.linear"))
        x = Stored(graph.reshape(x.name, [-1, *decoder.grid], "decoder.grid"), x.scale)
        side = decoder.grid[1]
        for i, block in enumerate(decoder.blocks):
            assert isinstance(block, DecoderBlock)
            name = f"decoder.blocks.{i}"
            kernel, bias = four_phases(block.conv)
            y = qdq.conv(graph, x, kernel, bias, [1] * 4, f"{name}.conv", scale(f"{name}.conv"))
            if block.shortcut is not None:
                kernel, bias = last_phase(block.shortcut)
                skipped = qdq.conv(
                    graph, x, kernel, bias, [0, 0, 1, 1], f"{name}.shortcut", scale(f"{name}.shortcut")
                )
                y = qdq.add(graph, y, skipped, name, scale(name))
            x, side = Stored(unfolded(graph, y.name, side, f"{name}.pixels"), y.scale), 2 * side
        kernel, bias = four_phases(decoder.last)
        x = qdq.conv(graph, x, kernel, bias, [1] * 4, "decoder.last", scale("decoder.last"))
        x = Stored(unfolded(graph, x.name, side, "decoder.last.pixels"), x.scale)
        logits = qdq.restore(graph, x, "logits")
        pixels = to_pixels(graph, graph.node("Sigmoid", [logits], PICTURE))
        return graph.model(pixels, "uint8", ["n", config.image_size, config.image_size, 3])


def spread_linear(
    graph: GraphBuilder, x: str, weight: np.ndarray, factors: np.ndarray, inputs: np.ndarray, result: Scale
) -> Stored:
    """The Linear layer of ``x``, the latents, and its ReLU, as "decoder.linear".

    ``weight`` (latents + 1, outputs), the bias its last row, and ``factors`` (latents + 1,) as
    ``linears.balanced`` gives them; ``inputs`` (k, latents + 1): what the factors make of latents and a one,
    for their range.
    """
    count = len(factors)
    groups = groups_of(*weight.shape)
    # Gemm writes factors * (latents, 1) on the diagonal of a (groups, groups) matrix.
    placed = spread(factors, groups) * np.eye(count, dtype=np.float32)[:, None, None, :]
    placed = placed.reshape(count, -1)
    values = [graph.constant("latents.place", placed[:-1]), graph.constant("latents.one", placed[-1])]
    x = graph.node("Gemm", [x, *values], "latents.spread")
    x = graph.reshape(x, [-1, groups, groups * count], "latents.rows")
    stored = qdq.store(graph, x, Scale.covering(inputs.min(), inputs.max()))
    return qdq.matmul(graph, stored, widened(weight, groups), "decoder.linear", result)


def last_phase(layer: nn.ConvTranspose2d) -> tuple[np.ndarray, np.ndarray]:
    """ConvTranspose k1 s2 output_padding 1 -> kernel (4 * out, in, 1, 1) and bias (4 * out,): row 2 g is a
    cell's second.
    """
    weight = array(layer.weight)
    kernel = np.zeros((weight.shape[1], 4, weight.shape[0], 1, 1), np.float32)
    kernel[:, 3] = weight.transpose(1, 0, 2, 3)
    return kernel.reshape(-1, weight.shape[0], 1, 1), array(layer.bias).repeat(4)


@torch.no_grad()
def measure(model: SetAutoencoder, latents: np.ndarray) -> Ranges:
    """Smallest and largest value of every layer of the decoder over ``latents``, by name."""
    decoder = model.decoder
    ranges: dict[str, tuple[float, float]] = {}

    def seen(name: str, x: Tensor) -> Tensor:
        lowest, highest = ranges.get(name, (0.0, 0.0))
        ranges[name] = (min(lowest, float(x.min())), max(highest, float(x.max())))
        return x

    for batch in torch.split(torch.from_numpy(latents), BATCH):
        x = seen("decoder.linear", F.relu(decoder.linear(batch))).reshape(-1, *decoder.grid)
        for i, block in enumerate(decoder.blocks):
            assert isinstance(block, DecoderBlock)
            name = f"decoder.blocks.{i}"
            y = seen(f"{name}.conv", F.relu(block.conv(x)))
            if block.shortcut is not None:
                y = seen(name, y + seen(f"{name}.shortcut", block.shortcut(x)))
            x = y
        seen("decoder.last", decoder.last(x).clamp(-SATURATED, SATURATED))
    return ranges
