"""Merging archives: their parts and bundles as one archive, without decoding or encoding anything."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace

import pyarrow.parquet as pq

from decant.archive.manifest import Manifest, write_manifest
from decant.archive.reader import Archive
from decant.archive.schema import FAILURES, index_name, part_name
from decant.archive.storage import Store, store_at
from decant.archive.writer import PartInfo, write_failures
from decant.errors import FormatError

_BLOCK = 4 << 20


def merge(places: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> Manifest:
    """Merge the archives ``places`` into the new archive ``out``; its manifest.

    Parts are copied as they are and numbered anew; pictures keep their keys. Raises FormatError for a key
    that occurs in two archives, for a damaged file and for an ``out`` that is not empty; OSError.
    """
    archives = [Archive(place) for place in places]
    store = store_at(out)
    if store.names():
        raise FormatError(f"{store.where}: is not empty; choose a new folder")
    _require_distinct_keys(archives)
    parts: list[PartInfo] = []
    bundles: dict[str, tuple[str, int, str]] = {}
    for archive in archives:
        for entry in archive.manifest.bundle_files:
            if entry[0] not in bundles:
                _copy(archive, entry[0], entry[2], store, entry[0])
                bundles[entry[0]] = entry
        for info in archive.manifest.parts:
            name = part_name(len(parts))
            _copy(archive, info.name, info.sha256, store, name)
            _copy(archive, index_name(info.name), info.index_sha256, store, index_name(name))
            parts.append(replace(info, name=name))
    _merge_failures(archives, store)
    same = [archive.manifest.settings for archive in archives]
    settings = same[0] if all(one == same[0] for one in same) else {}
    return write_manifest(store, parts, list(bundles.values()), settings)


def _require_distinct_keys(archives: Sequence[Archive]) -> None:
    """Raise FormatError for a key of two archives."""
    for number, archive in enumerate(archives):
        others = archives[:number]
        for key in archive.keys():  # noqa: SIM118 - not a dictionary
            for other in others:
                if other.has(key):
                    raise FormatError(
                        f"{archive.place}: {key} is also in {other.place}; pack one of them again from a "
                        "folder above, so that keys differ"
                    )


def _copy(archive: Archive, name: str, digest: str, store: Store, new_name: str) -> None:
    """Copy a file whose SHA-256 is known. Raises FormatError where it is damaged."""
    actual = hashlib.sha256()
    with store.new_file(new_name) as path, path.open("wb") as target, archive.store.open(name) as source:
        while block := source.read(_BLOCK):
            actual.update(block)
            target.write(block)
        if actual.hexdigest() != digest:
            raise FormatError(f"{archive.store.where}/{name}: damaged; decant archive verify says where")


def _merge_failures(archives: Sequence[Archive], store: Store) -> None:
    tables = []
    for archive in archives:
        if archive.manifest.failures is not None:
            with archive.store.open(FAILURES) as stream:
                tables.append(pq.read_table(stream))
    write_failures(store, tables)
