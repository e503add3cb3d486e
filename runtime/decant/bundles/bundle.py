"""A bundle on disk: open it, read its files checked, verify all of them, and find the bundle of a model.

Opening checks bundle.json and model.json and that the model id is theirs; every other file is checked against
its hash when it is read. ``find_bundle`` looks in the folder given, in ``DECANT_BUNDLES``, in the user's data
folder, and in the installed package.
"""

import hashlib
import importlib.util
import logging
import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decant.bundles.folders import user_data_folder
from decant.bundles.shipped import require_released
from decant.errors import BundleError, MissingExtraError, ModelNotFoundError
from decant.formats.container import NAME_PATTERN
from decant.formats.manifest import (
    FileEntry,
    Golden,
    Graph,
    Manifest,
    canonical_json,
    parse_manifest,
    parse_model,
    seal,
)

if TYPE_CHECKING:
    import numpy as np

    from decant.layouts.layout import Layout

__all__ = [
    "Bundle",
    "FileEntry",
    "Golden",
    "Graph",
    "canonical_json",
    "find_bundle",
    "list_bundles",
    "seal",
    "tensor_sha256",
]

_MANIFEST_LIMIT = 16 << 20
_log = logging.getLogger("decant")


class Bundle:
    """An opened bundle. ``name``, ``version``, ``family``, ``model_id`` (64 hex digits), ``graphs``,
    ``golden``, ``image`` (width, height).
    """

    def __init__(self, path: Path, manifest: Manifest, model: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self.model = model
        self.name = manifest.name
        self.version = manifest.version
        self.family = manifest.family
        self.model_id = manifest.model_id
        self.graphs = manifest.graphs
        self.golden = manifest.golden
        self.image: tuple[int, int] = (model["image"]["width"], model["image"]["height"])

    def __repr__(self) -> str:
        return f"<Bundle {self.name} {self.version} {self.model_id[:16]} at {self.path}>"

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Bundle":
        """Open the bundle in folder ``path``.

        Raises BundleError when bundle.json or model.json is missing, damaged, or contradicts the other;
        ModelNotFoundError when the folder holds no bundle.
        """
        folder = Path(path)
        if not (folder / "bundle.json").is_file():
            raise ModelNotFoundError(f"{folder}: no bundle here (no bundle.json); give a bundle's folder")
        data = _read_limited(folder / "bundle.json", _MANIFEST_LIMIT)
        manifest = parse_manifest(data, f"{folder / 'bundle.json'}")
        entry = next((file for file in manifest.files if file.path == "model.json"), None)
        if entry is None:
            raise BundleError(f"{folder / 'bundle.json'}: model.json is not in 'files'")
        model_bytes = _read_entry(folder, entry)
        if hashlib.sha256(model_bytes).hexdigest() != manifest.model_id:
            raise BundleError(f"{folder / 'model.json'}: its SHA-256 is not the bundle's model id")
        return cls(folder, manifest, parse_model(model_bytes, f"{folder / 'model.json'}"))

    def has(self, role: str) -> bool:
        """Whether the bundle has a graph of ``role``."""
        return any(graph.role == role for graph in self.graphs)

    def graph(self, role: str, precision: str | None = None, runtime: str | None = None) -> Graph:
        """The first graph of ``role`` that has this precision and runtime. Raises BundleError when there is
        none.
        """
        for graph in self.graphs:
            if (
                graph.role == role
                and precision in (None, graph.precision)
                and runtime in (None, graph.runtime)
            ):
                return graph
        asked = " ".join(filter(None, (role, precision, runtime)))
        have = ", ".join(g.label for g in self.graphs) or "none"
        raise BundleError(f"bundle {self.name}: no graph {asked}; it has {have}")

    def read(self, entry: FileEntry | str) -> bytes:
        """The content of a listed file (or of the path of one), checked against its length and hash. Raises
        BundleError.
        """
        return _read_entry(self.path, self._entry(entry) if isinstance(entry, str) else entry)

    @cached_property
    def tables(self) -> "dict[str, np.ndarray]":
        """The tensors of tables.safetensors, checked against model.json; empty when there are none."""
        return _tables(self)

    @cached_property
    def layout(self) -> "Layout":
        """The latent layout of model.json. Raises BundleError."""
        from decant.layouts.registry import layout_of

        return layout_of(self.model, self.tables)

    def verify(self) -> None:
        """Check every file against bundle.json: all there, none other, all hashes right; and, under the model
        id of a released bundle, only files that were released (``decant.bundles.shipped``).

        Raises BundleError for the first that fails. Files of a bundle that should lie beside this one and
        does not are left out: decoding needs none.
        """
        entries = [
            entry for entry in self._entries() if entry.of is None or _beside(self.path, entry.of).exists()
        ]
        listed = {entry.path: entry for entry in entries}
        found = {path for path in _walk(self.path) if path != "bundle.json"}
        if extra := sorted(found - {entry.path for entry in entries if entry.of is None}):
            raise BundleError(f"{self.path}: {extra[0]} is not listed in bundle.json; remove it")
        for path in sorted(listed):
            self.read(listed[path])
        require_released(self)
        _ = self.layout

    def _entries(self) -> Iterator[FileEntry]:
        yield from self.manifest.files
        for graph in self.graphs:
            yield from graph.files

    def _entry(self, path: str) -> FileEntry:
        for entry in self._entries():
            if entry.path == path:
                return entry
        raise BundleError(f"{self.path}: {path} is not listed in bundle.json")


def tensor_sha256(array: "np.ndarray") -> str:
    """SHA-256 (hex) of a tensor: ``dtype|shape|`` in ASCII, then its little-endian bytes in C order
    (docs/format.md).
    """
    little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    head = f"{array.dtype.name}|{','.join(map(str, array.shape))}|"
    return hashlib.sha256(head.encode("ascii") + little.tobytes("C")).hexdigest()


def open_bundle(
    bundle: "str | os.PathLike[str] | Bundle", bundle_dir: str | os.PathLike[str] | None = None
) -> "Bundle":
    """A Bundle as it is, the one in a folder (a path object), or the one of a name or path (text)."""
    if isinstance(bundle, Bundle):
        return bundle
    return find_bundle(bundle, bundle_dir=bundle_dir) if isinstance(bundle, str) else Bundle.open(bundle)


def find_bundle(
    name: str, model_id: bytes | str | None = None, bundle_dir: str | os.PathLike[str] | None = None
) -> Bundle:
    """The bundle called ``name`` whose model id begins with ``model_id`` (bytes or hex digits).

    A ``name`` that no bundle can have (with a slash: ``./small``) is the path of a bundle's folder. A bundle
    of another name is taken when its model id is the one asked for: the id decides what a file decodes to,
    the name only helps people. A damaged bundle is passed over with a warning where another one fits, and so
    is one that has a released bundle's model id and other files (``decant.bundles.shipped``).

    Raises ModelNotFoundError with the folders looked in, BundleError when the only bundle of that name is
    damaged.
    """
    wanted = model_id.hex() if isinstance(model_id, bytes) else (model_id or "")
    if not NAME_PATTERN.fullmatch(name):
        bundle = Bundle.open(name)
        if not bundle.model_id.startswith(wanted):
            raise ModelNotFoundError(f"{name}: holds model {bundle.model_id[:16]}, not {wanted}")
        return bundle
    folders = search_folders(bundle_dir)
    others: list[str] = []
    damaged: list[BundleError] = []
    paths = [path for folder in folders for path in _bundles_in(folder)]
    for path in sorted(paths, key=lambda path: path.name != name):
        try:
            bundle = Bundle.open(path)
            require_released(bundle)
        except BundleError as error:
            if path.name == name:
                damaged.append(error)
            continue
        if bundle.model_id.startswith(wanted) and (wanted or bundle.name == name):
            for passed_over in damaged:
                _log.warning("%s; using %s", passed_over, bundle.path)
            return bundle
        if bundle.name == name:
            others.append(f"{path} has id {bundle.model_id[:16]}")
    if damaged:
        raise damaged[0]
    looked = ", ".join(str(folder) for folder in folders)
    asked = f"model {name}" + (f" with id {wanted}" if wanted else "")
    also = f" ({'; '.join(others)})" if others else ""
    raise ModelNotFoundError(
        f"{asked} is not here{also}; looked in {looked}; give --bundle-dir or set DECANT_BUNDLES"
    )


def list_bundles(bundle_dir: str | os.PathLike[str] | None = None) -> list[Bundle]:
    """All bundles that can be found, in look-up order; a damaged one is left out with a warning."""
    found: dict[str, Bundle] = {}
    for folder in search_folders(bundle_dir):
        for path in _bundles_in(folder):
            try:
                bundle = Bundle.open(path)
                require_released(bundle)
            except BundleError as error:
                _log.warning("%s", error)
                continue
            found.setdefault(bundle.model_id, bundle)
    return list(found.values())


def search_folders(bundle_dir: str | os.PathLike[str] | None = None) -> list[Path]:
    """Where bundles are looked for, in order; folders that are not there included."""
    folders = [Path(bundle_dir)] if bundle_dir is not None else []
    folders += [Path(part) for part in os.environ.get("DECANT_BUNDLES", "").split(os.pathsep) if part]
    return [*folders, user_data_folder() / "bundles", *shipped_folders()]


def shipped_folders() -> list[Path]:
    """Where the bundles that come in the wheel lie; empty where they were left out."""
    spec = importlib.util.find_spec("decant_bundles")
    return [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []


def installed_bundles() -> list[Bundle]:
    """The bundles that come with the package, in the order of their names; damaged ones are left out."""
    found = []
    for path in (path for folder in shipped_folders() for path in _bundles_in(folder)):
        try:
            found.append(Bundle.open(path))
        except BundleError as error:
            _log.warning("%s", error)
    return found


def _bundles_in(folder: Path) -> list[Path]:
    """``folder`` itself when it is a bundle, else the bundles in it, by name."""
    if (folder / "bundle.json").is_file():
        return [folder]
    try:
        return sorted(path for path in folder.iterdir() if (path / "bundle.json").is_file())
    except OSError:
        return []


def _walk(folder: Path) -> Iterable[str]:
    """Relative paths, with /, of all files under ``folder``; links are given, never followed."""
    for root, directories, names in os.walk(folder):
        links = [name for name in directories if (Path(root) / name).is_symlink()]
        for name in [*names, *links]:
            yield (Path(root) / name).relative_to(folder).as_posix()


def _read_limited(path: Path, limit: int) -> bytes:
    """The bytes of a file; its size is looked at before any memory is taken for it."""
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > limit:
                raise BundleError(f"{path}: {size} bytes; at most {limit} expected")
            return stream.read(size)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from None


def _beside(folder: Path, name: str) -> Path:
    return folder.absolute().parent / name


def _read_entry(folder: Path, entry: FileEntry) -> bytes:
    if entry.of is not None:
        folder = _beside(folder, entry.of)
        if not folder.exists():
            raise BundleError(
                f"{folder / entry.path}: not here; it is bundle {entry.of}'s: put that beside this one"
            )
    path = folder / entry.path
    # A link may lead out of the folder (a bundle is data, often from somebody else); what it names is not
    # part of the bundle then.
    try:
        inside = path.resolve(strict=True).is_relative_to(folder.resolve(strict=True))
    except (OSError, RuntimeError):
        raise BundleError(f"{path}: listed in bundle.json and not here") from None
    if not inside:
        raise BundleError(f"{path}: leads out of the bundle's folder")
    if not path.is_file():
        raise BundleError(f"{path}: not a file")
    data = _read_limited(path, entry.bytes)
    if len(data) != entry.bytes:
        raise BundleError(f"{path}: {len(data)} bytes; bundle.json says {entry.bytes}")
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise BundleError(f"{path}: its SHA-256 differs from bundle.json: the file is damaged")
    return data


def _tables(bundle: Bundle) -> "dict[str, np.ndarray]":
    expected: dict[str, str] = bundle.model["tables"]
    if not any(entry.path == "tables.safetensors" for entry in bundle.manifest.files):
        if expected:
            raise BundleError(f"{bundle.path}: model.json names tables, and there is no tables.safetensors")
        return {}
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load
    except ImportError:
        raise MissingExtraError(
            "reading tables.safetensors needs safetensors: pip install safetensors"
        ) from None
    where = bundle.path / "tables.safetensors"
    try:
        tables: dict[str, np.ndarray] = load(bundle.read("tables.safetensors"))
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise BundleError(f"{where}: cannot be read: {error}") from None
    hashes = {name: tensor_sha256(array) for name, array in tables.items()}
    for name in sorted(set(hashes) | set(expected)):
        if hashes.get(name) != expected.get(name):
            raise BundleError(f"{where}: tensor {name} is not the one that model.json names")
    return tables
