"""The decoder of the family ``perceptual`` with its plain convolutions in static int8."""

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime as ort
from decant_train.published.perceptual.model import PerceptualAutoencoder
from onnx import TensorProto
from torch import nn

from decant_export.common import qdq
from decant_export.common.gate import evenly
from decant_export.common.onnx_graph import GraphBuilder, serialise
from decant_export.common.qdq import Scale, Stored
from decant_export.common.tensors import array
from decant_export.families.perceptual.float_graphs import convolved, synthesis

MEASURED = 64  # latents that the ranges are measured over

Ranges = Mapping[str, tuple[float, float]]


class StaticSynthesis:
    """Builds the graph; what is left to choose is how much of each tensor's range is kept (``knobs``)."""

    def __init__(self, model: PerceptualAutoencoder, latents: np.ndarray) -> None:
        """``latents``: float32 (k, channels, h, w), calibration: ranges are what these need."""
        self.model = model
        self._ranges = measure(model, evenly(latents, MEASURED))

    @property
    def knobs(self) -> tuple[str, ...]:
        """Names of what enters and leaves the integer convolutions, in the order of the graph."""
        return tuple(self._ranges)

    def build(self, kept: Mapping[str, float]) -> onnx.ModelProto:
        """Latents float32 (n, channels, h, w) -> pixels uint8 (n, S, S, 3).

        ``kept``: the part of its range, 0..1, that each tensor stores (1 where not named).
        """
        stored: dict[str, Stored] = {}

        def scale(tensor: str) -> Scale:
            lowest, highest = self._ranges[tensor]
            return Scale.covering(lowest * kept.get(tensor, 1), highest * kept.get(tensor, 1))

        def conv(graph: GraphBuilder, layer: nn.Conv2d, x: str, name: str) -> str:
            if x not in stored:
                stored[x] = qdq.store(graph, x, scale(x))
            assert isinstance(layer.padding, tuple)
            pads = [int(layer.padding[0])] * 4
            weight, bias = array(layer.weight), array(layer.bias)
            found = qdq.conv(graph, stored[x], weight, bias, pads, f"{name}.int8", scale(name))
            return qdq.restore(graph, found, name)

        return synthesis(self.model, conv)


def measure(model: PerceptualAutoencoder, latents: np.ndarray) -> Ranges:
    """Smallest and largest value over ``latents`` of every tensor that enters or leaves a plain convolution,
    by name.
    """
    names: dict[str, None] = {}

    def conv(graph: GraphBuilder, layer: nn.Conv2d, x: str, name: str) -> str:
        names.update({x: None, name: None})
        return convolved(graph, layer, x, name)

    graph = synthesis(model, conv)
    del graph.graph.output[:]
    for name in names:
        value = onnx.helper.make_empty_tensor_value_info(name)
        value.type.tensor_type.elem_type = TensorProto.FLOAT
        graph.graph.output.append(value)
    session = ort.InferenceSession(serialise(graph), providers=["CPUExecutionProvider"])
    found = [session.run(list(names), {"latents": latent[None]}) for latent in latents]
    return {
        name: (min(float(f[i].min()) for f in found), max(float(f[i].max()) for f in found))
        for i, name in enumerate(names)
    }
