"""Fetching a bundle from a mirror: a web server or a folder that a user names. Nothing else in decant asks a
network for anything.

A mirror holds bundles under the first 16 digits of their model ids: ``URL/f8b691d4dbb05374/bundle.json`` and
beside it the files that bundle.json lists. Every file is checked against its length and SHA-256, and those
of a released model against the package's table (``decant.bundles.shipped``), before the bundle is put in its
place.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from decant.bundles.bundle import Bundle
from decant.bundles.configuration import configuration, configuration_file
from decant.bundles.known_models import known, known_by_version
from decant.bundles.names import parse_name
from decant.bundles.places import fetched_folder
from decant.bundles.reading import content_of, read_limited
from decant.errors import BundleError, ModelNotFoundError
from decant.formats.manifest import FileEntry, Manifest, parse_manifest

MANIFEST_LIMIT = 16 << 20
BUNDLE_LIMIT = 512 << 20  # bytes of all files together
TIMEOUT_SECONDS = 30
_ID = re.compile(r"[0-9a-f]{16,64}", re.ASCII)

# Path of a file on the mirror, and the most bytes it may have -> its bytes.
Source = Callable[[str, int], bytes]


def fetch(model: str, mirror: str | None = None, into: str | os.PathLike[str] | None = None) -> Bundle:
    """Fetch the bundle of ``model`` from ``mirror`` and put it where bundles are found.

    ``model`` is a model id of 16 to 64 hexadecimal digits, or NAME@VERSION of a released model. ``mirror`` is
    an http or https URL or a folder; without it the settings' (``decant.bundles.configuration``). ``into`` is
    the folder to put it in; without it ``bundles`` in the user's data folder.

    Raises ModelNotFoundError where the mirror does not have it, BundleError for what is damaged, unfit, or
    cannot be reached, and where no mirror is given.
    """
    model_id = _model_id(model)
    place = mirror or configuration().mirror
    if not place:
        raise BundleError(
            f"model {model}: no mirror to fetch it from; give --from URL, set DECANT_MIRROR, or mirror in "
            f"{configuration_file()}"
        )
    read = _source(place, model_id[:16])
    described = read("bundle.json", MANIFEST_LIMIT)
    manifest = parse_manifest(described, f"{place}: bundle.json of {model_id[:16]}")
    if not manifest.model_id.startswith(model_id):
        raise BundleError(
            f"{place}: gives model {manifest.model_id[:16]} where {model_id[:16]} was asked for"
        )
    folder = Path(into) if into is not None else fetched_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as parent:
        building = Path(parent) / "bundle"
        _download(manifest, read, building, place)
        (building / "bundle.json").write_bytes(described)
        Bundle.open(building).verify()
        target = folder / f"{manifest.name}-{manifest.version}-{manifest.model_id[:16]}"
        if target.exists():
            shutil.rmtree(target)  # an earlier copy, perhaps damaged
        building.rename(target)
    return Bundle.open(target)


def _model_id(model: str) -> str:
    """The model id, or its first digits, of what was asked for. Raises ModelNotFoundError."""
    if _ID.fullmatch(model):
        return model
    asked = parse_name(model)
    if asked is not None and asked.model_id and (found := known(asked.model_id)):
        return found.model_id
    if asked is not None and asked.version and (versions := known_by_version(asked.name, asked.version)):
        return versions[0].model_id
    raise ModelNotFoundError(
        f"model {model}: a model id of 16 to 64 hexadecimal digits, or NAME@VERSION of a released model, "
        "expected; decant models --all lists those"
    )


def _download(manifest: Manifest, read: Source, folder: Path, place: str) -> None:
    """All files of the bundle but those that another bundle lends, checked. Raises BundleError."""
    own = [entry for entry in manifest.entries if entry.of is None]
    total = sum(max(entry.stored_bytes, entry.bytes) for entry in own)
    if total > BUNDLE_LIMIT:
        raise BundleError(f"{place}: the bundle has {total} bytes; at most {BUNDLE_LIMIT} expected")
    folder.mkdir()
    for entry in own:
        _place(folder, entry, read(entry.stored_path, entry.stored_bytes), place)


def _place(folder: Path, entry: FileEntry, data: bytes, place: str) -> None:
    content_of(data, entry, f"{place}: {entry.stored_path}")
    path = folder / entry.stored_path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _source(place: str, folder: str) -> Source:
    """Reads the files of the bundle ``folder`` of the mirror ``place``. Raises BundleError for other URLs."""
    if "://" not in place:
        return _local(Path(place).expanduser() / folder)
    if not place.startswith(("http://", "https://")):
        raise BundleError(f"mirror {place}: an http or https URL, or a folder, expected")
    return _web(place.rstrip("/"), folder)


def _local(folder: Path) -> Source:
    def read(path: str, limit: int) -> bytes:
        if not folder.is_dir():
            raise ModelNotFoundError(f"{folder}: no such folder; the mirror does not have this model")
        return read_limited(folder / path, limit)

    return read


def _web(place: str, folder: str) -> Source:
    import http.client
    import urllib.error
    import urllib.request

    def read(path: str, limit: int) -> bytes:
        url = f"{place}/{folder}/{path}"
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
                data: bytes = answer.read(limit + 1)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == http.HTTPStatus.NOT_FOUND:
                raise ModelNotFoundError(f"{url}: not on this mirror") from None
            raise BundleError(f"{url}: HTTP status {error.code} {error.reason}") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise BundleError(f"{url}: cannot be fetched: {reason}") from None
        if len(data) > limit:
            raise BundleError(f"{url}: more than the {limit} bytes expected")
        return data

    return read
