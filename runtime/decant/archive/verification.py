"""Verifying an archive: every file's hash, every payload's hash, and that symbols decode; what is wrong is
named by key, and what is whole is counted.
"""

import hashlib
import os
import random
from collections.abc import Iterator
from typing import Any

from decant.archive.bundles import decoder_folder
from decant.archive.engines import Engine
from decant.archive.reader import Archive
from decant.archive.running import run_units
from decant.archive.schema import index_name
from decant.archive.tasks import Progress, Report, Step, Tell, UnitResult
from decant.batch import message_of
from decant.errors import DecantError, FormatError
from decant.process.failures import is_from_signal_handler
from decant.verify import FileVerifier

_COLUMNS = ("key", "bytes", "payload_sha256", "status")
_BLOCK = 1 << 20


class VerifyTask:
    """Checks parts of an archive; a unit is a part. ``sample`` is the share of its pictures whose payloads
    are checked, above 0 to 1.
    """

    def __init__(self, place: str, sample: float, bundle_dir: str | None) -> None:
        self._place = place
        self._sample = sample
        self._bundle_dir = bundle_dir
        self._archive: Archive
        self._verifier: FileVerifier

    def __getstate__(self) -> dict[str, Any]:
        names = ("_place", "_sample", "_bundle_dir")
        return {name: getattr(self, name) for name in names}

    def open(self) -> None:
        """Open the archive. Raises DecantError, OSError."""
        self._archive = Archive(self._place)
        self._verifier = FileVerifier(decoder_folder(self._archive.store, self._bundle_dir))

    def run(self, unit: int, tell: Tell, lethal: dict[int, str]) -> UnitResult:
        """Check a part; ``extra["failures"]`` has a line for each fault."""
        result = UnitResult(unit)
        faults: list[str] = []
        try:
            if self._sample >= 1:
                faults += self._file_faults(unit)
            whole = not faults
            hashes, column_faults = self._hashes_of(unit)
            faults += column_faults
            index = self._archive.index(unit)
        except (DecantError, OSError) as error:
            result.extra = {"failures": [*faults, message_of(error, self._archive.where(unit))]}
            result.failed = self._archive.manifest.parts[unit].rows
            return result
        before = len(faults)
        for row in self._rows(unit, len(index)):
            tell(Step(row, begun=True))
            fault, size = self._picture_fault(unit, row, hashes, lethal.get(row))
            faults += [fault] if fault else []
            result.pictures += not fault
            result.failed += bool(fault)
            result.bytes_in += size
            tell(Step(row, size, failed=bool(fault)))
        if not whole and len(faults) == before and not column_faults:
            faults.append(
                f"{self._archive.where(unit)}: every picture is whole; the damage lies in what Parquet keeps "
                "between them"
            )
        result.extra = {"failures": faults}
        return result

    def _rows(self, part: int, count: int) -> list[int]:
        if self._sample >= 1:
            return list(range(count))
        chosen = random.Random(f"{self._archive.manifest.parts[part].sha256}").sample(
            range(count), max(1, round(count * self._sample))
        )
        return sorted(chosen)

    def _file_faults(self, part: int) -> Iterator[str]:
        info = self._archive.manifest.parts[part]
        for name, size, digest in (
            (info.name, info.bytes, info.sha256),
            (index_name(info.name), info.index_bytes, info.index_sha256),
        ):
            if fault := file_fault(self._archive, name, size, digest):
                yield fault

    def _hashes_of(self, part: int) -> tuple[dict[str, bytes], list[str]]:
        """Key -> SHA-256 of its payload, and the faults of the row groups that cannot be read."""
        hashes: dict[str, bytes] = {}
        faults: list[str] = []
        try:
            file = self._archive.parquet(part)
        except FormatError as error:
            return hashes, [str(error)]
        start = 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            try:
                table = self._archive.row_group(part, group, _COLUMNS, file)
                for row in table.to_pylist():
                    if row["payload_sha256"] is not None:
                        hashes[row["key"]] = row["payload_sha256"]
            except FormatError as error:
                keys = self._archive.index(part).keys
                first, last = keys[start].as_py(), keys[start + rows - 1].as_py()
                faults.append(f"{error} (keys {first} to {last})")
            start += rows
        return hashes, faults

    def _picture_fault(
        self, part: int, row: int, hashes: dict[str, bytes], lethal: str | None
    ) -> tuple[str, int]:
        """What is wrong with a picture, or nothing; and the bytes read."""
        key = f"row {row}"
        try:
            key = self._archive.index(part).at(row)[0]
            if lethal is not None:
                return f"{key}: {lethal}", 0
            place = self._archive.at(part, row)
            data = self._archive.payload_at(place)
            expected = hashes.get(key)
            if expected is not None and hashlib.sha256(data).digest() != expected:
                return f"{key}: its bytes are not those that were packed (SHA-256)", len(data)
            finding = self._verifier(data, key)
            if finding.passed is False:
                return f"{key}: {finding.detail}", len(data)
            return "", len(data)
        except Exception as error:
            if is_from_signal_handler(error):
                raise
            return message_of(error, key), 0


def verify(
    place: str | os.PathLike[str],
    *,
    sample: float = 1.0,
    bundle_dir: str | None = None,
    engine: str | Engine = "local",
    workers: int = 0,
    report: Report | None = None,
) -> list[str]:
    """Check an archive; the faults, a line for each, none where it is whole.

    ``sample`` 1 checks every byte: the hash of each file, of each payload, and that all symbols decode. Less
    checks the bundle and so large a share of the pictures of each part, chosen alike every time. Raises
    FormatError for what is no archive, DecantError, OSError.
    """
    if not 0 < sample <= 1:
        raise FormatError(f"sample {sample}; above 0, at most 1 expected")
    archive = Archive(place)
    faults = list(_other_faults(archive))
    total = sum(max(1, round(part.rows * sample)) for part in archive.manifest.parts)
    task, units = VerifyTask(os.fspath(place), sample, bundle_dir), range(len(archive.manifest.parts))
    found: dict[int, list[str]] = {}
    for result in run_units(task, units, Progress(total), report, engine, workers):
        found[result.unit] = result.extra["failures"]
    return faults + [fault for _, faults_of_part in sorted(found.items()) for fault in faults_of_part]


def file_fault(archive: Archive, name: str, size: int, digest: str) -> str:
    """What is wrong with a file of the archive, by its size and hash; empty for one that is whole."""
    where = f"{archive.store.where}/{name}"
    try:
        found = archive.store.size(name)
        if found != size:
            return f"{where}: {found} bytes; {size} expected"
        actual = hashlib.sha256()
        with archive.store.open(name) as stream:
            while block := stream.read(_BLOCK):
                actual.update(block)
    except OSError as error:
        return f"{where}: {error.strerror or error}"
    return (
        "" if actual.hexdigest() == digest else f"{where}: its SHA-256 is not the manifest's: it is damaged"
    )


def _other_faults(archive: Archive) -> Iterator[str]:
    """Faults of the bundle and the failures table."""
    entries = list(archive.manifest.bundle_files)
    if archive.manifest.failures is not None:
        entries.append(archive.manifest.failures)
    for name, size, digest in entries:
        if fault := file_fault(archive, name, size, digest):
            yield fault
