"""What ``decant info``, ``models`` and ``devices`` say, as plain data for ``--json`` and as text. Needs
neither numpy nor a runtime.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from decant.bundles.bundle import Bundle
from decant.bundles.known_models import EARLIER_PACKAGE, KnownModel, known, known_models
from decant.formats.container import DcnFile
from decant.formats.exif import dpi_of, orientation_of
from decant.formats.manifest import Graph
from decant.text import escaped

# (grey, alpha) of a file -> Pillow's mode of its picture.
MODES = {(False, False): "RGB", (False, True): "RGBA", (True, False): "L", (True, True): "LA"}


@dataclass(frozen=True)
class FileInfo:
    """The header and the sections of a ``.dcn`` file.

    * ``path``: ``<bytes>`` or ``<stream>`` if the file has no name;
    * ``model_id``: 16 hexadecimal digits;
    * ``width``, ``height``: of the stored pixels; ``orientation``: EXIF orientation 1..8 (1 is upright);
    * ``quality``: 1..100, or None if the model has no qualities;
    * ``mode``: Pillow's mode, RGB, RGBA, L or LA; ``dpi``: pixels per inch, or None;
    * ``sections``: sizes in bytes by name (latents, alpha, exif, icc, xmp); ``bytes``: size of the file.
    """

    path: str
    model: str
    model_id: str
    width: int
    height: int
    quality: int | None
    mode: str
    orientation: int
    dpi: tuple[float, float] | None
    bytes: int
    sections: dict[str, int]

    @property
    def metadata(self) -> tuple[str, ...]:
        """The names of the metadata sections of the file: exif, icc, xmp."""
        return tuple(name for name in ("exif", "icc", "xmp") if name in self.sections)

    @property
    def bits_per_pixel(self) -> float:
        """Bits of the whole file per pixel."""
        return 8 * self.bytes / (self.width * self.height)

    @classmethod
    def of(cls, file: DcnFile, path: str, size: int) -> "FileInfo":
        """That of a parsed file of ``size`` bytes."""
        blocks = {
            "latents": file.latents,
            "alpha": file.alpha,
            "exif": file.exif,
            "icc": file.icc,
            "xmp": file.xmp,
        }
        return cls(
            path=path,
            model=file.name,
            model_id=file.model_id.hex(),
            width=file.width,
            height=file.height,
            quality=file.quality or None,
            mode=MODES[file.grey, file.alpha is not None],
            orientation=orientation_of(file.exif, file.xmp),
            dpi=dpi_of(file.exif),
            bytes=size,
            sections={name: len(block) for name, block in blocks.items() if block is not None},
        )


def describe_file(file: DcnFile, path: str, size: int, bundle: Bundle | None = None) -> dict[str, Any]:
    """A parsed file of ``size`` bytes, made with ``bundle`` where that is known: it says how many groups the
    latents are coded in.
    """
    info = FileInfo.of(file, path, size)
    return {
        "kind": "file",
        "path": path,
        "model": info.model,
        "model_id": info.model_id,
        "width": info.width,
        "height": info.height,
        "quality": info.quality,
        "mode": info.mode,
        "grey": file.grey,
        "alpha": file.alpha is not None,
        "orientation": info.orientation,
        "dpi": None if info.dpi is None else [round(value, 2) for value in info.dpi],
        "model_version": _version(file, bundle),
        "model_licence": None if bundle is None else licence_of(bundle),
        "model_commercial_use": None if bundle is None else commercial_use_of(bundle),
        "groups": None if bundle is None else _groups(file, bundle.model["latent"]),
        "bytes": size,
        "bits_per_pixel": info.bits_per_pixel,
        "sections": info.sections,
    }


def _groups(file: DcnFile, latent: dict[str, Any]) -> int | None:
    """Number of coding tiles of a picture; None where the layout has no tiles. The tables stay unread."""
    side = latent.get("group")
    if not isinstance(side, int) or side < 1:
        return None
    pixels = 16 * side
    return -(-file.width // pixels) * -(-file.height // pixels)


def describe_bundle(bundle: Bundle) -> dict[str, Any]:
    """An open bundle."""
    raw = bundle.manifest.raw
    return {
        "kind": "bundle",
        "path": str(bundle.path),
        "name": bundle.name,
        "version": bundle.version,
        "decant_version": bundle.decant_version,
        "family": bundle.family,
        "model_id": bundle.model_id,
        "bytes": bundle.bytes,
        "width": bundle.image[0],
        "height": bundle.image[1],
        "latent": bundle.model["latent"],
        "graphs": [_graph(graph) for graph in bundle.graphs],
        "refused": raw.get("refused", []),
        "golden": len(bundle.golden),
        "licence": raw.get("licence"),
        "commercial_use": commercial_use_of(bundle),
        "data": raw.get("data"),
    }


def licence_lines(bundles: Sequence[Bundle]) -> list[str]:
    """The terms of the weights as each bundle states them, one line for the bundles of equal terms."""
    names: dict[str, list[str]] = {}
    for bundle in bundles:
        of = names.setdefault(licence_of(bundle) or "not stated", [])
        if bundle.name not in of:
            of.append(bundle.name)
    return [escaped(f"licence of {', '.join(of)}: {licence}") for licence, of in names.items()]


def licence_of(bundle: Bundle) -> str | None:
    """The terms of the weights, from bundle.json; None where it states none."""
    licence = bundle.manifest.raw.get("licence")
    return licence if isinstance(licence, str) and licence else None


def commercial_use_of(bundle: Bundle) -> str | None:
    """Whether the weights may be used commercially: "yes", "no" or "unclear"; None where neither bundle.json
    nor the table of released models says it.
    """
    said = bundle.manifest.raw.get("commercial_use")
    if said in ("yes", "no", "unclear"):
        return str(said)
    model = known_models().get(bundle.model_id)
    return None if model is None else model.commercial_use


def describe_missing(model: KnownModel) -> dict[str, Any]:
    """A released model that is not here."""
    return {
        "kind": "missing",
        "path": None,
        "name": model.name,
        "version": model.versions[-1],
        "model_id": model.model_id,
        "commercial_use": model.commercial_use,
        "package": EARLIER_PACKAGE if model.commit else "decant-codec",
    }


def _version(file: DcnFile, bundle: Bundle | None) -> str | None:
    """The version of the model that a file names, if it is here or was released."""
    if bundle is not None:
        return bundle.version
    model = known(file.model_id.hex())
    return None if model is None else model.versions[-1]


def _graph(graph: Graph) -> dict[str, Any]:
    return {
        "role": graph.role,
        "precision": graph.precision,
        "runtime": graph.runtime,
        "bytes": graph.bytes,
        "kmac_per_pixel": graph.kmac_per_pixel,
        "psnr_to_float_db": graph.psnr_to_float_db,
        "floor_db": graph.lowest_psnr_db,
    }


def as_text(described: dict[str, Any]) -> str:
    """The lines that people read: scalars by name, graphs as a table."""
    rows = [
        (key, _shown(value))
        for key, value in described.items()
        if key != "graphs" and value not in (None, [], False)
    ]
    width = max([15, *(len(key) for key, _ in rows)])
    lines = [f"{key:<{width}} {value}" for key, value in rows]
    if graphs := described.get("graphs"):
        lines += ["", table([{k: _shown(v) for k, v in graph.items()} for graph in graphs])]
    return "\n".join(lines)


def table(rows: list[dict[str, str]]) -> str:
    """Rows of the same keys as aligned columns under their names."""
    cells = [list(rows[0]), *([escaped(cell) for cell in row.values()] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    if isinstance(value, list):
        return f"{len(value)}" if value and isinstance(value[0], dict) else ", ".join(map(str, value))
    return escaped(str(value))
