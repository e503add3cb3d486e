"""Unpacking: an archive -> picture files, or a tar file for each part, in units that can be resumed.

A picture is done when its file has its final name; so is a tar file. A resumed run leaves what is there.
"""

import errno
import io
import json
import os
import posixpath
import tarfile
from collections.abc import Iterator
from functools import partial
from typing import IO, Any

from decant.archive.bundles import decoder_folder
from decant.archive.engines import Engine
from decant.archive.outputs import suffix_of, write_output
from decant.archive.reader import Archive
from decant.archive.running import run_units
from decant.archive.settings import UnpackSettings
from decant.archive.storage import Store, store_at
from decant.archive.tasks import Progress, Report, Step, Tell, UnitResult
from decant.batch import Decoders, message_of
from decant.errors import FormatError
from decant.formats import container
from decant.process.cores import usable_cores
from decant.process.failures import is_from_signal_handler

_STATE = ".decant-unpack.json"
# Most rows of one unit, what a worker does before it asks for more; and units for each worker at least.
_UNIT_ROWS, _UNITS_EACH = 256, 8


class UnpackTask:
    """Decodes units of an archive into a folder. A unit is a range of a part's rows; of tar files, a part."""

    def __init__(self, place: str, out: str, settings: UnpackSettings, unit_rows: int = _UNIT_ROWS) -> None:
        self._unit_rows = unit_rows
        self._place = place
        self._out = out
        self._settings = settings
        self._archive: Archive
        self._store: Store
        self._decoders: Decoders

    def __getstate__(self) -> dict[str, Any]:
        names = ("_place", "_out", "_settings", "_unit_rows")
        return {name: getattr(self, name) for name in names}

    def open(self) -> None:
        """Open the archive. Raises DecantError, OSError."""
        self._archive = Archive(self._place)
        self._store = store_at(self._out)
        folder = decoder_folder(self._archive.store, self._settings.bundle_dir)
        self._decoders = Decoders(folder, threads=1, **self._settings.decoding())

    def units(self, archive: Archive) -> list[tuple[int, range]]:
        """(part, its rows) of every unit."""
        if self._settings.tar:
            return [(number, range(part.rows)) for number, part in enumerate(archive.manifest.parts)]
        return [
            (number, range(start, min(start + self._unit_rows, part.rows)))
            for number, part in enumerate(archive.manifest.parts)
            for start in range(0, part.rows, self._unit_rows)
        ]

    def run(self, unit: int, tell: Tell, lethal: dict[int, str]) -> UnitResult:
        """Decode a unit. Pictures that fail are named in the result's ``extra["failures"]``."""
        part, rows = self.units(self._archive)[unit]
        result = UnitResult(unit, extra={"failures": []})
        if not self._settings.tar:
            for _ in self._pictures(part, rows, tell, lethal, result):
                pass  # the pictures are in their files
            return result
        tar_file = tar_name(self._archive, part)
        if self._store.exists(tar_file):
            result.pictures = len(rows)
            return result
        with (
            self._store.new_file(tar_file, durable=False) as path,
            tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for data, name_in_tar in self._pictures(part, rows, tell, lethal, result):
                member = tarfile.TarInfo(name_in_tar)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        return result

    def _pictures(
        self, part: int, rows: range, tell: Tell, lethal: dict[int, str], result: UnitResult
    ) -> Iterator[tuple[bytes, str]]:
        """The pictures of a tar file's members; single files are written here, and nothing is given."""
        for index, row in enumerate(rows):
            tell(Step(index, begun=True))
            key = f"row {row}"
            size_in = size_out = 0
            data = b""
            try:
                key = self._archive.index(part).at(row)[0]
                name = output_name(self._archive, key, suffix_of(self._settings))
                if index in lethal:
                    raise FormatError(f"{key}: {lethal[index]}")
                if self._settings.tar or not self._is_done(name):
                    payload = self._archive.payload_at(self._archive.at(part, row))
                    size_in = len(payload)
                    decode = partial(self._decode, payload, key)
                    if self._settings.tar:
                        buffer = io.BytesIO()
                        decode(buffer)
                        data, size_out = buffer.getvalue(), buffer.tell()
                    else:
                        size_out = self._store.create(name, decode)
            except Exception as error:
                if is_from_signal_handler(error) or _is_of_output(error):
                    raise
                result.failed += 1
                result.extra["failures"].append(message_of(error, key))
                tell(Step(index, failed=True))
                continue
            result.pictures += 1
            result.bytes_in += size_in
            result.bytes_out += size_out
            tell(Step(index, size_in, size_out))
            if self._settings.tar:
                yield data, name

    def _is_done(self, name: str) -> bool:
        return self._store.exists(name) and self._store.size(name) > 0

    def _decode(self, payload: bytes, key: str, stream: IO[bytes]) -> None:
        if self._settings.output == "dcn":
            container.parse(payload, key)
            stream.write(payload)
            return
        file = container.parse(payload, key)
        pixels = self._decoders.of(file).decode_file(file, key)
        write_output(stream, pixels, file, self._settings, key)


def unpack(
    place: str | os.PathLike[str],
    out: str | os.PathLike[str],
    settings: UnpackSettings | None = None,
    *,
    resume: bool = False,
    engine: str | Engine = "local",
    workers: int = 0,
    report: Report | None = None,
    **changes: Any,
) -> list[str]:
    """Decode all pictures of the archive ``place`` into the folder ``out``; what failed, a line for each.

    The settings are ``settings`` or, as keywords, fields of UnpackSettings (``output``, ``tar`` ...). A
    picture's file is named after its key and the output: ``a/b.jpg`` gives ``a/b.jpg.png``, ``c.png`` gives
    ``c.png``. ``resume`` goes on with an earlier run of the same settings.

    Raises FormatError, DecantError, OSError.
    """
    given = settings or UnpackSettings(**changes)
    archive = Archive(place)
    store = store_at(out)
    _begin(store, given, resume=resume)
    rows = min(_UNIT_ROWS, max(1, len(archive) // (_UNITS_EACH * (workers or usable_cores()))))
    task = UnpackTask(os.fspath(place), os.fspath(out), given, rows)
    progress = Progress(len(archive))
    units = range(len(task.units(archive)))
    failures: list[str] = []
    for result in run_units(task, units, progress, report, engine, workers):
        failures += result.extra["failures"]
    store.remove(_STATE)
    return failures


def tar_name(archive: Archive, part: int) -> str:
    """The tar file of a part."""
    return archive.manifest.parts[part].name.removesuffix(".parquet") + ".tar"


def checked_name(key: str) -> str:
    """A key as a relative path that stays below the folder it is written to. Raises FormatError."""
    name = posixpath.normpath(key.replace("\\", "/"))
    if not key or "\0" in key or name.startswith(("/", "../")) or name in (".", "..") or ":" in name[:2]:
        raise FormatError(f"{key}: leads out of the folder; not written")
    return name


def output_name(archive: Archive, key: str, suffix: str) -> str:
    """The relative path of a picture's file: its key where that has the suffix, else the key and the suffix,
    which is repeated where such a key exists. No two keys give one name. Raises FormatError.
    """
    name = checked_name(key)
    if name.lower().endswith(suffix):
        return name
    name += suffix
    while archive.has(name):
        name += suffix
    return name


def _begin(store: Store, given: UnpackSettings, *, resume: bool) -> None:
    described = json.dumps(given.described(), sort_keys=True).encode()
    names = store.names()
    if _STATE in names and not resume:
        raise FormatError(f"{store.where}: holds an unfinished run; --resume goes on with it")
    if _STATE in names and store.read(_STATE) != described:
        raise FormatError(f"{store.where}: was begun with other settings; give the same, or a new folder")
    if names and _STATE not in names and not resume:
        raise FormatError(f"{store.where}: is not empty; choose a new folder, or --resume")
    store.write(_STATE, described)


def _is_of_output(error: Exception) -> bool:
    """Whether nothing more can be written: the disk is full, or the folder cannot be written to."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG)
    return isinstance(error, OSError) and error.errno in full
