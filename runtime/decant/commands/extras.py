"""Which extra of the package holds a module that is not installed."""

import re
from importlib.metadata import PackageNotFoundError, requires

from decant.errors import MissingExtraError

_PACKAGE = "decant-codec"
# Modules whose distribution has another name.
_DISTRIBUTIONS = {"skimage": "scikit-image", "sklearn": "scikit-learn", "PIL": "pillow"}
# The extra of what a plugin command needs, by its package; other commands come without one.
_OWN_EXTRA = {
    "decant_bench": "bench",
    "decant_export": "export",
    "decant_studio": "web",
    "decant_train": "train",
}


def missing(error: ModuleNotFoundError, command: str, package: str = "") -> MissingExtraError:
    """The error to raise where ``command`` of the Python ``package`` needs a module that is not installed."""
    module = (error.name or "").split(".")[0]
    distribution = _DISTRIBUTIONS.get(module, module.replace("_", "-")).lower()
    holding = [extra for extra, name in _requirements() if name == distribution]
    own = _OWN_EXTRA.get(package, "")
    extra = own if own in holding or not holding else holding[0]
    fix = f"pip install '{_PACKAGE}[{extra}]'" if extra else f"pip install --force-reinstall {_PACKAGE}"
    return MissingExtraError(f"{command} needs {distribution or error}, which is not installed: {fix}")


def _requirements() -> list[tuple[str, str]]:
    """(extra, distribution) of every requirement of the installed package; the extra of the base is ''."""
    try:
        lines = requires(_PACKAGE) or []
    except PackageNotFoundError:
        return []
    found = []
    for line in lines:
        name = re.match(r"[A-Za-z0-9._-]+", line)
        extra = re.search(r"""extra\s*==\s*["']([^"']+)""", line)
        if name:
            found.append((extra[1] if extra else "", name[0].lower()))
    return found
