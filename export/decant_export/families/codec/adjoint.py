"""The graph ``synthesis_adjoint`` of the family ``codec``: with it an encoder takes the decoder's errors of
pixels back to the latents that made them.
"""

import onnx
import torch
from decant_train.codec.layers import Residual
from decant_train.codec.model import Codec
from decant_train.codec.transforms import Synthesis
from torch import Tensor, nn

from decant_export.common.onnx_graph import GraphBuilder
from decant_export.families.codec.float_graphs import conv, reordered, shuffled, unshuffled


def adjoint(model: Codec) -> onnx.ModelProto:
    """Latents float32 (1, M, h, w) and what their pixels lack float32 (1, 16 h, 16 w, 3), in 0..1 -> the
    transposed Jacobian of the synthesis at the latents times that: float32 (1, M, h, w). Pixels are not
    clipped.

    Weights are stored in 8 bits: it leads the encoder, and decides nothing.
    """
    network: Synthesis = model.synthesis
    m = model.config.latents
    graph = GraphBuilder("synthesis_adjoint", "latents", "float32", [1, m, "h", "w"])
    graph.input("lacking", "float32", [1, "height", "width", 3])
    passes = _forward(graph, network)

    error = graph.node("Transpose", ["lacking"], "lacking.nchw", perm=[0, 3, 1, 2])
    x = _back(
        graph, unshuffled(graph, error, 4, "lacking.blocks"), reordered(_turned(network.last), 4), "last"
    )
    for i, passing in reversed(list(enumerate(passes))):
        layer = network.render[i]
        assert isinstance(layer, Residual)
        y = _back(graph, x, _turned(layer.second), f"render.{i}.second.back")
        y = graph.node("Mul", [y, passing], f"render.{i}.through")
        y = _back(graph, y, _turned(layer.first), f"render.{i}.first.back")
        x = graph.node("Add", [x, y], f"render.{i}.back.sum")
    x = unshuffled(graph, x, 4, "quarter.blocks")
    found = _back(graph, x, reordered(_turned(network.up), 4), "up.back")
    return graph.model(found, "float32", [1, m, "h", "w"])


def _forward(graph: GraphBuilder, network: Synthesis) -> list[str]:
    """The synthesis as far as it is needed to know where the rectifiers of the renderer's layers let through
    (1, elsewhere 0).
    """
    passes: list[str] = []
    if not len(network.render):
        return passes
    x = shuffled(graph, conv(graph, "latents", network.up, "up"), 4, "quarter")
    for i, layer in enumerate(network.render):
        assert isinstance(layer, Residual)
        first = conv(graph, x, layer.first, f"render.{i}.first")
        y = graph.node("Relu", [first], f"render.{i}.relu")
        passes.append(graph.node("Sign", [y], f"render.{i}.passes"))
        if i + 1 < len(network.render):
            second = conv(graph, y, layer.second, f"render.{i}.second")
            x = graph.node("Add", [x, second], f"render.{i}.sum")
    return passes


def _back(graph: GraphBuilder, x: str, layer: nn.Conv2d, name: str) -> str:
    return conv(graph, x, layer, name)


def _turned(layer: nn.Conv2d) -> nn.Conv2d:
    """The transposed convolution of ``layer``, as a convolution without bias."""
    weight = layer.weight.detach().transpose(0, 1).flip(2, 3).contiguous()
    kernel = (int(weight.shape[2]), int(weight.shape[3]))
    turned = nn.Conv2d(weight.shape[1], weight.shape[0], kernel, bias=False)
    turned.weight.data = weight
    return turned


def by_autograd(model: Codec, latents: Tensor, lacking: Tensor) -> Tensor:
    """What ``adjoint`` gives, by PyTorch."""
    with torch.enable_grad():
        latents = latents.detach().requires_grad_()
        pixels = model.synthesis(latents).permute(0, 2, 3, 1)
        (found,) = torch.autograd.grad(pixels, latents, lacking)
    return found
