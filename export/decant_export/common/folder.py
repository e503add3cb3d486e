"""Writing a bundle's folder so that it appears whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from decant_export.errors import ExportError


def check_target(out: Path, force: bool) -> None:
    """Raise ExportError when ``out`` is there: always for what is no bundle, a bundle without ``force``."""
    if not out.exists():
        return
    if not (out / "bundle.json").is_file():
        raise ExportError(f"{out} is there and no bundle; remove it or choose another --out")
    if not force:
        raise ExportError(f"{out} exists already; give --force to replace it")


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """An empty folder beside ``out``, to take its place when the block ends well; removed otherwise."""
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
