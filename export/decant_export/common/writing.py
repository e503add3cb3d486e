"""A bundle's files: model.json, tables, golden files, graphs, and bundle.json over all of them
(docs/format.md).
"""

import dataclasses
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from decant.bundles.bundle import Bundle, seal, tensor_sha256
from decant.formats.manifest import ENCODER_ROLES, FileEntry
from decant_train.common import families
from decant_train.common.checkpoint import Checkpoint
from PIL import Image
from safetensors.numpy import save

from decant_export.common.gate import Gate
from decant_export.common.variants import Variant


class Stored(Protocol):
    """A latent layout that can be written into a bundle."""

    def to_model(self) -> dict[str, Any]:
        """The value of ``latent`` in model.json."""


@dataclass(frozen=True)
class GoldenCase:
    """A file, the pixels that it must give, and what the denoiser makes of those."""

    file: bytes
    pixels: np.ndarray
    denoised: np.ndarray | None = None


def assemble(
    folder: Path,
    head: Mapping[str, Any],
    model: bytes,
    tables: Mapping[str, np.ndarray],
    golden: Sequence[GoldenCase],
    gate: Gate,
    sizes: Mapping[str, int] = MappingProxyType({}),
    card: str | None = None,
    lender: Bundle | None = None,
) -> None:
    """Write every file of a bundle into the empty ``folder``; ``model`` is the content of model.json,
    ``sizes`` are those of the graphs' free dimensions for a picture of ``gate.image``, ``card`` is
    what people should know (Markdown). Of the ENCODER_ROLES, what ``lender`` has too stays its own.
    """
    files = [add_file(folder, "model.json", model)]
    if card is not None:
        files.append(add_file(folder, "card.md", card.encode()))
    if tables:
        files.append(add_file(folder, "tables.safetensors", save(dict(sorted(tables.items())))))
    cases, entries = golden_files(folder, golden)
    files += entries
    graphs = []
    for variant, psnr in gate.whole:
        named = zip(variant.paths(gate.name), variant.blobs, strict=True)
        holder = lender if variant.role in ENCODER_ROLES else None
        parts = [_lent(holder, path, blob) or add_file(folder, path, blob) for path, blob in named]
        graphs.append(graph_entry(variant, gate, psnr, parts, sizes))
    manifest = {
        "schema": 1,
        **head,
        "model_id": hashlib.sha256(model).hexdigest(),
        "graphs": graphs,
        "refused": gate.refused,
        "files": [entry.described() for entry in files],
        "golden": cases,
    }
    (folder / "bundle.json").write_bytes(seal(manifest))


def golden_files(folder: Path, golden: Sequence[GoldenCase]) -> tuple[list[dict[str, str]], list[FileEntry]]:
    """Write the golden files; what bundle.json says of them, and the files."""
    cases, entries = [], []
    for i, found in enumerate(golden):
        case = {
            "file": (f"golden/{i:03}.dcn", found.file),
            "pixels": (f"golden/{i:03}.png", png(found.pixels)),
        }
        if found.denoised is not None:
            case["denoised"] = (f"golden/{i:03}.denoised.png", png(found.denoised))
        entries += [add_file(folder, path, data) for path, data in case.values()]
        cases.append({key: path for key, (path, _) in case.items()})
    return cases, entries


def graph_entry(
    variant: Variant, gate: Gate, psnr: float, parts: Sequence[FileEntry], sizes: Mapping[str, int]
) -> dict[str, Any]:
    """What bundle.json says of one graph, whose files are ``parts``."""
    described = dataclasses.asdict(variant.described(parts, gate.image, sizes))
    return described | {"files": [part.described() for part in parts]} | gate.figures(variant, psnr)


def model_description(
    image: tuple[int, int],
    layout: Stored,
    tables: Mapping[str, np.ndarray],
    tensors: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """model.json: what decides decoding of images of ``image`` width and height (0, 0: any)."""
    width, height = image
    return {
        "schema": 1,
        "image": {"width": width, "height": height, "channels": 3, "colour": "srgb"},
        "latent": layout.to_model(),
        "tables": {key: tensor_sha256(table) for key, table in tables.items()},
        "synthesis": {key: tensor_sha256(tensor) for key, tensor in tensors.items()},
    }


def head_of(
    checkpoint: Checkpoint, name: str, version: str, licence: str, commercial_use: str, data: str | None
) -> dict[str, Any]:
    """What bundle.json says of itself; ``data`` in words, the checkpoint's own where None."""
    return {
        "name": name,
        "version": version,
        "decant_version": metadata.version("decant-codec"),
        "family": checkpoint.family,
        "licence": licence,
        "commercial_use": commercial_use,
        "data": data_description(checkpoint) if data is None else data,
        "training": training_description(checkpoint),
    }


def data_description(checkpoint: Checkpoint) -> str:
    """What a checkpoint was trained on, in words."""
    # A folder's own name says it; where the folder lay on the trainer's disk is nobody's business.
    source = str(checkpoint.data.get("source", "unknown source"))
    source = Path(source).name if Path(source).is_absolute() else source
    return f"{checkpoint.data.get('images', '?')} images: {source}"


def training_description(checkpoint: Checkpoint) -> dict[str, Any]:
    """How a checkpoint was trained, and its figures."""
    return {
        "epochs": checkpoint.epoch,
        "steps": checkpoint.step,
        "minutes": round(checkpoint.elapsed_s / 60, 1),
        "stopped_by": checkpoint.stopped_by,
        "config": families.get(checkpoint.family).to_keys(checkpoint.config),
        # A run stopped before its first evaluation holds a NaN, which JSON has not.
        "metrics": {k: round(v, 6) for k, v in checkpoint.metrics.items() if math.isfinite(v)},
    }


def add_file(folder: Path, path: str, data: bytes) -> FileEntry:
    """Write ``data`` to ``path`` below ``folder``; its entry of bundle.json. Raises OSError."""
    target = folder / path
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(data)
    return FileEntry(path, len(data), hashlib.sha256(data).hexdigest())


def _lent(lender: Bundle | None, path: str, data: bytes) -> FileEntry | None:
    if lender is None:
        return None
    held = {file.path: file for graph in lender.graphs for file in graph.files if file.of is None}
    entry = FileEntry(path, len(data), hashlib.sha256(data).hexdigest())
    return dataclasses.replace(entry, of=lender.path.absolute().name) if held.get(path) == entry else None


def png(pixels: np.ndarray) -> bytes:
    """uint8 (H, W, 3) -> a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
