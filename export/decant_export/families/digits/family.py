"""The family ``digits``: its float graphs, its int8 graphs, its layout."""

from pathlib import Path

import numpy as np
import onnx
import torch
from decant.layouts.fixed import FixedLayout
from decant_train.data import mnist
from decant_train.published.digits.model import SIDE, DigitAutoencoder

from decant_export.common import reference
from decant_export.common.family import Named, StaticGraph
from decant_export.common.fixed_family import FixedFamily
from decant_export.common.latent_coding import vector_layout
from decant_export.common.onnx_graph import GraphBuilder
from decant_export.common.pictures import from_pixels, to_pixels
from decant_export.common.tensors import array
from decant_export.errors import ExportError
from decant_export.families.digits.float_graphs import (
    REFERENCE_BATCH,
    centred,
    conv,
    doubled,
    grey_of,
    luma,
    pooled,
    three,
)


class DigitsGraphs(FixedFamily):
    """A checkpoint of the family."""

    model: DigitAutoencoder

    def size_of(self, model: DigitAutoencoder) -> tuple[int, int]:
        """See FixedFamily."""
        return (SIDE, SIDE)

    def synthesis(self) -> onnx.ModelProto:
        """See FixedFamily."""
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
        """See FixedFamily."""
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
        """See FixedFamily."""
        from decant_export.families.digits.int8_graphs import StaticDigits

        return StaticDigits(self.model, latents)

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """See FixedFamily."""
        return reference.of_latents(self.model.decode, latents, REFERENCE_BATCH).repeat(3, axis=1)

    @torch.no_grad()
    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """See FixedFamily."""
        batches = torch.split(torch.from_numpy(np.ascontiguousarray(pixels)), REFERENCE_BATCH)
        return np.concatenate([self.model.encode(grey_of(batch)).numpy() for batch in batches])

    def known_latents(self) -> np.ndarray | None:
        """See FixedFamily; a checkpoint of this family is for any digit and keeps none."""
        return None

    def layout(self, coding: str, latents: np.ndarray) -> FixedLayout:
        """See FixedFamily. Integers span 0..1, as in training."""
        return vector_layout(coding, np.array([[0.0], [1.0]], np.float32).repeat(latents.shape[1], axis=1))

    def named_images(self, checkpoint_dir: Path, folder: Path | None) -> Named:
        """The training digits of the idx files in ``folder``, grey as RGB. Raises ExportError."""
        if folder is None:
            raise ExportError(
                "a digit autoencoder keeps no images; name the folder of idx files with --images"
            )
        try:
            pictures = mnist.load(folder).images
        except mnist.DigitsError as error:
            raise ExportError(str(error)) from None
        return ((f"{i:05}", picture[..., None].repeat(3, axis=2)) for i, picture in enumerate(pictures))
