"""ONNX graphs of the family ``color``: in float, and in static int8.

The transposed convolutions of the branch are written as what they are, exactly: a convolution and a
DepthToSpace (``set.float_graphs.four_phases``). In static int8 every layer of the branch is quantized; the
linear path, which carries the picture, stays float.
"""

from collections.abc import Mapping

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from decant.layouts.fixed import FixedLayout
from decant.layouts.levels import LevelsLayout
from decant_train.published.color.model import BLOCK, CENTRE, ColorAutoencoder, level_values
from torch import Tensor, nn

from decant_export.common import qdq
from decant_export.common.family import StaticGraph
from decant_export.common.fixed_family import FixedFamily
from decant_export.common.onnx_graph import GraphBuilder
from decant_export.common.pictures import PICTURE, from_pixels, to_pixels
from decant_export.common.qdq import Scale, Stored
from decant_export.common.tensors import array
from decant_export.errors import ExportError
from decant_export.families.set.float_graphs import four_phases, unfolded

REFERENCE_BATCH = 64
Ranges = Mapping[str, tuple[float, float]]


class ColorGraphs(FixedFamily):
    """A checkpoint of the family."""

    model: ColorAutoencoder
    batch = REFERENCE_BATCH

    def synthesis(self) -> onnx.ModelProto:
        """See FixedFamily."""
        graph = _begun(self.model)
        x = _coefficients(graph, self.model)
        straight = _straight(graph, self.model, x)
        decoder = self.model.decoder
        x = graph.node(
            "Conv",
            [x, *_parameters(graph, decoder.first, "decoder.first")],
            "decoder.first",
            kernel_shape=[3, 3],
            pads=[1] * 4,
        )
        side = self.model.config.side
        for i, conv in enumerate(decoder.convs):
            assert isinstance(conv, nn.ConvTranspose2d)
            name = f"decoder.convs.{i}"
            x = graph.node("Relu", [x], f"{name}.x")
            kernel, bias = four_phases(conv)
            parameters = [graph.constant(f"{name}.weight", kernel), graph.constant(f"{name}.bias", bias)]
            x = graph.node("Conv", [x, *parameters], f"{name}.phases", kernel_shape=[2] * 2, pads=[1] * 4)
            x, side = unfolded(graph, x, side, name), 2 * side
        return _ended(graph, self.model, straight, x)

    def analysis(self) -> onnx.ModelProto:
        """See FixedFamily."""
        config, encoder = self.model.config, self.model.encoder
        size = config.image_size
        graph = GraphBuilder("analysis", "pixels", "uint8", ["n", size, size, 3])
        image = from_pixels(graph, "pixels")
        straight = _convolved(graph, encoder.linear, image, "encoder.linear")
        x = image
        for i, conv in enumerate(encoder.convs):
            assert isinstance(conv, nn.Conv2d)
            name = f"encoder.convs.{i}"
            x = graph.node("Relu", [_convolved(graph, conv, x, name)], f"{name}.relu")
        x = graph.node("Add", [straight, _convolved(graph, encoder.last, x, "encoder.last")], "encoder.sum")
        x = graph.node("Clip", [x, *_bounds(graph, "latents")], "latents")
        return graph.model(x, "float32", ["n", config.channels, config.side, config.side])

    def static(self, latents: np.ndarray) -> StaticGraph:
        """See FixedFamily."""
        return StaticSynthesis(self.model, latents)

    def known_latents(self) -> np.ndarray | None:
        """See FixedFamily."""
        known = array(self.model.known)
        known = known[known.any(axis=(1, 2, 3))]
        return known if len(known) else None  # zeros: no save has filled them yet

    def layout(self, coding: str, latents: np.ndarray) -> FixedLayout:
        """The levels that the network was trained with, whatever ``coding`` says. Raises ExportError where no
        save has counted them.
        """
        model, config = self.model, self.model.config
        if not model.depth_counts.any():
            raise ExportError("the checkpoint's levels are not counted yet: no save has finished")
        counts = [model.get_buffer(f"counts_{i}").numpy() for i in range(len(config.depths))]
        return LevelsLayout(
            channels=config.channels,
            height=config.side,
            width=config.side,
            region=config.region,
            depths=config.depths,
            depth_counts=model.depth_counts.numpy().astype(np.uint32),
            counts=tuple(table.astype(np.uint32) for table in counts),
            thresholds=array(model.thresholds),
            values=tuple(map(level_values, config.depths)),
        )


class StaticSynthesis:
    """The synthesis whose branch is in static int8; what is left to choose is how much of each layer's range
    is kept (``knobs``).
    """

    def __init__(self, model: ColorAutoencoder, latents: np.ndarray) -> None:
        """``latents``: float32 (k, C, h, w), calibration: ranges are what these need."""
        self.model = model
        self._ranges = measure(model, latents)

    @property
    def knobs(self) -> tuple[str, ...]:
        """Names of the stored tensors, in the order of the graph."""
        return tuple(self._ranges)

    def build(self, kept: Mapping[str, float]) -> onnx.ModelProto:
        """Latents float32 (n, C, h, w) -> pixels uint8 (n, S, S, 3). ``kept``: the part of its range, 0..1,
        that each layer stores (1 where not named).
        """

        def scale(name: str) -> Scale:
            lowest, highest = self._ranges[name]
            return Scale.covering(lowest * kept.get(name, 1), highest * kept.get(name, 1))

        decoder = self.model.decoder
        graph = _begun(self.model)
        coefficients = _coefficients(graph, self.model)
        straight = _straight(graph, self.model, coefficients)
        x = qdq.store(graph, coefficients, scale("coefficients"))
        first = array(decoder.first.weight), array(decoder.first.bias)
        x = qdq.conv(graph, x, *first, [1] * 4, "decoder.first", scale("decoder.first"))
        side = self.model.config.side
        for i, conv in enumerate(decoder.convs):
            assert isinstance(conv, nn.ConvTranspose2d)
            name = f"decoder.convs.{i}"
            x = qdq.conv(graph, x, *four_phases(conv), [1] * 4, name, scale(name))
            x, side = Stored(unfolded(graph, x.name, side, f"{name}.pixels"), x.scale), 2 * side
        return _ended(graph, self.model, straight, qdq.restore(graph, x, "branch"))


@torch.no_grad()
def measure(model: ColorAutoencoder, latents: np.ndarray) -> Ranges:
    """Smallest and largest value of every tensor of the branch over ``latents``, by name."""
    decoder = model.decoder
    x = (torch.from_numpy(latents) - CENTRE) * decoder.spread
    ranges = {"coefficients": _range(x)}
    x = F.relu(decoder.first(x))
    ranges["decoder.first"] = _range(x)
    for i, conv in enumerate(decoder.convs):
        x = conv(x) if i == len(decoder.convs) - 1 else F.relu(conv(x))
        ranges[f"decoder.convs.{i}"] = _range(x)
    return ranges


def _range(x: Tensor) -> tuple[float, float]:
    return float(x.min()), float(x.max())


def _begun(model: ColorAutoencoder) -> GraphBuilder:
    config = model.config
    return GraphBuilder("synthesis", "latents", "float32", ["n", config.channels, config.side, config.side])


def _coefficients(graph: GraphBuilder, model: ColorAutoencoder) -> str:
    """The latents around 0 and of like sizes."""
    x = graph.node("Sub", ["latents", graph.constant("centre", np.float32(CENTRE))], "latents.centred")
    return graph.node(
        "Mul", [x, graph.constant("decoder.spread", array(model.decoder.spread))], "coefficients"
    )


def _straight(graph: GraphBuilder, model: ColorAutoencoder, x: str) -> str:
    """The linear path: each place of the grid is a block of the picture."""
    name = "decoder.linear"
    parameters = _parameters(graph, model.decoder.linear, name)
    return graph.node("ConvTranspose", [x, *parameters], name, kernel_shape=[BLOCK] * 2, strides=[BLOCK] * 2)


def _ended(graph: GraphBuilder, model: ColorAutoencoder, straight: str, branch: str) -> onnx.ModelProto:
    size = model.config.image_size
    x = graph.node("Add", [straight, branch], "decoder.sum")
    x = graph.node("Clip", [x, *_bounds(graph, "picture")], PICTURE)
    return graph.model(to_pixels(graph, x), "uint8", ["n", size, size, 3])


def _bounds(graph: GraphBuilder, name: str) -> list[str]:
    return [
        graph.constant(f"{name}.lowest", np.float32(0)),
        graph.constant(f"{name}.highest", np.float32(1)),
    ]


def _convolved(graph: GraphBuilder, layer: nn.Conv2d, x: str, name: str) -> str:
    assert isinstance(layer.padding, tuple)
    return graph.node(
        "Conv",
        [x, *_parameters(graph, layer, name)],
        name,
        kernel_shape=list(layer.kernel_size),
        strides=list(layer.stride),
        pads=[int(layer.padding[0])] * 4,
    )


def _parameters(graph: GraphBuilder, layer: nn.Conv2d | nn.ConvTranspose2d, name: str) -> list[str]:
    return [
        graph.constant(f"{name}.weight", array(layer.weight)),
        graph.constant(f"{name}.bias", array(layer.bias)),
    ]
