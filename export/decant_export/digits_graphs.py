"""ONNX graphs of the family ``digits``, in float.

The network is grey and bundles are RGB: pixels enter through their luma and leave as three equal channels. A
convolution of a doubled picture is the transposed convolution k4 s2 p1 whose taps are sums of its own, so it
is written as that is: a 2x2 convolution and a DepthToSpace (``set_graphs.four_phases``).
"""

from collections.abc import Mapping

import numpy as np
import onnx
import torch
from decant_train.common.checkpoint import Checkpoint
from decant_train.published.digits.model import SIDE, DigitAutoencoder
from torch import Tensor, nn

from decant_export import reference
from decant_export.families import StaticGraph, StoredLayout
from decant_export.latent_coding import vector_layout
from decant_export.onnx_graph import GraphBuilder
from decant_export.pictures import PICTURE, from_pixels, to_pixels
from decant_export.set_graphs import array, four_phases, unfolded

LUMA = (0.299, 0.587, 0.114)  # BT.601; of three equal channels it is each of them
REFERENCE_BATCH = 256


class DigitsGraphs:
    """A checkpoint of the family, as ``decant_export.families.Decodes`` wants it."""

    image = (SIDE, SIDE)

    def __init__(self, model: DigitAutoencoder) -> None:
        self.model = model

    def synthesis(self) -> onnx.ModelProto:
        """See Decodes."""
        decoder = self.model.decoder
        graph = GraphBuilder("synthesis", "latents", "float32", ["n", self.model.config.latent_dim])
        weight, bias = centred(decoder.linear)
        values = [
            graph.constant("decoder.linear.weight", weight),
            graph.constant("decoder.linear.bias", bias),
        ]
        x = graph.node("Gemm", ["latents", *values], "decoder.linear")
        x = graph.node("Relu", [x], "decoder.linear.relu")
        x = graph.reshape(x, [-1, *decoder.grid], "decoder.grid")
        side = decoder.grid[1]
        x = graph.node("Relu", [conv(graph, decoder.conv1, x, "decoder.conv1")], "decoder.conv1.relu")
        x = graph.node("Relu", [doubled(graph, decoder.up1, x, side, "decoder.up1")], "decoder.up1.relu")
        x = graph.node("Relu", [conv(graph, decoder.conv2, x, "decoder.conv2")], "decoder.conv2.relu")
        x = graph.node("Sigmoid", [doubled(graph, decoder.up2, x, 2 * side, "decoder.up2")], "grey")
        return graph.model(to_pixels(graph, three(graph, x)), "uint8", ["n", SIDE, SIDE, 3])

    def analysis(self) -> onnx.ModelProto:
        """See Decodes."""
        encoder = self.model.encoder
        graph = GraphBuilder("analysis", "pixels", "uint8", ["n", SIDE, SIDE, 3])
        x = conv(graph, encoder.conv1, luma(graph, from_pixels(graph, "pixels")), "encoder.conv1")
        x = graph.node("Relu", [pooled(graph, x, "encoder.pool1")], "encoder.conv1.relu")
        x = pooled(graph, conv(graph, encoder.conv2, x, "encoder.conv2"), "encoder.pool2")
        x = graph.node("Relu", [x], "encoder.conv2.relu")
        x = graph.node("Relu", [conv(graph, encoder.conv3, x, "encoder.conv3")], "encoder.conv3.relu")
        x = graph.node("Flatten", [x], "encoder.flat", axis=1)
        values = [
            graph.constant("encoder.linear.weight", array(encoder.linear.weight).T),
            graph.constant("encoder.linear.bias", array(encoder.linear.bias)),
        ]
        x = graph.node("Sigmoid", [graph.node("Gemm", [x, *values], "encoder.linear")], "latents")
        return graph.model(x, "float32", ["n", self.model.config.latent_dim])

    def static(self, latents: np.ndarray) -> StaticGraph:
        """See Decodes."""
        from decant_export.digits_static import StaticDigits

        return StaticDigits(self.model, latents)

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """See Decodes."""
        return reference.of_latents(self.model.decode, latents, REFERENCE_BATCH).repeat(3, axis=1)

    @torch.no_grad()
    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """See Decodes."""
        batches = torch.split(torch.from_numpy(np.ascontiguousarray(pixels)), REFERENCE_BATCH)
        return np.concatenate([self.model.encode(grey_of(batch)).numpy() for batch in batches])

    def known_latents(self) -> np.ndarray | None:
        """See Decodes; a checkpoint of this family is for any digit and keeps none."""
        return None

    def layout(self, coding: str, latents: np.ndarray) -> StoredLayout:
        """See Decodes. Integers span 0..1, as in training."""
        return vector_layout(coding, np.array([[0.0], [1.0]], np.float32).repeat(latents.shape[1], axis=1))

    def tensors(self) -> Mapping[str, np.ndarray]:
        """See Decodes."""
        return {f"decoder.{k}": array(v) for k, v in self.model.decoder.state_dict().items()}


def graphs(checkpoint: Checkpoint) -> DigitsGraphs:
    """The entry that ``decant_export.families`` looks for."""
    assert isinstance(checkpoint.model, DigitAutoencoder)
    return DigitsGraphs(checkpoint.model)


def centred(linear: nn.Linear) -> tuple[np.ndarray, np.ndarray]:
    """Weight (inputs, outputs) and bias (outputs,) that make of x what ``linear`` makes of 2 x - 1."""
    weight = array(linear.weight).T
    return 2 * weight, array(linear.bias) - weight.sum(axis=0)


def as_phases(layer: nn.Conv2d) -> tuple[np.ndarray, np.ndarray]:
    """A 3x3 convolution of a doubled picture -> kernel (4 * out, in, 2, 2) and bias (4 * out,) as
    ``set_graphs.four_phases`` gives them.
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
