"""The files that were released under each model id, and the check that a bundle with such an id holds them.

``shipped.json`` lists, for the model id of every released bundle, the SHA-256 of its graphs, tables,
golden files and model files, those of earlier releases included. ``python -m decant.bundles.release`` adds
the bundles of the installed package to it; a release does so after its bundles are exported.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from decant.errors import BundleError
from decant.formats.manifest import MODEL_SUFFIX
from decant.formats.strict_json import load_json

if TYPE_CHECKING:
    from decant.bundles.bundle import Bundle
    from decant.formats.manifest import FileEntry, Manifest


TABLE = Path(__file__).with_name("shipped.json")


@dataclass(frozen=True)
class Released:
    """The name of a released bundle and the SHA-256 (hex) of all files ever released under its model id."""

    name: str
    files: frozenset[str]


@cache
def released() -> dict[str, Released]:
    """Released bundles by model id. Raises BundleError when the package's own table is damaged."""
    table = load_json(TABLE.read_bytes(), str(TABLE))
    return {key: Released(value["name"], frozenset(value["files"])) for key, value in table.items()}


def checked_files(manifest: "Manifest") -> "Iterator[FileEntry]":
    """The files of a bundle that decide what it decodes to, or prove it: graphs, tables, golden files."""
    for graph in manifest.graphs:
        yield from graph.files
    golden = {
        path
        for item in manifest.golden
        for path in (item.file, item.pixels, item.denoised)
        if path is not None
    }
    deciding = golden | {"tables.safetensors", manifest.name + MODEL_SUFFIX}
    yield from (entry for entry in manifest.files if entry.path in deciding)


def foreign_files(manifest: "Manifest") -> list[str]:
    """The paths of the files that were never released under the bundle's model id; none where the id is not
    of a released bundle.
    """
    known = released().get(manifest.model_id)
    if known is None:
        return []
    return [entry.path for entry in checked_files(manifest) if entry.sha256 not in known.files]


def require_released(bundle: "Bundle") -> None:
    """Raise BundleError for a bundle that has a released bundle's model id and other files."""
    paths = foreign_files(bundle.manifest)
    if paths:
        name = released()[bundle.model_id].name
        raise BundleError(
            f"{bundle.path}: has the model id of the released bundle {name}, and {paths[0]} is not {name}'s; "
            "give a changed model an id of its own, or take the released bundle"
        )
