"""The graph ``synthesis_adjoint`` of the family ``codec``: with it an encoder takes the decoder's errors of
pixels back to the latents that made them.
"""

import onnx
import torch
from decant_train.families.codec import Codec, Residual, Synthesis
from torch import Tensor, nn

from decant_export.codec_graphs import conv, module, reordered, shuffled, unshuffled
from decant_export.onnx_graph import GraphBuilder


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
    body, quarter = _forward(graph, network)

    error = graph.node("Transpose", ["lacking"], "lacking.nchw", perm=[0, 3, 1, 2])
    x = _back(
        graph, unshuffled(graph, error, 4, "lacking.blocks"), reordered(_turned(network.last), 4), "last"
    )
    for i, before in reversed(list(enumerate(quarter))):
        through = graph.node("Mul", [x, before], f"render.{i}.through")
        layer = _turned(module(network.render[i]))
        x = graph.node("Add", [x, _back(graph, through, layer, f"render.{i}.back")], f"render.{i}.back.sum")
    x = unshuffled(graph, x, 4, "quarter.blocks")
    found = _back(graph, x, reordered(_turned(network.up), 4), "up.back")
    if network.entry is not None and network.up_body is not None:
        y = _back(graph, x, reordered(_turned(network.up_body), 4), "up_body.back")
        for i, block in reversed(list(enumerate(network.body))):
            assert isinstance(block, Residual)
            y = graph.node("Mul", [y, body[2 * i + 2]], f"body.{i}.out.through")
            z = _back(graph, y, _turned(block.second), f"body.{i}.second.back")
            z = graph.node("Mul", [z, body[2 * i + 1]], f"body.{i}.first.through")
            z = _back(graph, z, _turned(block.first), f"body.{i}.first.back")
            y = graph.node("Add", [y, z], f"body.{i}.back.sum")
        y = graph.node("Mul", [y, body[0]], "entry.through")
        found = graph.node(
            "Add", [found, _back(graph, y, _turned(network.entry), "entry.back")], "correction"
        )
    return graph.model(found, "float32", [1, m, "h", "w"])


def _forward(graph: GraphBuilder, network: Synthesis) -> tuple[list[str], list[str]]:
    """The synthesis as far as it is needed to know where its rectifiers let through (1, elsewhere 0): those
    of the body in their order, and those of the renderer.
    """
    if network.entry is None and not len(network.render):
        return [], []
    body: list[str] = []
    x = conv(graph, "latents", network.up, "up", stored=True)
    if network.entry is not None and network.up_body is not None:
        y = _rectified(graph, conv(graph, "latents", network.entry, "entry", stored=True), "entry", body)
        for i, block in enumerate(network.body):
            assert isinstance(block, Residual)
            first = conv(graph, y, block.first, f"body.{i}.first", stored=True)
            first = _rectified(graph, first, f"body.{i}.first", body)
            second = conv(graph, first, block.second, f"body.{i}.second", stored=True)
            y = _rectified(graph, graph.node("Add", [y, second], f"body.{i}.sum"), f"body.{i}", body)
        x = graph.node("Add", [x, conv(graph, y, network.up_body, "up_body", stored=True)], "raised")
    x = shuffled(graph, x, 4, "quarter")
    quarter: list[str] = []
    for i, layer in enumerate(network.render):
        y = conv(graph, x, module(layer), f"render.{i}", stored=True)
        x = graph.node("Add", [x, _rectified(graph, y, f"render.{i}", quarter)], f"render.{i}.sum")
    return body, quarter


def _rectified(graph: GraphBuilder, x: str, name: str, passes: list[str]) -> str:
    """relu(x); where it lets through is appended to ``passes``."""
    result = graph.node("Relu", [x], f"{name}.relu")
    passes.append(graph.node("Sign", [result], f"{name}.passes"))
    return result


def _back(graph: GraphBuilder, x: str, layer: nn.Conv2d, name: str) -> str:
    return conv(graph, x, layer, name, stored=True)


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
