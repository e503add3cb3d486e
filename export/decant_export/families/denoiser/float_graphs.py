"""ONNX graph of the family ``denoiser``.

Pictures are packed by SpaceToDepth, whose channels are in another order than PyTorch's ``pixel_unshuffle``;
the weights of the first and the last convolution are reordered instead of the pixels.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from decant_train.published.denoiser.model import Denoiser, DenseBlock
from torch import nn

from decant_export.common import reference
from decant_export.common.onnx_graph import GraphBuilder
from decant_export.common.pictures import PICTURE, from_pixels, to_pixels
from decant_export.common.tensors import array
from decant_export.errors import ExportError
from decant_export.families.set.float_graphs import REFERENCE_BATCH

INPUT = "pixels_in"  # a graph's input and output cannot share a name


class DenoiserGraphs:
    """A checkpoint of the family, as ``decant_export.common.family.Denoises`` wants it."""

    def __init__(self, model: Denoiser) -> None:
        self.model = model

    def denoiser(self, image: tuple[int, int]) -> onnx.ModelProto:
        """See Denoises. Raises ExportError for a size that it cannot pack."""
        model, packing = self.model, self.model.config.packing
        width, height = image
        if width % packing or height % packing:
            raise ExportError(
                f"the denoiser takes sides that are multiples of {packing}, not {width}x{height}"
            )
        graph = GraphBuilder("denoiser", INPUT, "uint8", ["n", height, width, 3])
        packed = graph.node("SpaceToDepth", [from_pixels(graph, INPUT)], "packed", blocksize=packing)
        order = _space_to_depth_order(packing)
        x = graph.node("Relu", [_conv(graph, model.first, packed, "first", inputs=order)], "first.relu")
        first, outputs = x, []
        for i, block in enumerate(model.blocks):
            assert isinstance(block, DenseBlock)
            x = _dense(graph, block, x, f"blocks.{i}")
            outputs.append(x)
        x = graph.node("Add", [first, _attention(graph, model, outputs)], "fused")
        x = _conv(graph, model.last, x, "last", outputs=order)
        x = graph.node("Add", [packed, x], "mended")
        x = graph.node("DepthToSpace", [x], "whole", blocksize=packing, mode="DCR")
        bounds = [graph.constant("zero", np.float32(0)), graph.constant("one", np.float32(1))]
        x = graph.node("Clip", [x, *bounds], PICTURE)
        return graph.model(to_pixels(graph, x), "uint8", ["n", height, width, 3])

    def denoise(self, pixels: np.ndarray) -> np.ndarray:
        """See Denoises."""
        return reference.of_pixels(self.model, pixels, REFERENCE_BATCH)

    def tensors(self) -> Mapping[str, np.ndarray]:
        """See Denoises."""
        return {k: array(v) for k, v in self.model.state_dict().items()}


def _dense(graph: GraphBuilder, block: DenseBlock, x: str, name: str) -> str:
    known = [x]
    for j, layer in enumerate(block.layers):
        assert isinstance(layer, nn.Conv2d)
        here = f"{name}.layers.{j}"
        read = known[0] if j == 0 else graph.node("Concat", known, f"{here}.known", axis=1)
        known.append(graph.node("Relu", [_conv(graph, layer, read, here)], f"{here}.relu"))
    everything = graph.node("Concat", known, f"{name}.known", axis=1)
    return graph.node("Add", [x, _conv(graph, block.fusion, everything, f"{name}.fusion")], name)


def _attention(graph: GraphBuilder, model: Denoiser, outputs: list[str]) -> str:
    x = graph.node("Concat", outputs, "attention.blocks", axis=1)
    weights = graph.node("GlobalAveragePool", [x], "attention.mean")
    weights = _conv(graph, model.attention.squeeze, weights, "attention.squeeze")
    weights = graph.node("Relu", [weights], "attention.relu")
    weights = _conv(graph, model.attention.excite, weights, "attention.excite")
    weights = graph.node("Sigmoid", [weights], "attention.weights")
    weighed = graph.node("Mul", [x, weights], "attention.weighed")
    return _conv(graph, model.attention.fusion, weighed, "attention.fusion")


def _conv(
    graph: GraphBuilder,
    layer: nn.Conv2d,
    x: str,
    name: str,
    inputs: np.ndarray | None = None,
    outputs: np.ndarray | None = None,
) -> str:
    """A stride-1 convolution; ``inputs`` and ``outputs`` reorder its channels."""
    weight, bias = array(layer.weight), array(layer.bias)
    if inputs is not None:
        weight = weight[:, inputs]
    if outputs is not None:
        weight, bias = weight[outputs], bias[outputs]
    parameters = [graph.constant(f"{name}.weight", weight), graph.constant(f"{name}.bias", bias)]
    side = weight.shape[2]
    return graph.node("Conv", [x, *parameters], name, kernel_shape=[side, side], pads=[side // 2] * 4)


def _space_to_depth_order(packing: int) -> np.ndarray:
    """For each channel of SpaceToDepth (row, column, colour) the channel of pixel_unshuffle (colour, row,
    column).
    """
    return np.arange(3 * packing**2).reshape(3, packing, packing).transpose(1, 2, 0).reshape(-1)
