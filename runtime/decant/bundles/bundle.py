"""A bundle on disk: open it, read its files checked, verify all of them, and find the bundle of a model.

Opening checks bundle.json and model.json and that the model id is theirs; every other file is checked against
its hash when it is read. ``find_bundle`` looks in the folder given, in ``DECANT_BUNDLES``, in the folders of
the settings file, in the user's data folder, and in the installed packages.
"""

import hashlib
import logging
import os
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decant.bundles.known_models import known_models
from decant.bundles.names import ModelName, parse_name, version_key
from decant.bundles.places import bundles_in, not_here, places, search_folders, shipped_folders
from decant.bundles.reading import lender, read_entry, read_limited, walk
from decant.bundles.shipped import require_released
from decant.errors import BundleError, MissingExtraError, ModelNotFoundError
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
    "search_folders",
    "shipped_folders",
    "tensor_sha256",
]

_MANIFEST_LIMIT = 16 << 20
_MOST_REMEMBERED = 1 << 18
_log = logging.getLogger("decant")
# Every decode that finds its bundle by name reads bundle.json again; the same bytes are parsed once.
_parse_once = lru_cache(maxsize=16)(parse_manifest)


class Bundle:
    """An opened bundle. ``name``, ``version``, ``decant_version`` (of the package that exported its newest
    graph; None where it is not stated), ``family``, ``model_id`` (64 hex digits), ``graphs``, ``golden``,
    ``image`` (width, height).
    """

    def __init__(self, path: Path, manifest: Manifest, model: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self.model = model
        self.name = manifest.name
        self.version = manifest.version
        self.decant_version = manifest.decant_version
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
        data = read_limited(folder / "bundle.json", _MANIFEST_LIMIT)
        parse = _parse_once if len(data) <= _MOST_REMEMBERED else parse_manifest
        manifest = parse(data, f"{folder / 'bundle.json'}")
        entry = next((file for file in manifest.files if file.path == "model.json"), None)
        if entry is None:
            raise BundleError(f"{folder / 'bundle.json'}: model.json is not in 'files'")
        model_bytes = read_entry(folder, entry)
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
        return read_entry(self.path, self._entry(entry) if isinstance(entry, str) else entry)

    @cached_property
    def tables(self) -> "dict[str, np.ndarray]":
        """The tensors of tables.safetensors, checked against model.json; empty when there are none."""
        return _tables(self)

    @cached_property
    def layout(self) -> "Layout":
        """The latent layout of model.json. Raises BundleError."""
        from decant.layouts.registry import layout_of

        return layout_of(self.model, self.tables)

    @property
    def bytes(self) -> int:
        """Bytes of the files in its folder, bundle.json included."""
        listed = sum(entry.stored_bytes for entry in self._entries() if entry.of is None)
        return listed + (self.path / "bundle.json").stat().st_size

    def verify(self) -> None:
        """Check every file against bundle.json: all there, none other, all hashes right; and, under the model
        id of a released bundle, only files that were released (``decant.bundles.shipped``).

        Raises as ``verify_files`` does, and BundleError for a file that was not released.
        """
        self.verify_files()
        require_released(self)

    def verify_files(self) -> None:
        """Check every file against bundle.json: all there, none other, all hashes right.

        Raises BundleError for the first that fails. Files of a bundle that should lie beside this one and
        does not are left out: decoding needs none.
        """
        entries = [
            entry for entry in self._entries() if entry.of is None or lender(self.path, entry.of).exists()
        ]
        listed = {entry.path: entry for entry in entries}
        found = {path for path in walk(self.path) if path != "bundle.json"}
        if extra := sorted(found - {entry.stored_path for entry in entries if entry.of is None}):
            raise BundleError(f"{self.path}: {extra[0]} is not listed in bundle.json; remove it")
        for path in sorted(listed):
            self.read(listed[path])
        _ = self.layout

    def _entries(self) -> Iterator[FileEntry]:
        return iter(self.manifest.entries)

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

    ``name`` may end in ``@`` and a version, or 8 and more digits of a model id: ``lite@0.9``. Without an id
    the newest version counts, in the first place that has the name: ``bundle_dir``, each folder of
    ``DECANT_BUNDLES``, and all other folders together. A ``name`` that no bundle can have (with a slash:
    ``./small``) is the path of a bundle's folder.

    A bundle of another name is taken when its model id is the one asked for: the id decides what a file
    decodes to, the name only helps people. A damaged bundle is passed over with a warning where another one
    fits, and so is one that has a released bundle's model id and other files (``decant.bundles.shipped``).

    Raises ModelNotFoundError with name, version, id and the folders looked in, BundleError when the only
    bundle of that name is damaged.
    """
    wanted = model_id.hex() if isinstance(model_id, bytes) else (model_id or "")
    asked = parse_name(name)
    if asked is None:
        bundle = Bundle.open(name)
        if not bundle.model_id.startswith(wanted):
            raise ModelNotFoundError(f"{name}: holds model {bundle.model_id[:16]}, not {wanted}")
        return bundle
    wanted = wanted or asked.model_id
    others: list[str] = []
    damaged: list[BundleError] = []
    for folders in places(bundle_dir):
        fitting = []
        for path in bundles_in(folders, asked.name):
            try:
                bundle = Bundle.open(path)
                require_released(bundle)
            except BundleError as error:
                if path.name == asked.name:
                    damaged.append(error)
                continue
            if _fits(bundle, asked, wanted):
                fitting.append(bundle)
                if wanted:
                    break
            elif bundle.name == asked.name:
                others.append(f"{path} has id {bundle.model_id[:16]}, version {bundle.version}")
        if fitting:
            for passed_over in damaged:
                _log.warning("%s; using %s", passed_over, fitting[0].path)
            return max(fitting, key=lambda bundle: (version_key(bundle.version), bundle.has("analysis")))
    if damaged:
        raise damaged[0]
    raise ModelNotFoundError(not_here(asked, wanted, others, search_folders(bundle_dir)))


def _fits(bundle: Bundle, asked: ModelName, wanted: str) -> bool:
    if wanted:
        return bundle.model_id.startswith(wanted)
    if bundle.name != asked.name:
        return False
    model = known_models().get(bundle.model_id)  # an older bundle of the same model had an older version
    return any(map(asked.takes, {bundle.version, *(model.versions if model else ())}))


def list_bundles(bundle_dir: str | os.PathLike[str] | None = None) -> list[Bundle]:
    """The bundle of every model that can be found, in look-up order; of several the first that encodes, or
    the first. A damaged bundle is left out with a warning.
    """
    found: dict[str, Bundle] = {}
    for folder in search_folders(bundle_dir):
        for path in bundles_in([folder]):
            try:
                bundle = Bundle.open(path)
                require_released(bundle)
            except BundleError as error:
                _log.warning("%s", error)
                continue
            if not found.setdefault(bundle.model_id, bundle).has("analysis") and bundle.has("analysis"):
                found[bundle.model_id] = bundle
    return list(found.values())


def installed_bundles() -> list[Bundle]:
    """The bundles that come with the package, in the order of their names; damaged ones are left out."""
    found = []
    for path in bundles_in(shipped_folders()):
        try:
            found.append(Bundle.open(path))
        except BundleError as error:
            _log.warning("%s", error)
    return found


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
