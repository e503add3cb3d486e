"""The decoders inside an archive: ``_bundle`` holds one bundle for each model of its pictures."""

import hashlib
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import IO

from decant.archive.schema import BUNDLE_FOLDER, MANIFEST
from decant.archive.settings import PackSettings
from decant.archive.storage import Store
from decant.bundles.bundle import Bundle, find_bundle, open_bundle
from decant.bundles.folders import user_cache_folder
from decant.bundles.reading import walk
from decant.errors import BundleError
from decant.formats.writing import write_atomically

# What a decoder-only bundle is made for, the first that the bundle has.
_SLIM = (("native", "int16"), ("onnxruntime", "int8"), ("onnxruntime", "float32"))


def embed(store: Store, models: list[str], settings: PackSettings, work: Path) -> list[tuple[str, int, str]]:
    """Write the bundle of every model (``name:id``) into the archive; (path, bytes, sha256) of its files.

    Raises ModelNotFoundError, BundleError, OSError.
    """
    entries = []
    for model in models:
        name, _, model_id = model.partition(":")
        bundle = _bundle(name, model_id, settings)
        for path, data in _files(bundle, settings.embed):
            place = f"{BUNDLE_FOLDER}/{name}-{model_id}/{path}"
            store.write(place, data)
            entries.append((place, len(data), hashlib.sha256(data).hexdigest()))
    return entries


def _bundle(name: str, model_id: str, settings: PackSettings) -> Bundle:
    own = open_bundle(settings.model, settings.bundle_dir)
    if own.model_id.startswith(model_id):
        return own
    return find_bundle(name, model_id, settings.bundle_dir)


def _files(bundle: Bundle, how: str) -> list[tuple[str, bytes]]:
    """The files of a bundle's decoder, or of all of the bundle where it borrows none from another."""
    from decant.slim import slim

    with tempfile.TemporaryDirectory(prefix="decant-") as folder:
        if how == "slim":
            for runtime, precision in _SLIM:
                try:
                    made = slim(bundle, Path(folder) / "bundle", runtime=runtime, precision=precision)
                except BundleError:
                    continue
                return _read(made.path)
        bundle.verify()
        return _read(bundle.path)


def decoder_bytes(bundle: Bundle, how: str) -> int:
    """Bytes that ``bundle`` takes in an archive; ``how`` as in ``PackSettings.embed``, not "none"."""
    return sum(len(data) for _, data in _files(bundle, how))


def _read(folder: Path) -> list[tuple[str, bytes]]:
    return [(path, (folder / path).read_bytes()) for path in sorted(walk(folder))]


def decoder_folder(store: Store, bundle_dir: str | None) -> str | None:
    """Where the decoders of an archive are looked for first: ``bundle_dir``, or the archive's own. Raises
    OSError.
    """
    if bundle_dir:
        return bundle_dir
    own = bundle_folder(store)
    return None if own is None else str(own)


def bundle_folder(store: Store) -> Path | None:
    """The local folder of an archive's bundles; of a remote archive a copy in the user's cache. None where it
    has none. Raises OSError.
    """
    if BUNDLE_FOLDER not in store.names():
        return None
    here = store.local(BUNDLE_FOLDER)
    if here is not None:
        return here
    return _fetched(store)


def _copy(data: bytes, stream: IO[bytes]) -> None:
    stream.write(data)


def _fetched(store: Store) -> Path:
    entries = json.loads(store.read(MANIFEST))["bundle"]
    digest = hashlib.sha256(json.dumps(entries).encode()).hexdigest()[:32]
    folder = user_cache_folder() / "archives" / digest
    for name, size, _ in entries:
        path = folder / Path(name).relative_to(BUNDLE_FOLDER)
        if not path.is_file() or path.stat().st_size != size:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, partial(_copy, store.read(name)))
    return folder
