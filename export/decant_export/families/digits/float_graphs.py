"""ONNX graphs of the family ``digits``, in float.

The network is grey and bundles are RGB: pixels enter through their luma and leave as three equal channels. A
convolution of a doubled picture is the transposed convolution k4 s2 p1 whose taps are sums of its own, so it
is written as that is: a 2x2 convolution and a DepthToSpace (``set.float_graphs.four_phases``).
"""

import numpy as np
import torch
from torch import Tensor, nn

from decant_export.common.onnx_graph import GraphBuilder
from decant_export.common.pictures import PICTURE
from decant_export.common.tensors import array
from decant_export.families.set.float_graphs import four_phases, unfolded

LUMA = (0.299, 0.587, 0.114)  # BT.601; of three equal channels it is each of them


REFERENCE_BATCH = 256


def centred(linear: nn.Linear) -> tuple[np.ndarray, np.ndarray]:
    """Weight (inputs, outputs) and bias (outputs,) that make of x what ``linear`` makes of 2 x - 1."""
    weight = array(linear.weight).T
    return 2 * weight, array(linear.bias) - weight.sum(axis=0)


def as_phases(layer: nn.Conv2d) -> tuple[np.ndarray, np.ndarray]:
    """A 3x3 convolution of a doubled picture -> kernel (4 * out, in, 2, 2) and bias (4 * out,) as
    ``set.float_graphs.four_phases`` gives them.
    """
    taps = torch.tensor([[0.0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])  # of k4, by those of k3
    transposed = nn.ConvTranspose2d(layer.in_channels, layer.out_channels, 4, stride=2, padding=1)
    with torch.no_grad():
        transposed.weight.copy_(torch.einsum("ocyx,ay,bx->coab", layer.weight, taps, taps))
        assert layer.bias is not None
        assert transposed.bias is not None
        transposed.bias.copy_(layer.bias)
    return four_phases(transposed)


def conv(graph: GraphBuilder, layer: nn.Conv2d, x: str, name: str) -> str:
    """A 3x3 convolution of stride 1."""
    values = [
        graph.constant(f"{name}.weight", array(layer.weight)),
        graph.constant(f"{name}.bias", array(layer.bias)),
    ]
    return graph.node("Conv", [x, *values], name, kernel_shape=[3, 3], pads=[1] * 4)


def doubled(graph: GraphBuilder, layer: nn.Conv2d, x: str, side: int, name: str) -> str:
    """The 3x3 convolution ``layer`` of ``x`` (n, c, side, side) doubled in size."""
    kernel, bias = as_phases(layer)
    values = [graph.constant(f"{name}.weight", kernel), graph.constant(f"{name}.bias", bias)]
    x = graph.node("Conv", [x, *values], f"{name}.phases", kernel_shape=[2, 2], pads=[1] * 4)
    return unfolded(graph, x, side, name)


def pooled(graph: GraphBuilder, x: str, name: str) -> str:
    """The largest of each 2 x 2."""
    return graph.node("MaxPool", [x], name, kernel_shape=[2, 2], strides=[2, 2])


def luma(graph: GraphBuilder, image: str) -> str:
    """float32 (n, 3, H, W) -> (n, 1, H, W)."""
    weight = graph.constant("luma.weight", np.array(LUMA, np.float32).reshape(1, 3, 1, 1))
    return graph.node("Conv", [image, weight], "luma", kernel_shape=[1, 1])


def three(graph: GraphBuilder, grey: str) -> str:
    """float32 (n, 1, H, W) -> the picture (n, 3, H, W)."""
    return graph.node("Concat", [grey] * 3, PICTURE, axis=1)


def grey_of(pixels: Tensor) -> Tensor:
    """uint8 (n, H, W, 3) -> float32 (n, 1, H, W) in [0, 1]."""
    return (pixels.float() / 255 @ torch.tensor(LUMA))[:, None]
