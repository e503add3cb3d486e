"""Its graphs and its layout, as ``decant_export.common.fixed_family.FixedFamily`` asks for them."""

import numpy as np
import onnx
from decant.layouts.fixed import FixedLayout
from decant_export.common.fixed_family import FixedFamily
from decant_export.common.latent_coding import vector_layout
from decant_export.common.onnx_graph import GraphBuilder
from decant_export.common.pictures import PICTURE, from_pixels, to_pixels
from decant_export.common.tensors import array


class ToyFamily(FixedFamily):
    """No static int8 and no latents in the checkpoint: pictures are given to the export."""

    def synthesis(self) -> onnx.ModelProto:
        """See FixedFamily."""
        config, decoder = self.model.config, self.model.decoder
        size = config.image_size
        graph = GraphBuilder("synthesis", "latents", "float32", ["n", config.latent_dim])
        weights = [
            graph.constant("decoder.weight", array(decoder.weight).T),
            graph.constant("decoder.bias", array(decoder.bias)),
        ]
        x = graph.reshape(graph.node("Gemm", ["latents", *weights], "decoder"), [-1, 3, size, size], "planes")
        bounds = [graph.constant("zero", np.float32(0)), graph.constant("one", np.float32(1))]
        x = graph.node("Clip", [x, *bounds], PICTURE)
        return graph.model(to_pixels(graph, x), "uint8", ["n", size, size, 3])

    def analysis(self) -> onnx.ModelProto:
        """See FixedFamily."""
        config = self.model.config
        size, side = config.image_size, [config.block] * 2
        graph = GraphBuilder("analysis", "pixels", "uint8", ["n", size, size, 3])
        x = from_pixels(graph, "pixels")
        x = graph.node("AveragePool", [x], "means", kernel_shape=side, strides=side)
        return graph.model(graph.node("Flatten", [x], "latents", axis=1), "float32", ["n", config.latent_dim])

    def known_latents(self) -> None:
        """See FixedFamily."""
        return

    def layout(self, coding: str, latents: np.ndarray) -> FixedLayout:
        """See FixedFamily."""
        return vector_layout(coding, latents)
