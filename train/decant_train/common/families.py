"""The model families, one file each. ``get`` finds one by name without importing the others."""

from importlib import import_module

from decant_train.common.family import Family

MODULES = {
    "set": "decant_train.published.set.model",
    "denoiser": "decant_train.published.denoiser.model",
    "codec": "decant_train.codec.model",
    "color": "decant_train.published.color.model",
    "digits": "decant_train.published.digits.model",
    "digits_denoiser": "decant_train.published.digits.denoiser",
    "perceptual": "decant_train.published.perceptual.model",
}
NAMES = tuple(MODULES)


def get(name: str) -> Family:
    """The family called ``name``. Raises ValueError, naming the known ones, when there is none."""
    if name not in MODULES:
        raise ValueError(f"no family is called {name!r}; known: {', '.join(MODULES)}")
    family: Family = import_module(MODULES[name]).FAMILY
    return family


__all__ = ["NAMES", "Family", "get"]
