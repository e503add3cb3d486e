"""Bundles as earlier releases had them: the integer networks in files of their own."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import reference_model_file
from decant.formats.manifest import seal
from safetensors.numpy import save

NARROW = ("mean.0.weight", "mean.1.weight", "prediction.weight")  # of 8 bits


def write(bundle: Path, folder: Path) -> Path:
    """A copy of a codec's bundle in the new ``folder``, its integer networks as they were released: byte for
    byte, so that its files still are those of the model.
    """
    shutil.copytree(bundle, folder)
    raw = json.loads((folder / "bundle.json").read_bytes())
    graphs = [graph for graph in raw["graphs"] if graph["runtime"] == "native"]
    entry = graphs[0]["files"][0]
    model = reference_model_file.read((folder / entry["path"]).read_bytes())
    for graph in graphs:
        tensors = model.hyper if graph["role"] == "hyper_mean" else model.synthesis
        tensors |= {name: tensors[name].astype(np.int8) for name in NARROW if name in tensors}
        data = save(dict(sorted(tensors.items())))
        path = f"{graph['role']}.int16.safetensors"
        (folder / path).write_bytes(data)
        graph["files"] = [{"path": path, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}]
    raw["files"].append(entry)
    del raw["checksum"]
    (folder / "bundle.json").write_bytes(seal(raw))
    return folder
