"""Packing: sources -> an archive, in units that can be resumed after a kill at any moment.

    plan  ->  units, by any number of workers, in any order  ->  parts, in order  ->  bundle  ->  manifest

A unit or a part is done when its file has its final name. The manifest is written last: a folder without it
is an unfinished archive.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from decant.archive.bundles import embed
from decant.archive.engines import Engine
from decant.archive.manifest import Manifest, read_manifest, write_manifest
from decant.archive.pack_task import PackTask, unit_name
from decant.archive.plan import Plan, make_plan, read_job, read_plan, source_names
from decant.archive.running import run_units
from decant.archive.schema import MANIFEST, WORK_FOLDER
from decant.archive.settings import PackSettings
from decant.archive.sources import items_of
from decant.archive.storage import Store, store_at
from decant.archive.tasks import Progress, Report
from decant.archive.writer import PartInfo, assemble, done_name, failures_name, write_failures
from decant.bundles.bundle import open_bundle
from decant.errors import FormatError


def pack(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    settings: PackSettings | None = None,
    *,
    resume: bool = False,
    engine: str | Engine = "local",
    workers: int = 0,
    report: Report | None = None,
    **changes: Any,
) -> Manifest:
    """Pack pictures into the archive ``out``, a new folder or an fsspec address; its manifest.

    ``sources`` are folders, glob patterns, tar files, Parquet files, addresses, or single pictures. The
    settings are ``settings`` or, as keywords, fields of PackSettings (``model``, ``quality`` ...). ``resume``
    goes on with an unfinished archive of the same sources and settings, and leaves a finished one alone.
    ``report`` is called after each picture. A picture that cannot be packed is entered into the failures
    table; the manifest counts them.

    Raises FormatError where ``out`` holds something else or the settings differ, ModelNotFoundError,
    DecantError, OSError.
    """
    given = settings or PackSettings(**changes)
    names = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    store = store_at(out)
    job = {"sources": source_names([os.fspath(name) for name in names]), "settings": given.described()}
    if done := _finished(store, resume=resume):
        return done
    plan = _plan(store, job, given, resume=resume, workers=workers)
    parts = _Parts(store, plan)
    todo = [unit for unit in parts.units_to_do() if not store.exists(unit_name(unit))]
    left = sum(len(plan.rows_of(unit)) for unit in todo)
    progress = Progress(plan.count, plan.count - left)
    parts.finish_those_ready(parts.units_on_disk(todo))
    task = PackTask(os.fspath(out), given)
    for result in run_units(task, todo, progress, report, engine, workers):
        parts.finish_those_ready([result.unit])
    return _finish(store, parts, given)


def _finished(store: Store, *, resume: bool) -> Manifest | None:
    """The manifest of an archive that is finished already. Raises FormatError for what may not be touched."""
    found = store.names()
    if MANIFEST in found:
        if not resume:
            raise FormatError(f"{store.where}: holds an archive already; choose a new folder")
        store.remove(WORK_FOLDER)  # what a run that was killed at its very end left
        return read_manifest(store)
    if found and WORK_FOLDER not in found:
        raise FormatError(f"{store.where}: is not empty and holds no archive; choose a new folder")
    if found and not resume and read_job(store) is not None:
        raise FormatError(f"{store.where}: holds an unfinished archive; --resume goes on with it")
    return None


def _plan(store: Store, job: dict[str, Any], given: PackSettings, *, resume: bool, workers: int) -> Plan:
    before = read_job(store) if resume else None
    if before is None:
        store.remove(WORK_FOLDER)
        _require_model(given)
        local = store.local("")
        return make_plan(store, items_of(job["sources"], leave_out=local), given, job, workers)
    for what in ("sources", "settings"):
        if before[what] != job[what]:
            raise FormatError(
                f"{store.where}: was begun with other {what} ({before[what]}); give the same, or a new folder"
            )
    return read_plan(store, given)


def _require_model(given: PackSettings) -> None:
    """Fail before the work where the model is not here."""
    open_bundle(given.model, given.bundle_dir)


class _Parts:
    """The parts of a run: those done, and those whose units are coming in."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self._store = store
        self._plan = plan
        self._left = [set(plan.units_of(part)) for part in range(plan.parts)]
        self._next = 0
        self.done: list[PartInfo] = []
        self.failed_keys: set[str] = set()
        while self._next < plan.parts and store.exists(done_name(self._next)):
            self._enter(_read_info(store, self._next))

    def units_to_do(self) -> Iterable[int]:
        """The units of all parts that are not done."""
        return range(self._plan.part_starts[self._next], self._plan.units)

    def units_on_disk(self, todo: Iterable[int]) -> set[int]:
        """Units that an earlier run left."""
        return set(self.units_to_do()) - set(todo)

    def finish_those_ready(self, units: Iterable[int]) -> None:
        """Units are on disk: assemble the parts that are whole now, in order."""
        for unit in units:
            self._left[self._plan.part_of(unit)].discard(unit)
        while self._next < self._plan.parts and not self._left[self._next]:
            units_of_part = self._plan.units_of(self._next)
            self._enter(assemble(self._store, self._next, units_of_part, self.failed_keys))

    def _enter(self, info: PartInfo) -> None:
        if info.failed:
            with self._store.open(failures_name(self._next)) as stream:
                self.failed_keys.update(pq.read_table(stream, columns=["key"]).column("key").to_pylist())
        self.done.append(info)
        self._left[self._next] = set()
        self._next += 1


def _read_info(store: Store, part: int) -> PartInfo:
    return PartInfo(**json.loads(store.read(done_name(part))))


def _finish(store: Store, parts: _Parts, given: PackSettings) -> Manifest:
    """Failures table, bundle and manifest; then the work folder goes."""
    tables = []
    for number, info in enumerate(parts.done):
        if info.failed:
            with store.open(failures_name(number)) as stream:
                tables.append(pq.read_table(stream))
    write_failures(store, tables)
    models = sorted({name for info in parts.done for name in info.models})
    files = [] if given.embed == "none" else embed(store, models, given, Path(WORK_FOLDER))
    return write_manifest(store, [info for info in parts.done if info.name], files, given.described())
