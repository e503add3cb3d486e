"""The two JSON files of a bundle, read into dataclasses and checked field by field (docs/format.md).

Nothing here opens a file or needs numpy, so that ``decant info`` is fast.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from decant.errors import BundleError
from decant.formats.container import MAX_SIDE, NAME_PATTERN
from decant.formats.strict_json import load_json

SCHEMA = 1
_WORD = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MAX_NUMBER = 1e9
_LARGEST_WHOLE = 1 << 53
_MOST_ENTRIES = 20_000
_MOST_DIMENSIONS = 8
# How many times its gzip file a file of a bundle may be.
MOST_UNPACKED = 100
_KINDS = {str: "text", int: "a whole number", dict: "an object", list: "a list"}

# Graphs that bundles side by side may share: decoding needs none of them.
ENCODER_ROLES = ("analysis", "hyper_analysis", "prediction")

# Of the static graphs that ``decant export --to npu`` adds.
DEVICE_PRECISIONS = ("int8-static", "float16")

# The lowest PSNR, in dB, at which a runtime may decode the golden files, where bundle.json gives none.
DEFAULT_FLOOR_DB = {"float": 48.0}
OTHER_FLOOR_DB = 40.0


@dataclass(frozen=True)
class FileEntry:
    """A file of the bundle: path relative to its folder, length and SHA-256 (hex) of its content.

    ``of`` is the neighbouring folder that has the file, for a graph of an encoder that several bundles share.
    ``gzip_bytes`` is the length of the gzip file that is stored instead, under the same name and ``.gz``.
    """

    path: str
    bytes: int
    sha256: str
    of: str | None = None
    gzip_bytes: int | None = None

    @property
    def stored_path(self) -> str:
        """The name of the stored file."""
        return self.path if self.gzip_bytes is None else f"{self.path}.gz"

    @property
    def stored_bytes(self) -> int:
        """The length of the stored file."""
        return self.bytes if self.gzip_bytes is None else self.gzip_bytes

    def described(self) -> dict[str, Any]:
        """As bundle.json has it."""
        found: dict[str, Any] = {"path": self.path, "bytes": self.bytes, "sha256": self.sha256}
        if self.of is not None:
            found["of"] = self.of
        if self.gzip_bytes is not None:
            found["gzip_bytes"] = self.gzip_bytes
        return found


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a graph; a text in ``shape`` is a free dimension."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Graph:
    """One graph of a bundle: its role, precision and runtime, and its measurements at export."""

    role: str
    precision: str
    runtime: str
    files: tuple[FileEntry, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: int | None = None
    kmac_per_pixel: float | None = None
    psnr_to_float_db: float | None = None
    floor_db: float | None = None

    @property
    def bytes(self) -> int:
        """Length of its files together."""
        return sum(file.bytes for file in self.files)

    @property
    def lowest_psnr_db(self) -> float:
        """``floor_db``, or the default of its precision."""
        if self.floor_db is not None:
            return self.floor_db
        return DEFAULT_FLOOR_DB.get(self.precision, OTHER_FLOOR_DB)

    @property
    def label(self) -> str:
        """How messages name it: ``synthesis.int8 (onnxruntime)``."""
        return f"{self.role}.{self.precision} ({self.runtime})"


@dataclass(frozen=True)
class Golden:
    """A file and the pictures that the float graphs give for it: decoded, and decoded and denoised."""

    file: str
    pixels: str
    denoised: str | None = None


@dataclass(frozen=True)
class Manifest:
    """bundle.json. Graphs of the runtime ``native`` share one file, the model file."""

    name: str
    version: str
    family: str
    model_id: str
    graphs: tuple[Graph, ...]
    files: tuple[FileEntry, ...]
    golden: tuple[Golden, ...]
    raw: Mapping[str, Any]
    decant_version: str | None = None

    @property
    def entries(self) -> tuple[FileEntry, ...]:
        """Every file that bundle.json lists, once."""
        return (*self.files, *dict.fromkeys(file for graph in self.graphs for file in graph.files))


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys, no spaces, ASCII, and a newline at the end: one value, one text."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii") + b"\n"


def manifest_checksum(manifest: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of bundle.json's canonical JSON without its ``checksum``."""
    return hashlib.sha256(canonical_json({k: v for k, v in manifest.items() if k != "checksum"})).hexdigest()


def seal(manifest: Mapping[str, Any]) -> bytes:
    """The bytes of bundle.json for ``manifest``: readable JSON with its ``checksum``."""
    sealed = {**manifest, "checksum": manifest_checksum(manifest)}
    return json.dumps(sealed, indent=2, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Read bundle.json. Raises BundleError for a wrong checksum, or a missing or invalid field."""
    raw = load_json(data, where)
    _check_schema(raw, where)
    if _take(raw, "checksum", str, where) != manifest_checksum(raw):
        raise BundleError(
            f"{where}: its checksum differs: the file is damaged (decant.bundles.bundle.seal writes it)"
        )
    name = _match(raw, "name", NAME_PATTERN, where)
    graphs = tuple(
        _graph(item, name, f"{where}: graphs[{i}]")
        for i, item in enumerate(_take(raw, "graphs", list, where))
    )
    files = tuple(
        _file(item, f"{where}: files[{i}]") for i, item in enumerate(_take(raw, "files", list, where))
    )
    others = [graph for graph in graphs if graph.runtime != "native"]
    shared = dict.fromkeys(file for graph in graphs if graph.runtime == "native" for file in graph.files)
    entries = [*files, *shared, *(file for graph in others for file in graph.files)]
    packed = [entry.stored_path for entry in entries if entry.gzip_bytes is not None]
    require_listed_once([*(entry.path for entry in entries), *packed], where)
    keys = [(graph.role, graph.precision, graph.runtime) for graph in graphs]
    if len(set(keys)) != len(keys):
        raise BundleError(f"{where}: two graphs have the same role, precision and runtime")
    golden = tuple(
        _golden(item, {f.path for f in files}, where) for item in _take(raw, "golden", list, where)
    )
    if not golden:
        raise BundleError(f"{where}: no golden files; without them no runtime can be checked")
    return Manifest(
        name=name,
        version=_take(raw, "version", str, where),
        family=_take(raw, "family", str, where),
        model_id=_match(raw, "model_id", _SHA256, where),
        graphs=graphs,
        files=files,
        golden=golden,
        raw=raw,
        decant_version=_take(raw, "decant_version", str, where) if "decant_version" in raw else None,
    )


def require_listed_once(paths: Iterable[str], where: str) -> None:
    """Raise BundleError for a path that occurs twice, and for bundle.json, which cannot hold its own hash."""
    for path, count in Counter(paths).items():
        if count > 1 or path == "bundle.json":
            raise BundleError(f"{where}: {path} is listed {count} time{'s' if count > 1 else ''}")


def parse_model(data: bytes, where: str) -> dict[str, Any]:
    """Read model.json. Raises BundleError if a field is missing, unknown or invalid."""
    model = load_json(data, where)
    _check_schema(model, where)
    if unknown := set(model) - {"schema", "image", "latent", "tables", "synthesis"}:
        raise BundleError(f"{where}: unknown keys {sorted(unknown)}; a newer decant may know them")
    image = _take(model, "image", dict, where)
    for side in ("width", "height"):
        if not 0 <= _take(image, side, int, f"{where}: image") <= MAX_SIDE:
            raise BundleError(f"{where}: image {side} {image[side]}; 0 (any) to {MAX_SIDE} pixels expected")
    if (image["width"] == 0) != (image["height"] == 0):
        raise BundleError(f"{where}: image width and height must both be 0 (any size) or both be given")
    if image.get("channels") != 3 or image.get("colour") != "srgb":
        raise BundleError(f"{where}: image channels and colour must be 3 and srgb")
    _take(_take(model, "latent", dict, where), "layout", str, f"{where}: latent")
    for group in ("tables", "synthesis"):
        for tensor in _take(model, group, dict, where):
            _match(model[group], tensor, _SHA256, f"{where}: {group}")
    return model


def checked_path(path: str, where: str) -> str:
    """``path`` where it stays inside the bundle's folder on every system. Raises BundleError elsewhere."""
    parts = path.split("/")
    bad_part = any(part in ("", ".", "..") or part.endswith((" ", ".")) for part in parts)
    if bad_part or re.search(r'[\\:*?"<>|\x00-\x1f]', path) or not path.isascii() or len(path) > 200:
        raise BundleError(f"{where}: path {path!r}; a relative path with / and without .. expected")
    return str(PurePosixPath(path))


def _check_schema(value: Mapping[str, Any], where: str) -> None:
    if _take(value, "schema", int, where) != SCHEMA:
        raise BundleError(f"{where}: schema {value['schema']}; this decant reads schema {SCHEMA}")


def _take(value: object, key: str, kind: type, where: str) -> Any:
    """``value[key]``, which must be of ``kind``."""
    if not isinstance(value, dict):
        raise BundleError(f"{where}: an object expected")
    if key not in value:
        raise BundleError(f"{where}: no {key!r}")
    found = value[key]
    if not isinstance(found, kind) or isinstance(found, bool):
        raise BundleError(f"{where}: {key!r} must be {_KINDS[kind]}")
    if isinstance(found, int) and abs(found) > _LARGEST_WHOLE:
        raise BundleError(f"{where}: {key!r} is beyond 2^53")
    if isinstance(found, list | dict) and len(found) > _MOST_ENTRIES:
        raise BundleError(f"{where}: {key!r} has {len(found)} entries; at most {_MOST_ENTRIES} expected")
    return found


def _match(value: object, key: str, pattern: re.Pattern[str], where: str) -> str:
    found: str = _take(value, key, str, where)
    if not pattern.fullmatch(found):
        raise BundleError(f"{where}: {key!r} is {found[:80]!r}, which is not valid")
    return found


def _number(value: Mapping[str, Any], key: str, where: str) -> float | None:
    found = value.get(key)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) < _MAX_NUMBER:
        raise BundleError(f"{where}: {key!r} must be a number or null")
    return float(found)


def _file(value: object, where: str, *, shared: bool = False) -> FileEntry:
    size = _take(value, "bytes", int, where)
    if size < 0:
        raise BundleError(f"{where}: a length of {size} bytes is not valid")
    path = checked_path(_take(value, "path", str, where), where)
    assert isinstance(value, dict)
    if "of" in value and not shared:
        raise BundleError(f"{where}: 'of' is for the graphs {', '.join(ENCODER_ROLES)}")
    of = _match(value, "of", NAME_PATTERN, where) if "of" in value else None
    gzip_bytes = _take(value, "gzip_bytes", int, where) if "gzip_bytes" in value else None
    if gzip_bytes is not None and gzip_bytes < 0:
        raise BundleError(f"{where}: a length of {gzip_bytes} bytes is not valid")
    if gzip_bytes is not None and size > MOST_UNPACKED * gzip_bytes:
        raise BundleError(
            f"{where}: {gzip_bytes} bytes of gzip for {size}; at most {MOST_UNPACKED} times expected"
        )
    sha256 = _match(value, "sha256", _SHA256, where)
    return FileEntry(path=path, bytes=size, sha256=sha256, of=of, gzip_bytes=gzip_bytes)


def _tensor(value: object, where: str) -> TensorSpec:
    shape = _take(value, "shape", list, where)
    if len(shape) > _MOST_DIMENSIONS:
        raise BundleError(f"{where}: {len(shape)} dimensions; at most {_MOST_DIMENSIONS} expected")
    for size in shape:
        if isinstance(size, bool) or not isinstance(size, int | str) or (isinstance(size, int) and size < 1):
            raise BundleError(f"{where}: dimension {size!r}; a positive whole number or a name expected")
    return TensorSpec(
        name=_take(value, "name", str, where), dtype=_take(value, "dtype", str, where), shape=tuple(shape)
    )


# The model file NAME.dcnm begins with these bytes. It holds all graphs of the runtime native.
MODEL_SUFFIX, MODEL_MAGIC = ".dcnm", b"\x8aDCM"
# Which files a graph has, by runtime. Graphs of runtimes not listed are kept and never chosen.
GRAPH_SUFFIXES = {"onnxruntime": (".onnx",), "openvino": (".xml", ".bin")}


def graph_paths(name: str, role: str, precision: str, runtime: str) -> tuple[str, ...]:
    """The files of a graph of the bundle ``name``, in their order; none for an unknown runtime. In earlier
    releases graphs of ``native`` had files of their own, ROLE.PRECISION.safetensors.
    """
    if runtime == "native":
        return (name + MODEL_SUFFIX,)
    return tuple(f"{role}.{precision}{suffix}" for suffix in GRAPH_SUFFIXES.get(runtime, ()))


def _graph(value: object, name: str, where: str) -> Graph:
    role, precision, runtime = (_match(value, key, _WORD, where) for key in ("role", "precision", "runtime"))
    shared = role in ENCODER_ROLES
    files = tuple(_file(item, where, shared=shared) for item in _take(value, "files", list, where))
    expected, paths = graph_paths(name, role, precision, runtime), tuple(file.path for file in files)
    earlier = runtime == "native" and paths == (f"{role}.{precision}.safetensors",)
    if expected and paths != expected and not earlier:
        raise BundleError(f"{where}: files must be {', '.join(expected)}, in this order")
    assert isinstance(value, dict)
    opset = value.get("opset")
    if opset is not None and (isinstance(opset, bool) or not isinstance(opset, int)):
        raise BundleError(f"{where}: 'opset' must be a whole number or null")
    return Graph(
        role=role,
        precision=precision,
        runtime=runtime,
        files=files,
        inputs=tuple(_tensor(item, f"{where}: inputs") for item in _take(value, "inputs", list, where)),
        outputs=tuple(_tensor(item, f"{where}: outputs") for item in _take(value, "outputs", list, where)),
        opset=opset,
        kmac_per_pixel=_number(value, "kmac_per_pixel", where),
        psnr_to_float_db=_number(value, "psnr_to_float_db", where),
        floor_db=_number(value, "floor_db", where),
    )


def _golden(value: object, listed: set[str], where: str) -> Golden:
    where = f"{where}: golden"
    golden = Golden(file=_take(value, "file", str, where), pixels=_take(value, "pixels", str, where))
    assert isinstance(value, dict)
    if "denoised" in value:
        golden = Golden(golden.file, golden.pixels, _take(value, "denoised", str, where))
    for path in (golden.file, golden.pixels, golden.denoised):
        if path is not None and path not in listed:
            raise BundleError(f"{where}: {path} is not in 'files'")
    return golden
