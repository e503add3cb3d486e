"""Writes a bundle's folder completely or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from decant_export.errors import ExportError


def check_target(out: Path, force: bool) -> None:
    """Raise ExportError if ``out`` exists. With ``force``, a bundle is allowed, and nothing else."""
    if not out.exists():
        return
    if not (out / "bundle.json").is_file():
        raise ExportError(f"{out} is there and no bundle; remove it or choose another --out")
    if not force:
        raise ExportError(f"{out} exists already; give --force to replace it")


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """An empty folder next to ``out``. It replaces ``out`` if the block succeeds, else it is removed."""
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    building = out.with_name(f".{out.name}.{token_hex(4)}.new")
    building.mkdir()
    try:
        yield building
        replaced = out.with_name(f".{out.name}.{token_hex(4)}.old")
        if out.exists():
            out.rename(replaced)
        try:
            building.rename(out)
        except BaseException:
            if replaced.exists():
                replaced.rename(out)
            raise
        shutil.rmtree(replaced, ignore_errors=True)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
