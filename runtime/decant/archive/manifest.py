"""``_manifest.json``: what an archive holds, with the hashes of all its files. Written last; the same content
always gives the same bytes.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from decant.archive.schema import BUNDLE_FOLDER, FAILURES, MANIFEST, SCHEMA_VERSION, WORK_FOLDER
from decant.archive.storage import Store
from decant.archive.writer import PartInfo
from decant.errors import FormatError

_PART_NAME = re.compile(r"part-\d{5,12}\.parquet", re.ASCII)


@dataclass(frozen=True)
class Manifest:
    """``parts`` in order; ``bundle_files`` and ``failures`` as (path, bytes, sha256); ``settings`` are those
    of the packing run.
    """

    parts: list[PartInfo]
    bundle_files: list[tuple[str, int, str]]
    failures: tuple[str, int, str] | None
    failed: int
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def pictures(self) -> int:
        """Rows of all parts, duplicates included."""
        return sum(part.rows for part in self.parts)

    @property
    def duplicates(self) -> int:
        """Rows that have the bytes of another."""
        return sum(part.statuses.get("duplicate", 0) for part in self.parts)

    @property
    def payload_bytes(self) -> int:
        """Bytes of all ``.dcn`` files stored."""
        return sum(part.payload_bytes for part in self.parts)

    @property
    def source_bytes(self) -> int:
        """Bytes of the pictures packed, each duplicate counted."""
        return sum(part.source_bytes for part in self.parts)

    @property
    def bundle_bytes(self) -> int:
        """Bytes of the bundles inside."""
        return sum(size for _, size, _ in self.bundle_files)

    @property
    def bytes(self) -> int:
        """Bytes of all files but the manifest itself."""
        tables = sum(part.bytes + part.index_bytes for part in self.parts)
        return tables + self.bundle_bytes + (self.failures[1] if self.failures else 0)

    @property
    def models(self) -> dict[str, int]:
        """``name:id`` of every model -> how many pictures."""
        counts: dict[str, int] = {}
        for part in self.parts:
            for name, count in part.models.items():
                counts[name] = counts.get(name, 0) + count
        return counts


def write_manifest(
    store: Store, parts: list[PartInfo], bundle_files: list[tuple[str, int, str]], settings: dict[str, Any]
) -> Manifest:
    """Seal an archive: its manifest, and the end of its work folder. Raises OSError."""
    failures = None
    if store.exists(FAILURES):
        data = store.read(FAILURES)
        failures = (FAILURES, len(data), hashlib.sha256(data).hexdigest())
    # Where bundles were looked for is no property of the archive; its parts name their models.
    kept = {key: value for key, value in settings.items() if key not in ("bundle_dir", "model")}
    manifest = Manifest(
        parts=parts,
        bundle_files=sorted(bundle_files),
        failures=failures,
        failed=_failed(store) if failures else 0,
        settings=kept,
    )
    store.write(MANIFEST, _serialised(manifest))
    store.remove(WORK_FOLDER)
    return manifest


def read_manifest(store: Store) -> Manifest:
    """Raises FormatError for a folder that is no archive, an unfinished one, or a damaged manifest."""
    if not store.exists(MANIFEST):
        if WORK_FOLDER in store.names():
            raise FormatError(f"{store.where}: an unfinished archive; decant archive pack --resume ends it")
        raise FormatError(f"{store.where}: no archive: there is no {MANIFEST}")
    where = f"{store.where}/{MANIFEST}"
    try:
        raw = json.loads(store.read(MANIFEST))
        if raw["schema_version"] != SCHEMA_VERSION:
            raise FormatError(
                f"{where}: schema version {raw['schema_version']}; this decant reads {SCHEMA_VERSION}"
            )
        checksum = raw.pop("checksum")
        if checksum != _checksum(raw):
            raise FormatError(f"{where}: its checksum differs: the manifest is damaged")
        manifest = Manifest(
            parts=[PartInfo(**part) for part in raw["parts"]],
            bundle_files=[(name, size, digest) for name, size, digest in raw["bundle"]],
            failures=None if raw["failures"] is None else tuple(raw["failures"]),
            failed=raw["failed"],
            settings=raw["settings"],
        )
        _check_names(manifest, where)
        return manifest
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{where}: cannot be read: {error}: the manifest is damaged") from None


def _check_names(manifest: Manifest, where: str) -> None:
    """Raise FormatError for a file outside the archive, and for a count that is none: whoever made the
    manifest could choose both.
    """
    for part in manifest.parts:
        counts = (part.rows, part.bytes, part.index_bytes, part.payload_bytes, part.source_bytes)
        if not _PART_NAME.fullmatch(part.name):
            raise FormatError(f"{where}: part {part.name!r}; part-NNNNN.parquet expected")
        if any(type(count) is not int or count < 0 for count in counts):
            raise FormatError(f"{where}: {part.name}: a count is no whole number from 0 on")
    if len({part.name for part in manifest.parts}) != len(manifest.parts):
        raise FormatError(f"{where}: a part is named twice")
    for name, size, _ in manifest.bundle_files:
        pieces = name.split("/")
        if pieces[0] != BUNDLE_FOLDER or {"", ".", ".."} & set(pieces) or "\\" in name or ":" in name:
            raise FormatError(f"{where}: {name!r} is no file of {BUNDLE_FOLDER}")
        if type(size) is not int or size < 0:
            raise FormatError(f"{where}: {name!r}: size {size!r}")
    if manifest.failures is not None and manifest.failures[0] != FAILURES:
        raise FormatError(f"{where}: failures in {manifest.failures[0]!r}; {FAILURES} expected")


def _serialised(manifest: Manifest) -> bytes:
    raw: dict[str, Any] = {
        "format": "decant archive",
        "schema_version": SCHEMA_VERSION,
        "pictures": manifest.pictures,
        "duplicates": manifest.duplicates,
        "failed": manifest.failed,
        "bytes": manifest.bytes,
        "payload_bytes": manifest.payload_bytes,
        "source_bytes": manifest.source_bytes,
        "models": manifest.models,
        "settings": manifest.settings,
        "bundle": [list(entry) for entry in manifest.bundle_files],
        "failures": None if manifest.failures is None else list(manifest.failures),
        "parts": [part.described() for part in manifest.parts],
    }
    raw["checksum"] = _checksum(raw)
    return json.dumps(raw, indent=1, sort_keys=True).encode() + b"\n"


def _checksum(raw: dict[str, Any]) -> str:
    """SHA-256 of the manifest without its checksum, as JSON with sorted keys and no spaces."""
    return hashlib.sha256(json.dumps(raw, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _failed(store: Store) -> int:
    import pyarrow.parquet as pq

    with store.open(FAILURES) as stream:
        return int(pq.ParquetFile(stream).metadata.num_rows)
