"""The family ``set``: its float graphs, its int8 graphs, its layout."""

from collections.abc import Mapping

import numpy as np
import onnx
from decant_train.common.checkpoint import Checkpoint
from decant_train.published.set.model import SetAutoencoder

from decant_export.common import reference
from decant_export.common.family import StaticGraph, StoredLayout
from decant_export.common.latent_coding import vector_layout
from decant_export.families.set.float_graphs import REFERENCE_BATCH, analysis, array, synthesis


class SetGraphs:
    """A checkpoint of the family, as ``decant_export.common.family.Decodes`` wants it."""

    def __init__(self, model: SetAutoencoder) -> None:
        self.model = model
        self.image = (model.config.image_size, model.config.image_size)

    def synthesis(self) -> onnx.ModelProto:
        """See Decodes."""
        return synthesis(self.model)

    def analysis(self) -> onnx.ModelProto:
        """See Decodes."""
        return analysis(self.model)

    def static(self, latents: np.ndarray) -> StaticGraph:
        """See Decodes."""
        from decant_export.families.set.int8_graphs import StaticSynthesis

        return StaticSynthesis(self.model, latents)

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """See Decodes."""
        return reference.of_latents(self.model.decode, latents, REFERENCE_BATCH)

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """See Decodes."""
        return reference.of_pixels(self.model.encode, pixels, REFERENCE_BATCH)

    def known_latents(self) -> np.ndarray | None:
        """See Decodes."""
        latents = array(self.model.latents)
        return latents if latents.any() else None  # zeros: no save has filled them yet

    def layout(self, coding: str, latents: np.ndarray) -> StoredLayout:
        """See Decodes."""
        return vector_layout(coding, latents)

    def tensors(self) -> Mapping[str, np.ndarray]:
        """See Decodes."""
        return {f"decoder.{k}": array(v) for k, v in self.model.decoder.state_dict().items()}


def graphs(checkpoint: Checkpoint) -> SetGraphs:
    """The entry that ``decant_export.common.family`` looks for."""
    assert isinstance(checkpoint.model, SetAutoencoder)
    return SetGraphs(checkpoint.model)
