"""The family ``set``: its float graphs, its int8 graphs, its layout."""

import numpy as np
import onnx
from decant.layouts.fixed import FixedLayout
from decant_train.published.set.model import SetAutoencoder

from decant_export.common.family import StaticGraph
from decant_export.common.fixed_family import FixedFamily
from decant_export.common.latent_coding import vector_layout
from decant_export.common.tensors import array
from decant_export.families.set.float_graphs import analysis, synthesis


class SetGraphs(FixedFamily):
    """A checkpoint of the family."""

    model: SetAutoencoder

    def synthesis(self) -> onnx.ModelProto:
        """See FixedFamily."""
        return synthesis(self.model)

    def analysis(self) -> onnx.ModelProto:
        """See FixedFamily."""
        return analysis(self.model)

    def static(self, latents: np.ndarray) -> StaticGraph:
        """See FixedFamily."""
        from decant_export.families.set.int8_graphs import StaticSynthesis

        return StaticSynthesis(self.model, latents)

    def known_latents(self) -> np.ndarray | None:
        """See FixedFamily."""
        latents = array(self.model.latents)
        return latents if latents.any() else None  # zeros: no save has filled them yet

    def layout(self, coding: str, latents: np.ndarray) -> FixedLayout:
        """See FixedFamily."""
        return vector_layout(coding, latents)
