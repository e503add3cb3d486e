"""Finds the layout that a bundle's ``model.json`` names.

A new layout is one line in ``LAYOUTS``. Its class is loaded with the first bundle that needs it.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from decant.errors import BundleError
from decant.layouts.layout import Layout

if TYPE_CHECKING:
    from decant.codec.codec_layout import CodecLayout
    from decant.layouts.levels import LevelsLayout
    from decant.layouts.vector import VectorLayout

    def _have_the_interface(*layouts: VectorLayout | LevelsLayout | CodecLayout) -> tuple[Layout, ...]:
        return layouts  # mypy compares each class with the protocol


# Name in model.json -> module and class, whose ``from_model`` reads model.json and the tables.
LAYOUTS = {
    "vector": "decant.layouts.vector:VectorLayout",
    "levels": "decant.layouts.levels:LevelsLayout",
    "grid": "decant.codec.codec_layout:CodecLayout",
}


def layout_of(model: Mapping[str, Any], tables: Mapping[str, np.ndarray]) -> Layout:
    """The layout of a parsed model.json. Raises BundleError when it is unknown or described wrongly."""
    name = model["latent"]["layout"]
    if name not in LAYOUTS:
        raise BundleError(
            f"latent layout {name!r} is unknown to this decant ({', '.join(LAYOUTS)}); update it"
        )
    module, _, attribute = LAYOUTS[name].partition(":")
    layout: Layout = getattr(import_module(module), attribute).from_model(model, tables)
    return layout
