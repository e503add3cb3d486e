"""Which files of a folder are converted, which are skipped and why, and which cannot be done."""

import os
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from decant.formats.reading import is_regular
from decant.formats.writing import remove_leftovers

Job = tuple[Path, Path]  # a file, and what it becomes

# Pictures that people keep in such folders and Pillow alone does not read.
_UNSUPPORTED = frozenset(
    (".heic", ".heif", ".jxl", ".svg", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf")
)
CASE_IS_IGNORED = sys.platform.startswith(("win32", "darwin"))
_MACOS_FOLDER = "__MACOSX"  # what macOS's zip files hold besides the files: AppleDouble copies


@dataclass
class FolderPlan:
    """``jobs`` to do, ``skipped`` files counted by reason, and ``failed`` files with what is wrong."""

    jobs: list[Job] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many files are to be done, those that failed already included."""
        return len(self.jobs) + len(self.failed)


def plan_folder(
    source: Path,
    target: Path,
    suffixes: Collection[str],
    new_suffix: str,
    *,
    kind: str = "picture",
    keep_suffix: bool = False,
    skip_existing: bool = False,
) -> FolderPlan:
    """Plan to convert every file under ``source`` with one of ``suffixes`` (lower case), each to the same
    place under ``target``.

    ``new_suffix`` replaces the file's suffix, or follows it with ``keep_suffix``. Files that would become one
    file fail, each by name. ``kind`` says what the files are that are looked for.
    """
    plan = FolderPlan()
    results: dict[str, tuple[Path, list[Path]]] = {}
    for path in _files(source, plan):
        if reason := reason_to_skip(path, suffixes, kind):
            plan.skipped[reason] += 1
            continue
        try:
            if not is_regular(path):
                plan.skipped["not a regular file"] += 1
                continue
        except OSError as error:
            plan.failed.append((path, f"{path}: {error.strerror}"))
            continue
        result = target / path.relative_to(source)
        result = result.with_name(result.name + new_suffix) if keep_suffix else result.with_suffix(new_suffix)
        results.setdefault(_place(result), (result, []))[1].append(path)
    for result, paths in results.values():
        if len(paths) > 1:
            plan.failed += [(path, _clash(path, paths, result, new_suffix)) for path in paths]
        elif skip_existing and result.is_file():
            remove_leftovers(result)
            plan.skipped["existing"] += 1
        else:
            plan.jobs.append((paths[0], result))
    return plan


def _place(result: Path) -> str:
    """The same text for names that lead to the same file: on Windows and macOS, whatever their case."""
    return str(result).casefold() if CASE_IS_IGNORED else str(result)


def _files(source: Path, plan: FolderPlan) -> Iterator[Path]:
    """Every file under ``source`` by name; links to folders are skipped, unreadable folders fail."""

    def unreadable(error: OSError) -> None:
        plan.failed.append((Path(error.filename), f"{error.filename}: {error.strerror}"))

    for folder, folders, names in os.walk(source, onerror=unreadable):
        folders.sort()
        plan.skipped["link to a folder"] += sum((Path(folder) / name).is_symlink() for name in folders)
        for name in sorted(names):
            yield Path(folder) / name
    plan.skipped += Counter()  # without the reasons that never occurred


def reason_to_skip(path: Path, suffixes: Collection[str], kind: str) -> str | None:
    """Why a file of a folder is left out, or None: ``suffixes`` are those of a ``kind`` of file."""
    if path.name.startswith("._") or path.name == ".DS_Store" or _MACOS_FOLDER in path.parts:
        return "macOS metadata"
    suffix = path.suffix.lower()
    if suffix in suffixes:
        return None
    return f"unsupported format {suffix}" if suffix in _UNSUPPORTED else f"not a {kind}"


def _clash(path: Path, paths: list[Path], result: Path, new_suffix: str) -> str:
    others = ", ".join(other.name for other in paths if other != path)
    keep = f"; --keep-suffix writes {path.name}{new_suffix}"
    return f"{path}: {others} would also become {result}{keep}"
