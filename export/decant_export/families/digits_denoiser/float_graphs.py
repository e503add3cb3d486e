"""ONNX graph of the family ``digits_denoiser``."""

from collections.abc import Mapping

import numpy as np
import onnx
import torch
from decant_train.published.digits.denoiser import GAIN, DigitDenoiser
from decant_train.published.digits.model import SIDE

from decant_export.common.onnx_graph import GraphBuilder
from decant_export.common.pictures import from_pixels, to_pixels
from decant_export.common.tensors import array
from decant_export.errors import ExportError
from decant_export.families.denoiser.float_graphs import INPUT
from decant_export.families.digits.float_graphs import (
    REFERENCE_BATCH,
    conv,
    doubled,
    grey_of,
    luma,
    pooled,
    three,
)


class DigitDenoiserGraphs:
    """A checkpoint of the family, as ``decant_export.common.family.Denoises`` wants it."""

    def __init__(self, model: DigitDenoiser) -> None:
        self.model = model

    def denoiser(self, image: tuple[int, int]) -> onnx.ModelProto:
        """See Denoises. Raises ExportError for a size that it was not trained for."""
        if image != (SIDE, SIDE):
            raise ExportError(f"the digits' denoiser takes {SIDE}x{SIDE} pixels, not {image[0]}x{image[1]}")
        model = self.model
        graph = GraphBuilder("denoiser", INPUT, "uint8", ["n", SIDE, SIDE, 3])
        grey = luma(graph, from_pixels(graph, INPUT))
        x = graph.node(
            "Relu", [pooled(graph, conv(graph, model.conv1, grey, "conv1"), "pool1")], "conv1.relu"
        )
        fine = graph.node("Relu", [conv(graph, model.conv2, x, "conv2")], "conv2.relu")
        x = conv(graph, model.conv3, pooled(graph, fine, "pool2"), "conv3")
        x = graph.node("Relu", [x], "conv3.relu")
        x = graph.node("Relu", [doubled(graph, model.up1, x, SIDE // 4, "up1")], "up1.relu")
        x = graph.node("Add", [x, fine], "up1.fine")
        x = graph.node("Relu", [conv(graph, model.conv4, x, "conv4")], "conv4.relu")
        x = doubled(graph, model.up2, x, SIDE // 2, "up2")
        x = graph.node("Mul", [x, graph.constant("gain", np.float32(GAIN))], "correction")
        x = graph.node("Add", [grey, x], "mended")
        bounds = [graph.constant("black", np.float32(0)), graph.constant("white", np.float32(1))]
        x = three(graph, graph.node("Clip", [x, *bounds], "mended.clipped"))
        return graph.model(to_pixels(graph, x), "uint8", ["n", SIDE, SIDE, 3])

    @torch.no_grad()
    def denoise(self, pixels: np.ndarray) -> np.ndarray:
        """See Denoises."""
        batches = torch.split(torch.from_numpy(np.ascontiguousarray(pixels)), REFERENCE_BATCH)
        grey = np.concatenate([self.model(grey_of(batch)).numpy() for batch in batches])
        return grey.repeat(3, axis=1)

    def tensors(self) -> Mapping[str, np.ndarray]:
        """See Denoises."""
        return {k: array(v) for k, v in self.model.state_dict().items()}
