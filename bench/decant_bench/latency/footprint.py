"""How large an installation is: decant and what it needs at run time, file by file."""

import importlib.util
import os
import re
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "decant-codec"
_PACKAGES = ("decant", "decant_train", "decant_export", "decant_bench", "decant_bundles")


def installed_mb(*also: str) -> dict[str, float]:
    """Megabytes (10^6 bytes) of each distribution of a lean install, and of ``also`` with what those need.

    A distribution that is not installed is left out; byte-compiled files count where they are.
    """
    names = _with_requirements([DISTRIBUTION, *also])
    return {name: round(_bytes(name) / 1e6, 3) for name in names}


def _with_requirements(names: list[str]) -> list[str]:
    """The distributions ``names`` and all that they require without extras, each once."""
    found: list[str] = []
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # required on another system or Python only
        canonical = re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()
        if canonical in found:
            continue
        found.append(canonical)
        for requirement in distribution.requires or ():
            wanted, _, marker = requirement.partition(";")
            match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", wanted)
            if match and "extra" not in marker:
                waiting.append(match[1])
    return found


def _bytes(name: str) -> int:
    total = sum(_size(Path(str(file.locate()))) for file in metadata.files(name) or ())
    if name == DISTRIBUTION:
        # An editable install lists a pointer to the sources only; a real one has the packages below among its
        # files, which then must not count twice.
        listed = {Path(str(file.locate())).resolve() for file in metadata.files(name) or ()}
        total += sum(_size(path) for path in _sources() if path.resolve() not in listed)
    return total


def _sources() -> list[Path]:
    folders: list[Path] = []
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        folders += [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    return [Path(root) / file for folder in folders for root, _, files in os.walk(folder) for file in files]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
