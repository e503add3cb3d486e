"""The two ends of a graph that touch pixels."""

import numpy as np
import onnx

from decant_export.common.onnx_graph import GraphBuilder

# The float picture in [0, 1], (n, 3, H, W), before it is rounded; export compares it with PyTorch's.
PICTURE = "picture"


def from_pixels(graph: GraphBuilder, x: str) -> str:
    """uint8 (n, H, W, 3) -> float32 (n, 3, H, W) in [0, 1]."""
    x = graph.node("Transpose", [x], "planes", perm=[0, 3, 1, 2])
    x = graph.node("Cast", [x], "planes.float", to=onnx.TensorProto.FLOAT)
    return graph.node("Div", [x, graph.constant("full", np.float32(255))], "image")


def to_pixels(graph: GraphBuilder, x: str) -> str:
    """float32 (n, 3, H, W) in [0, 1] -> uint8 (n, H, W, 3): rounded half to even, clipped.

    QuantizeLinear is both in one operator, a third of the time of Mul, Round, Clip and Cast.
    """
    unit = [graph.constant("pixel.step", np.float32(1 / 255)), graph.constant("pixel.zero", np.uint8(0))]
    x = graph.node("QuantizeLinear", [x, *unit], "planes.uint8")
    return graph.node("Transpose", [x], "pixels", perm=[0, 2, 3, 1])
