"""The family ``perceptual``: its float graphs, its int8 graphs, its layout."""

from collections.abc import Mapping

import numpy as np
import onnx
import torch
from decant.codec.entropy.counts import integer_counts
from decant.layouts.fixed import FixedLayout
from decant.layouts.levels import LevelsLayout
from decant_train.published.perceptual.model import (
    PerceptualAutoencoder,
)

from decant_export.common.family import StaticGraph
from decant_export.common.fixed_family import FixedFamily
from decant_export.common.tensors import array
from decant_export.errors import ExportError
from decant_export.families.perceptual.float_graphs import analysis, convolved, synthesis

CODINGS = ("levels", "float16")  # the second is what a command that says nothing asks for


UNSEEN = 0.5  # added to every count: a level that training never had can still be coded


class PerceptualGraphs(FixedFamily):
    """A checkpoint of the family."""

    model: PerceptualAutoencoder

    def synthesis(self) -> onnx.ModelProto:
        """See FixedFamily."""
        return synthesis(self.model, convolved)

    def analysis(self) -> onnx.ModelProto:
        """See FixedFamily."""
        return analysis(self.model)

    def static(self, latents: np.ndarray) -> StaticGraph:
        """See FixedFamily."""
        from decant_export.families.perceptual.int8_graphs import StaticSynthesis

        return StaticSynthesis(self.model, latents)

    def known_latents(self) -> np.ndarray | None:
        """See FixedFamily."""
        return array(self.model.known) if self.model.level_counts.any() else None

    def layout(self, coding: str, latents: np.ndarray) -> FixedLayout:
        """See FixedFamily; the tables are counted over the training pictures, or over ``latents`` where the
        checkpoint was never finished.
        """
        if coding not in CODINGS:
            raise ExportError(f"family perceptual stores levels of its own bits, not {coding}; leave it out")
        if not self.model.level_counts.any():
            self.model.count_levels(torch.from_numpy(latents))
        counts = np.stack([integer_counts(row + UNSEEN) for row in array(self.model.level_counts)])
        _, height, width = self.model.config.latent_shape
        return LevelsLayout.of_one_depth(counts, height, width)

    def tensors(self) -> Mapping[str, np.ndarray]:
        """See FixedFamily."""
        return {
            f"decoder.{name}": array(tensor)
            for name, tensor in self.model.decoder.state_dict().items()
            if not name.endswith("num_batches_tracked")
        }
