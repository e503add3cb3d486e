"""Finds the layout that a bundle's ``model.json`` names: ``vector``, ``levels`` or ``grid``."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from decant.errors import BundleError
from decant.layouts.layout import Layout
from decant.layouts.vector import VectorLayout


def _grid(model: Mapping[str, Any], tables: Mapping[str, np.ndarray]) -> Layout:
    from decant.codec.layout import GridLayout  # the coder is loaded with the first bundle that needs it

    return GridLayout.from_model(model, tables)


def _levels(model: Mapping[str, Any], tables: Mapping[str, np.ndarray]) -> Layout:
    from decant.layouts.levels import LevelsLayout

    return LevelsLayout.from_model(model, tables)


LAYOUTS: dict[str, Callable[[Mapping[str, Any], Mapping[str, np.ndarray]], Layout]] = {
    VectorLayout.name: VectorLayout.from_model,
    "levels": _levels,
    "grid": _grid,
}


def layout_of(model: Mapping[str, Any], tables: Mapping[str, np.ndarray]) -> Layout:
    """The layout of a parsed model.json. Raises BundleError when it is unknown or described wrongly."""
    name = model["latent"]["layout"]
    if name not in LAYOUTS:
        raise BundleError(
            f"latent layout {name!r} is unknown to this decant ({', '.join(LAYOUTS)}); update it"
        )
    return LAYOUTS[name](model, tables)
