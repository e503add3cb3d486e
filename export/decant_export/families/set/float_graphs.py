"""ONNX graphs of the family ``set``, in float.

The published layers: Gemm, Conv, ReLU, Add, Sigmoid, and ConvTranspose, of which those of k4 s2 p1 are
written as what they are, exactly: a convolution and a DepthToSpace (``four_phases``), which runtimes do a
fifth to a third faster. Pixels leave as uint8 (n, H, W, 3) and enter so, the conversion included.
"""

import numpy as np
import onnx
from decant_train.published.set.model import DecoderBlock, EncoderBlock, SetAutoencoder
from torch import nn

from decant_export.common.onnx_graph import GraphBuilder
from decant_export.common.pictures import PICTURE, from_pixels, to_pixels
from decant_export.common.tensors import array

REFERENCE_BATCH = 8


def synthesis(model: SetAutoencoder) -> onnx.ModelProto:
    """Latents float32 (n, latent_dim) -> pixels uint8 (n, S, S, 3)."""
    config, decoder = model.config, model.decoder
    size = config.image_size
    graph = GraphBuilder("synthesis", "latents", "float32", ["n", config.latent_dim])
    weights = [
        graph.constant("decoder.linear.weight", array(decoder.linear.weight).T),
        graph.constant("decoder.linear.bias", array(decoder.linear.bias)),
    ]
    x = graph.node("Gemm", ["latents", *weights], "decoder.linear")
    x = graph.node("Relu", [x], "decoder.linear.relu")
    x = graph.reshape(x, [-1, *decoder.grid], "decoder.grid")
    side = decoder.grid[1]
    for i, block in enumerate(decoder.blocks):
        assert isinstance(block, DecoderBlock)
        name = f"decoder.blocks.{i}"
        y = graph.node("Relu", [_doubled(graph, block.conv, x, side, f"{name}.conv")], f"{name}.relu")
        if block.shortcut is not None:
            y = graph.node("Add", [y, _transposed(graph, block.shortcut, x, f"{name}.shortcut")], name)
        x, side = y, 2 * side
    x = graph.node("Sigmoid", [_doubled(graph, decoder.last, x, side, "decoder.last")], PICTURE)
    return graph.model(to_pixels(graph, x), "uint8", ["n", size, size, 3])


def analysis(model: SetAutoencoder) -> onnx.ModelProto:
    """Pixels uint8 (n, S, S, 3) -> latents float32 (n, latent_dim)."""
    config, encoder = model.config, model.encoder
    size = config.image_size
    graph = GraphBuilder("analysis", "pixels", "uint8", ["n", size, size, 3])
    x = from_pixels(graph, "pixels")
    for i, block in enumerate(encoder.blocks):
        assert isinstance(block, EncoderBlock)
        name = f"encoder.blocks.{i}"
        y = graph.node("Relu", [_convolved(graph, block.conv, x, f"{name}.conv")], f"{name}.relu")
        if block.shortcut is not None:
            y = graph.node("Add", [y, _convolved(graph, block.shortcut, x, f"{name}.shortcut")], name)
        x = y
    x = graph.node("Flatten", [x], "encoder.flat", axis=1)
    weights = [
        graph.constant("encoder.linear.weight", array(encoder.linear.weight).T),
        graph.constant("encoder.linear.bias", array(encoder.linear.bias)),
    ]
    return graph.model(graph.node("Gemm", [x, *weights], "latents"), "float32", ["n", config.latent_dim])


def four_phases(layer: nn.ConvTranspose2d) -> tuple[np.ndarray, np.ndarray]:
    """ConvTranspose k4 s2 p1 -> kernel (4 * out, in, 2, 2) and bias (4 * out,), channels in DepthToSpace's
    CRD order.

    Cell g of the 2 x 2 convolution, padded by one, holds rows 2 g - 1 and 2 g; DepthToSpace(2) lays the cells
    out, and one pixel is cut off each side.
    """
    # (in, out, ky, kx); phase r of a cell reads tap k = 2 (1 - j) + r at offset j
    weight = array(layer.weight)
    taps = np.array([[2, 0], [3, 1]])  # [r, j]
    kernel = weight[:, :, taps[:, None, :, None], taps[None, :, None, :]]  # (in, out, r, s, jy, jx)
    return kernel.transpose(1, 2, 3, 0, 4, 5).reshape(-1, weight.shape[0], 2, 2), array(layer.bias).repeat(4)


def unfolded(graph: GraphBuilder, x: str, side: int, name: str) -> str:
    """Four phases (n, 4 c, side + 1, side + 1) -> (n, c, 2 side, 2 side)."""
    y = graph.node("DepthToSpace", [x], f"{name}.whole", blocksize=2, mode="CRD")
    bounds = [
        graph.constant(f"{name}.{what}", np.array(v))
        for what, v in (("first", [1, 1]), ("end", [2 * side + 1] * 2), ("axes", [2, 3]))
    ]
    return graph.node("Slice", [y, *bounds], name)


def _doubled(graph: GraphBuilder, layer: nn.ConvTranspose2d, x: str, side: int, name: str) -> str:
    """ConvTranspose k4 s2 p1 of (n, c, side, side), by its phases."""
    kernel, bias = four_phases(layer)
    parameters = [graph.constant(f"{name}.weight", kernel), graph.constant(f"{name}.bias", bias)]
    x = graph.node("Conv", [x, *parameters], f"{name}.phases", kernel_shape=[2] * 2, pads=[1] * 4)
    return unfolded(graph, x, side, name)


def _transposed(graph: GraphBuilder, layer: nn.ConvTranspose2d, x: str, name: str) -> str:
    kernel, stride, pad, output_pad = (
        int(v[0]) for v in (layer.kernel_size, layer.stride, layer.padding, layer.output_padding)
    )
    return graph.node(
        "ConvTranspose",
        [x, *_parameters(graph, layer, name)],
        name,
        kernel_shape=[kernel] * 2,
        strides=[stride] * 2,
        pads=[pad] * 4,
        output_padding=[output_pad] * 2,
    )


def _convolved(graph: GraphBuilder, layer: nn.Conv2d, x: str, name: str) -> str:
    kernel, stride = int(layer.kernel_size[0]), int(layer.stride[0])
    assert isinstance(layer.padding, tuple)
    return graph.node(
        "Conv",
        [x, *_parameters(graph, layer, name)],
        name,
        kernel_shape=[kernel] * 2,
        strides=[stride] * 2,
        pads=[int(layer.padding[0])] * 4,
    )


def _parameters(graph: GraphBuilder, layer: nn.Conv2d | nn.ConvTranspose2d, name: str) -> list[str]:
    return [
        graph.constant(f"{name}.weight", array(layer.weight)),
        graph.constant(f"{name}.bias", array(layer.bias)),
    ]
