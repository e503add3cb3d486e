"""The model file ``.dcnm`` of a codec's bundle, for libdcn (docs/format/dcnm.md)."""

import hashlib
import json
from pathlib import Path
from typing import Any

from decant.bundles.bundle import Bundle
from decant.formats.manifest import FileEntry, seal
from decant.formats.model_file import SUFFIX, pack
from safetensors.numpy import load

PRECISION, RUNTIME = "int16", "native"


def add(folder: Path) -> None:
    """Write the model file of the bundle in ``folder``, and list it in bundle.json; a bundle without the
    integer synthesis has none. Raises BundleError for tensors that do not fit together.
    """
    bundle = Bundle.open(folder)
    graphs = {g.role: g for g in bundle.graphs if (g.precision, g.runtime) == (PRECISION, RUNTIME)}
    if not {"hyper_mean", "synthesis"} <= graphs.keys():
        return
    hyper, synthesis = (load(bundle.read(graphs[role].files[0])) for role in ("hyper_mean", "synthesis"))
    data = pack(bundle.name, bundle.model_id, bundle.model["latent"], bundle.tables, hyper, synthesis)
    entry = add_file(folder, bundle.name + SUFFIX, data)
    raw: dict[str, Any] = json.loads((folder / "bundle.json").read_bytes())
    raw["files"] = [file for file in raw["files"] if file["path"] != entry.path] + [entry.described()]
    del raw["checksum"]
    (folder / "bundle.json").write_bytes(seal(raw))


def add_file(folder: Path, path: str, data: bytes) -> FileEntry:
    """Write a file of a bundle into ``folder``; its entry in bundle.json."""
    target = folder / path
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(data)
    return FileEntry(path, len(data), hashlib.sha256(data).hexdigest())
