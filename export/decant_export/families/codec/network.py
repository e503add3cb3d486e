"""The synthesis transform of a codec, read back from its float graph.

int8 graphs are made from the float graph of a bundle and not from a checkpoint: a bundle is then all that
``decant export requantize`` needs, and both graphs of a bundle have the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import torch
from decant_train.codec.config import CodecConfig
from decant_train.codec.transforms import Synthesis

from decant_export.common.onnx_graph import GraphBuilder, constants, nodes_of
from decant_export.errors import ExportError

LATENTS = "latents"  # the tensor of dequantized latents in a float graph


@dataclass(frozen=True)
class FloatSynthesis:
    """The float synthesis ``graph`` and the network that follows its dequantized latents."""

    graph: onnx.ModelProto
    network: Synthesis

    @classmethod
    def of(cls, graph: onnx.ModelProto) -> FloatSynthesis:
        """Read ``graph``, as ``codec_graphs.synthesis`` writes it. Raises ExportError for another one."""
        tensors = constants(graph)

        def value(name: str) -> torch.Tensor:
            stored = tensors.get(f"{name}.half", tensors.get(name))
            if stored is None:
                raise ExportError(
                    f"the float graph synthesis has no tensor {name!r}: it is not the graph of a codec"
                )
            return torch.from_numpy(stored.astype("float32"))

        up, layers = value("up.weight"), 0
        while f"render.{layers}.first.bias" in tensors:
            layers += 1
        network = Synthesis(
            CodecConfig(
                latents=up.shape[1],
                channel_groups=(up.shape[1],),
                render_width=value("last.weight").shape[1],
                render_layers=layers,
                render_hidden=len(value("render.0.first.bias")) if layers else 1,
            )
        )
        network.load_state_dict({name: value(name) for name in network.state_dict()})
        return cls(graph, network.eval().requires_grad_(False))

    @property
    def channels(self) -> int:
        """Channels of the latents."""
        return self.network.up.in_channels

    def begun(self) -> tuple[GraphBuilder, str]:
        """A graph with the inputs of this synthesis, and the dequantized latents in it."""
        nodes = nodes_of(self.graph, LATENTS)
        return GraphBuilder.continuing(self.graph, nodes), LATENTS
