"""The model families, one file each. ``get`` finds one by name without importing the others."""

from importlib import import_module

from decant_train.families.base import Family

NAMES = ("set", "denoiser", "codec", "color", "digits", "digits_denoiser", "perceptual")


def get(name: str) -> Family:
    """The family called ``name``. Raises ValueError, naming the known ones, when there is none."""
    if name not in NAMES:
        raise ValueError(f"no family is called {name!r}; known: {', '.join(NAMES)}")
    family: Family = import_module(f"decant_train.families.{name}").FAMILY
    return family


__all__ = ["NAMES", "Family", "get"]
