"""ONNX graphs of the family ``perceptual``.

Batch normalization is folded into the convolution before it. Transposed convolutions of k4 s2 p1 are
written as their four phases (decant_export.families.set.float_graphs), those of k2 s2 as a 1x1 convolution
and DepthToSpace: the same numbers, faster. In static int8 plain convolutions are integer; transposed ones,
leaky ReLUs and sums stay float.
"""

from typing import Protocol, TypeVar

import numpy as np
import onnx
import torch
from decant_train.published.perceptual.model import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    SLOPE,
    Bottleneck,
    PerceptualAutoencoder,
    ResidualBlock,
)
from torch import nn

from decant_export.common.onnx_graph import GraphBuilder
from decant_export.common.pictures import PICTURE, from_pixels, to_pixels
from decant_export.common.tensors import array
from decant_export.families.set.float_graphs import four_phases, unfolded

Layer = TypeVar("Layer", nn.Conv2d, nn.ConvTranspose2d)


class Convolves(Protocol):
    """How a plain convolution of the decoder is written."""

    def __call__(self, graph: GraphBuilder, layer: nn.Conv2d, x: str, name: str) -> str:
        """Add ``layer`` of the float tensor ``x``; the float result's name."""


def synthesis(model: PerceptualAutoencoder, conv: Convolves) -> onnx.ModelProto:
    """Latents float32 (n, channels, h, w) -> pixels uint8 (n, S, S, 3), plain convolutions written by
    ``conv``.
    """
    config, decoder = model.config, model.decoder
    channels, side, _ = config.latent_shape
    graph = GraphBuilder("synthesis", "latents", "float32", ["n", channels, side, side])
    x = graph.node("Mul", ["latents", graph.constant("latents.two", np.float32(2))], "latents.doubled")
    x = graph.node("Sub", [x, graph.constant("latents.one", np.float32(1))], "latents.centred")
    x = _residual(graph, decoder.entry, x, side, "decoder.entry", conv)
    for i, block in enumerate(decoder.blocks):
        assert isinstance(block, ResidualBlock)
        x = _residual(graph, block, x, side, f"decoder.blocks.{i}", conv)
        side *= 2
    x = _doubled(graph, folded(decoder.last, decoder.last_bn), x, side, "decoder.last")
    x = _leaky(graph, x)
    x = _doubled(graph, decoder.picture, x, 2 * side, "decoder.picture")
    x = graph.node("Sigmoid", [x], PICTURE)
    return graph.model(to_pixels(graph, x), "uint8", ["n", config.image_size, config.image_size, 3])


def analysis(model: PerceptualAutoencoder) -> onnx.ModelProto:
    """Pixels uint8 (n, S, S, 3) -> latents float32 (n, channels, h, w) in [0, 1], not rounded."""
    config, encoder = model.config, model.encoder
    trunk = encoder.trunk
    graph = GraphBuilder("analysis", "pixels", "uint8", ["n", config.image_size, config.image_size, 3])
    x = from_pixels(graph, "pixels")
    for op, values in (("Sub", IMAGENET_MEAN), ("Div", IMAGENET_DEVIATION)):
        constant = graph.constant(f"image.{op}", np.array(values, np.float32).reshape(3, 1, 1))
        x = graph.node(op, [x, constant], f"image.{op}ed")
    x = _rectified(graph, folded(trunk.conv1, trunk.bn1), x, "trunk.conv1")
    x = graph.node("MaxPool", [x], "trunk.pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for i, stage in enumerate(trunk.stages):
        for j, block in enumerate(stage):
            assert isinstance(block, Bottleneck)
            x = _bottleneck(graph, block, x, f"trunk.layer{i + 1}.{j}")
    if config.pool > 1:
        x = graph.node(
            "AveragePool", [x], "pooled", kernel_shape=[config.pool] * 2, strides=[config.pool] * 2
        )
    if encoder.project is not None and encoder.project_bn is not None:
        x = convolved(graph, folded(encoder.project, encoder.project_bn), x, "project")
    bounds = [graph.constant("zero", np.float32(0)), graph.constant("one", np.float32(1))]
    return graph.model(graph.node("Clip", [x, *bounds], "latents"), "float32", ["n", *config.latent_shape])


def convolved(graph: GraphBuilder, layer: nn.Conv2d, x: str, name: str) -> str:
    """A convolution in float."""
    assert isinstance(layer.padding, tuple)
    return graph.node(
        "Conv",
        [
            x,
            graph.constant(f"{name}.weight", array(layer.weight)),
            graph.constant(f"{name}.bias", array(layer.bias)),
        ],
        name,
        kernel_shape=list(layer.kernel_size),
        strides=list(layer.stride),
        pads=[int(layer.padding[0])] * 4,
    )


def folded(layer: Layer, norm: nn.BatchNorm2d) -> Layer:
    """The layer, which has no bias, with the normalization after it, as one layer with a bias."""
    assert layer.bias is None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    with torch.no_grad():
        factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        channels = (1, -1, 1, 1) if isinstance(layer, nn.ConvTranspose2d) else (-1, 1, 1, 1)
        whole = type(layer)(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,  # type: ignore[arg-type]
            stride=layer.stride,  # type: ignore[arg-type]
            padding=layer.padding,  # type: ignore[arg-type]
        )
        whole.weight.copy_(layer.weight.double() * factor.reshape(channels))
        assert whole.bias is not None
        whole.bias.copy_(norm.bias.double() - norm.running_mean.double() * factor)
    return whole


def _bottleneck(graph: GraphBuilder, block: Bottleneck, x: str, name: str) -> str:
    y = _rectified(graph, folded(block.conv1, block.bn1), x, f"{name}.conv1")
    y = _rectified(graph, folded(block.conv2, block.bn2), y, f"{name}.conv2")
    y = convolved(graph, folded(block.conv3, block.bn3), y, f"{name}.conv3")
    if block.downsample is not None:
        conv, norm = block.downsample
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        x = convolved(graph, folded(conv, norm), x, f"{name}.downsample")
    return graph.node("Relu", [graph.node("Add", [y, x], f"{name}.sum")], name)


def _residual(
    graph: GraphBuilder, block: ResidualBlock, x: str, side: int, name: str, conv: Convolves
) -> str:
    y = _leaky(graph, conv(graph, folded(block.conv, block.bn), x, f"{name}.conv"))
    second, shortcut = block.second, block.shortcut
    if isinstance(second, nn.ConvTranspose2d) and isinstance(shortcut, nn.ConvTranspose2d):
        y = _doubled(graph, folded(second, block.second_bn), y, side, f"{name}.second")
        x = _spread(graph, folded(shortcut, block.shortcut_bn), x, f"{name}.shortcut")
    else:
        assert isinstance(second, nn.Conv2d)
        assert isinstance(shortcut, nn.Conv2d)
        y = conv(graph, folded(second, block.second_bn), y, f"{name}.second")
        x = conv(graph, folded(shortcut, block.shortcut_bn), x, f"{name}.shortcut")
    return _leaky(graph, graph.node("Add", [y, x], f"{name}.sum"))


def _leaky(graph: GraphBuilder, x: str) -> str:
    return graph.node("LeakyRelu", [x], f"{x}.leaky", alpha=SLOPE)


def _rectified(graph: GraphBuilder, layer: nn.Conv2d, x: str, name: str) -> str:
    return graph.node("Relu", [convolved(graph, layer, x, name)], f"{name}.relu")


def _doubled(graph: GraphBuilder, layer: nn.ConvTranspose2d, x: str, side: int, name: str) -> str:
    """ConvTranspose k4 s2 p1 of (n, c, side, side), by its phases."""
    kernel, bias = four_phases(layer)
    parameters = [graph.constant(f"{name}.weight", kernel), graph.constant(f"{name}.bias", bias)]
    x = graph.node("Conv", [x, *parameters], f"{name}.phases", kernel_shape=[2] * 2, pads=[1] * 4)
    return unfolded(graph, x, side, name)


def _spread(graph: GraphBuilder, layer: nn.ConvTranspose2d, x: str, name: str) -> str:
    """ConvTranspose k2 s2: every input writes its own 2 x 2 outputs."""
    kernel = array(layer.weight).transpose(1, 2, 3, 0).reshape(-1, layer.in_channels, 1, 1)
    parameters = [
        graph.constant(f"{name}.weight", kernel),
        graph.constant(f"{name}.bias", array(layer.bias).repeat(4)),
    ]
    x = graph.node("Conv", [x, *parameters], f"{name}.phases", kernel_shape=[1] * 2)
    return graph.node("DepthToSpace", [x], name, blocksize=2, mode="CRD")
