"""The reports in the folders that the studio was started with. Clients name one by an id, never by a path."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from decant_studio.errors import Refused

MOST_FILES = 500
MOST_BYTES = 16 << 20  # of one report
KINDS = {
    ".html": "page", ".md": "text", ".json": "record", ".csv": "table", ".svg": "picture", ".png": "picture",
    ".webp": "picture",
}  # fmt: skip


@dataclass(frozen=True)
class Report:
    """One file: ``folder`` and ``name`` are as the page shows them, ``title`` is its first heading."""

    id: str
    path: Path
    folder: str
    name: str
    kind: str
    title: str

    def read(self) -> bytes:
        """Its content. Raises Refused where it is gone or too large."""
        try:
            if self.path.stat().st_size > MOST_BYTES:
                raise Refused(413, "This report is too large to be shown.")
            return self.path.read_bytes()
        except OSError:
            raise Refused(404, "This report is not there any more.") from None


def own_reports() -> list[Path]:
    """The reports of the source tree, where the studio runs from one."""
    folder = Path(__file__).resolve().parents[3] / "artifacts" / "reports"
    return [folder] if folder.is_dir() else []


def reports(folders: Sequence[Path]) -> list[Report]:
    """All reports of ``folders``, by folder and name; links that lead out of their folder are left out."""
    found = []
    for root in folders:
        base = root.resolve()
        for place, folders_below, names in os.walk(base):
            folders_below[:] = sorted(one for one in folders_below if not one.startswith("."))
            for name in sorted(names):
                path = Path(place, name)
                kind = KINDS.get(path.suffix.lower())
                if kind is None or not path.is_file() or not path.resolve().is_relative_to(base):
                    continue
                found.append(_report(base, path, kind))
                if len(found) >= MOST_FILES:
                    return found
    return found


def report(folders: Sequence[Path], report_id: str) -> Report:
    """One by its id. Raises Refused (404)."""
    for one in reports(folders):
        if one.id == report_id:
            return one
    raise Refused(404, "There is no such report here.")


def _report(base: Path, path: Path, kind: str) -> Report:
    relative = path.relative_to(base)
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    folder = "/".join((base.name, *relative.parts[:-1]))
    return Report(digest, path, folder, relative.name, kind, _title(path, kind))


def _title(path: Path, kind: str) -> str:
    """The first heading of a text, the kind of a record."""
    if kind not in ("text", "record"):
        return ""
    try:
        with path.open("rb") as stream:
            head = stream.read(4096).decode("utf-8", "replace")
    except OSError:
        return ""
    if kind == "text":
        line = next((line for line in head.splitlines() if line.startswith("# ")), "")
        return line.removeprefix("# ").strip()[:120]
    for line in head.splitlines():
        if line.strip().startswith('"kind":'):
            try:
                return str(json.loads("{" + line.strip().rstrip(",") + "}")["kind"])[:120]
            except ValueError:
                return ""
    return ""
