"""Float ONNX graphs of the family ``codec``: analysis, hyper_analysis, hyper_mean, prediction and synthesis.

Convolutions of 1x1 and 3x3, ReLU, Add, Mul, DepthToSpace and SpaceToDepth; in the encoder the principal
components' 16x16 convolution, leaky rectifiers and root mean squares too. Weights of the encoder's branches
and of the mean are stored in 8 bits, one scale an output channel, principal components, predictions and the
synthesis in half precision, and restored when the graph is loaded: ``settled`` rounds a model's weights to
those very values, so that nothing is lost between it and its graphs. Sizes are free; pixels are uint8 NHWC.
"""

import copy
from collections.abc import Iterable

import numpy as np
import onnx
import torch
from decant_train.codec.config import ANALYSIS_SLOPE, LEAST_SQUARE, PATCH
from decant_train.codec.layers import NormalizedResidual, Residual
from decant_train.codec.model import Codec
from decant_train.codec.transforms import Synthesis
from torch import Tensor, nn

from decant_export.common.onnx_graph import GraphBuilder
from decant_export.common.pictures import PICTURE, from_pixels, to_pixels

STORED_MAX = 127


def settled(model: Codec) -> Codec:
    """A copy of ``model`` whose branches have weights that 8 bits, with a scale a channel, hold exactly, and
    its principal components, predictions and synthesis ones that half precision holds.
    """
    model = copy.deepcopy(model).eval()
    decoding = [layer for layer in model.synthesis.modules() if isinstance(layer, nn.Conv2d)]
    for layer in (model.analysis.linear, *decoding):
        layer.weight.data.copy_(layer.weight.half().float())
    stored = _stored_layers(model)
    if model.config.prediction_inputs:
        stored.append(_prediction(model))
    elif model.config.predicted_channels:
        found = _prediction_weight(model)
        _prediction(model).weight.data.mul_(found.half().float() / found.where(found != 0, 1.0))
    for layer in stored:
        steps = _steps(layer.weight.detach())
        layer.weight.data.copy_((layer.weight / steps).round() * steps)
    return model


def analysis(model: Codec) -> onnx.ModelProto:
    """Pixels uint8 (1, H, W, 3), sides multiples of 64 -> latents float32 (1, M, H/16, W/16)."""
    network = model.analysis
    graph = GraphBuilder("analysis", "pixels", "uint8", [1, "height", "width", 3])
    x = from_pixels(graph, "pixels")
    picture = graph.node("Sub", [x, graph.constant("half", np.float32(0.5))], "centred")
    weight = halved(graph, network.linear.weight, "linear.weight")
    assert network.linear.bias is not None
    bias = graph.constant("linear.bias", array(network.linear.bias))
    side = [PATCH, PATCH]
    linear = graph.node("Conv", [picture, weight, bias], "linear", kernel_shape=side, strides=side)
    x = unshuffled(graph, picture, 4, "blocks")
    x = _leaky(graph, conv(graph, x, reordered(network.stem, 4), "stem"), "quarter")
    x = unshuffled(graph, x, 2, "quarter.blocks")
    x = conv(graph, x, reordered(network.eighth_in, 2), "eighth_in")
    x = _residuals(graph, x, network.eighth, "eighth")
    x = unshuffled(graph, x, 2, "eighth.blocks")
    x = conv(graph, x, reordered(network.sixteenth_in, 2), "sixteenth_in")
    x = _residuals(graph, x, network.sixteenth, "sixteenth")
    added = conv(graph, _normalized(graph, x, "sixteenth"), network.out, "out")
    latents = graph.node("Add", [linear, added], "latents")
    return graph.model(latents, "float32", [1, model.config.latents, "h", "w"])


def hyper_analysis(model: Codec) -> onnx.ModelProto:
    """Latents float32 (1, M, h, w), h and w multiples of 4 -> hyperlatents float32 (1, hyper, h/4, w/4)."""
    m, hyper = model.config.latents, model.config.hyper
    graph = GraphBuilder("hyper_analysis", "latents", "float32", [1, m, "h", "w"])
    deviation = graph.constant("deviation", array(model.hyperprior.deviation).reshape(1, m, 1, 1))
    normal = graph.node("Div", ["latents", deviation], "normal.ratio")
    normal = graph.node("Asinh", [normal], "normal")
    both = graph.node("Concat", [normal, graph.node("Abs", [normal], "size")], "both", axis=1)
    first, _, _, second, _, _, third = model.hyperprior.analysis
    x = graph.node("Relu", [conv(graph, both, module(first), "first")], "first.relu")
    x = unshuffled(graph, x, 2, "first.blocks")
    x = conv(graph, x, reordered(module(second), 2), "second")
    x = unshuffled(graph, graph.node("Relu", [x], "second.relu"), 2, "second.blocks")
    x = conv(graph, x, reordered(module(third), 2), "hyperlatents")
    return graph.model(x, "float32", [1, hyper, "hyper_h", "hyper_w"])


def hyper_mean(model: Codec) -> onnx.ModelProto:
    """Dequantized hyperlatents float32 (1, hyper, a, b) -> mean of the latents float32 (1, M, 4 a, 4 b)."""
    graph = GraphBuilder(
        "hyper_mean", "hyperlatents", "float32", [1, model.config.hyper, "hyper_h", "hyper_w"]
    )
    first, _, _, second, _, _, last = model.hyperprior.mean
    x = shuffled(graph, conv(graph, "hyperlatents", module(first), "first"), 2, "first.up")
    x = conv(graph, graph.node("Relu", [x], "first.relu"), module(second), "second")
    x = graph.node("Relu", [shuffled(graph, x, 2, "second.up")], "second.relu")
    x = conv(graph, x, module(last), "mean")
    return graph.model(x, "float32", [1, model.config.latents, "h", "w"])


def prediction(model: Codec) -> onnx.ModelProto:
    """How far the first latents are from their means float32 (1, known, h, w) -> what that adds to the means
    of the channels after the first stage (1, predicted, h, w), of each stage from those before it.
    """
    count, predicted = _prediction(model).in_channels, model.config.predicted_channels
    graph = GraphBuilder("prediction", "distances", "float32", [1, count, "h", "w"])
    return graph.model(_predicted(graph, "distances", model), "float32", [1, predicted, "h", "w"])


def synthesis(model: Codec) -> onnx.ModelProto:
    """Symbols and mean float32 (1, M, h, w), step float32 (1, M, 1, 1) -> pixels uint8 (1, 16 h, 16 w, 3)."""
    network: Synthesis = model.synthesis
    graph, latents = synthesis_inputs(model)
    x = shuffled(graph, conv(graph, latents, network.up, "up", half=True), 4, "quarter")
    for i, layer in enumerate(network.render):
        x = _residual(graph, x, layer, f"render.{i}")
    x = shuffled(graph, conv(graph, x, network.last, "last", half=True), 4, "full")
    half = graph.constant("half", np.float32(0.5))
    x = graph.node("Add", [x, half], PICTURE)
    return graph.model(to_pixels(graph, x), "uint8", [1, "height", "width", 3])


def synthesis_inputs(model: Codec) -> tuple[GraphBuilder, str]:
    """A graph with the inputs of a synthesis of ``model``'s latents, and the dequantized latents in it."""
    m = model.config.latents
    graph = GraphBuilder("synthesis", "symbols", "float32", [1, m, "h", "w"])
    graph.input("mean", "float32", [1, m, "h", "w"])
    graph.input("step", "float32", [1, m, 1, 1])
    scaled = graph.node("Mul", ["symbols", "step"], "symbols.scaled")
    latents = graph.node(
        "Add", [scaled, "mean"], "latents.alone" if model.config.predicted_channels else "latents"
    )
    if not model.config.predicted_channels:
        return graph, latents
    first, count = model.config.channel_groups[0], _prediction(model).in_channels
    end = first + model.config.predicted_channels
    ends = [graph.constant(f"predicted.{k}", np.array([v], np.int64)) for k, v in (("0", 0), ("n", count))]
    axis = graph.constant("predicted.axis", np.array([1], np.int64))
    residuals = graph.node("Slice", [scaled, *ends, axis], "distances")
    pads = graph.constant("predicted.pads", np.array([0, first, 0, 0, 0, m - end, 0, 0], np.int64))
    added = graph.node("Pad", [_predicted(graph, residuals, model), pads], "predicted.all")
    return graph, graph.node("Add", [latents, added], "latents")


def _predicted(graph: GraphBuilder, residuals: str, model: Codec) -> str:
    """Weights of many channels are kept in 8 bits: of residuals over the channels' deviations, since these
    differ a hundredfold.
    """
    if model.config.prediction_inputs:
        prior, first, weight = (
            model.hyperprior,
            model.config.channel_groups[0],
            model.hyperprior.prediction_weight(),
        )
        known = prior.deviation[: weight.shape[1]].reshape(1, -1, 1, 1)
        unit = graph.constant("prediction.unit", array(1 / known))
        residuals = graph.node("Mul", [residuals, unit], "distances.even")
        units = prior.deviation[first : first + len(weight), None, None, None]
        weights = _stored(graph, weight.detach(), "prediction.weight", units)
    else:
        weights = halved(graph, _prediction_weight(model), "prediction.weight")
    return graph.node("Conv", [residuals, weights], "predicted", kernel_shape=[3, 3], pads=[1] * 4)


def _prediction_weight(model: Codec) -> Tensor:
    """(predicted, known, 3, 3), on latents as they are."""
    prior, first, deviation = model.hyperprior, model.config.channel_groups[0], model.hyperprior.deviation
    weight = prior.prediction_weight().detach()
    count, known = weight.shape[:2]
    return weight * deviation[first : first + count, None, None, None] / deviation[:known, None, None]


def _prediction(model: Codec) -> nn.Conv2d:
    assert model.hyperprior.prediction is not None
    return model.hyperprior.prediction


def array(tensor: Tensor) -> np.ndarray:
    """float32 values of a parameter or buffer."""
    values: np.ndarray = tensor.detach().float().numpy()
    return values


def _stored_layers(model: Codec) -> list[nn.Conv2d]:
    """The layers whose weights are stored in 8 bits in float graphs."""
    analysis = [
        m for m in model.analysis.modules() if isinstance(m, nn.Conv2d) and m is not model.analysis.linear
    ]
    hyper = [m for m in model.hyperprior.analysis if isinstance(m, nn.Conv2d)]
    mean = [m for m in model.hyperprior.mean if isinstance(m, nn.Conv2d)]
    return [*analysis, *hyper, *mean]


def _steps(weight: Tensor) -> Tensor:
    return (weight.abs().amax((1, 2, 3), keepdim=True) / STORED_MAX).clamp_min(1e-12)


def halved(graph: GraphBuilder, weight: Tensor, name: str) -> str:
    """``weight``, kept in half precision and made floats when the graph is loaded."""
    half = graph.constant(f"{name}.half", weight.detach().half().numpy())
    return graph.node("Cast", [half], name, to=onnx.TensorProto.FLOAT)


def _stored(graph: GraphBuilder, weight: Tensor, name: str, units: Tensor | float = 1.0) -> str:
    """``weight`` (out, in, side, side) times ``units`` (out, 1, 1, 1), kept in 8 bits."""
    steps = _steps(weight)
    values = graph.constant(f"{name}.int8", (weight / steps).round().to(torch.int8).numpy())
    scales = [
        graph.constant(f"{name}.step", array(steps * units).reshape(-1)),
        graph.constant(f"{name}.zero", np.zeros(len(weight), np.int8)),
    ]
    return graph.node("DequantizeLinear", [values, *scales], name, axis=0)


def conv(graph: GraphBuilder, x: str, layer: nn.Conv2d, name: str, *, half: bool = False) -> str:
    """A convolution padded to keep its size; weights kept in 8 bits, or in ``half`` precision."""
    weight, kernel = layer.weight.detach(), list(layer.kernel_size)
    weights = halved(graph, weight, f"{name}.weight") if half else _stored(graph, weight, f"{name}.weight")
    inputs = [x, weights]
    if layer.bias is not None:
        inputs.append(graph.constant(f"{name}.bias", array(layer.bias)))
    pads = [kernel[0] // 2, kernel[1] // 2] * 2
    return graph.node("Conv", inputs, name, kernel_shape=kernel, pads=pads)


def _residuals(graph: GraphBuilder, x: str, blocks: Iterable[nn.Module], name: str) -> str:
    for i, block in enumerate(blocks):
        assert isinstance(block, NormalizedResidual)
        at = f"{name}.{i}"
        y = conv(graph, _normalized(graph, x, f"{at}.in"), block.first, f"{at}.first")
        y = conv(graph, _leaky(graph, y, f"{at}.first"), block.second, f"{at}.second")
        x = graph.node("Add", [x, y], at)
    return x


def _leaky(graph: GraphBuilder, x: str, name: str) -> str:
    return graph.node("LeakyRelu", [x], f"{name}.leaky", alpha=ANALYSIS_SLOPE)


def _normalized(graph: GraphBuilder, x: str, name: str) -> str:
    """Each place over the root mean square of its channels."""
    square = graph.node("Mul", [x, x], f"{name}.square")
    axis = graph.constant(f"{name}.axis", np.array([1], np.int64))
    mean = graph.node("ReduceMean", [square, axis], f"{name}.mean", keepdims=1)
    least = graph.constant(f"{name}.least", np.float32(LEAST_SQUARE))
    size = graph.node("Sqrt", [graph.node("Add", [mean, least], f"{name}.sum")], f"{name}.size")
    return graph.node("Div", [x, size], f"{name}.normal")


def _residual(graph: GraphBuilder, x: str, block: nn.Module, name: str) -> str:
    assert isinstance(block, Residual)
    y = conv(graph, x, block.first, f"{name}.first", half=True)
    y = conv(graph, graph.node("Relu", [y], f"{name}.relu"), block.second, f"{name}.second", half=True)
    return graph.node("Add", [x, y], name)


def shuffled(graph: GraphBuilder, x: str, block: int, name: str) -> str:
    """(n, C block^2, h, w) -> (n, C, h block, w block), as PyTorch's pixel_shuffle."""
    return graph.node("DepthToSpace", [x], name, blocksize=block, mode="CRD")


def unshuffled(graph: GraphBuilder, x: str, block: int, name: str) -> str:
    """(n, C, h block, w block) -> (n, block^2 C, h, w); ``reordered`` says in which order."""
    return graph.node("SpaceToDepth", [x], name, blocksize=block)


def reordered(layer: nn.Conv2d, block: int) -> nn.Conv2d:
    """``layer`` taking what SpaceToDepth gives (position, channel) instead of pixel_unshuffle (channel,
    position).
    """
    out, channels, *kernel = layer.weight.shape
    weight = layer.weight.detach().reshape(out, channels // block**2, block**2, *kernel).transpose(1, 2)
    changed = copy.deepcopy(layer)
    changed.weight.data = weight.reshape(out, channels, *kernel).contiguous()
    return changed


def module(layer: nn.Module) -> nn.Conv2d:
    """``layer``, which is a convolution."""
    assert isinstance(layer, nn.Conv2d)
    return layer
