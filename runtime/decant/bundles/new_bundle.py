"""The folder of a new bundle: it appears whole and verified, or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from decant.bundles.bundle import Bundle
from decant.errors import BundleError


def check_new_folder(out: str | os.PathLike[str]) -> Path:
    """``out``, where a new folder can be made. Raises BundleError."""
    target = Path(out)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise BundleError(f"{target}: is there already; give a new folder")
    return target


@contextmanager
def new_bundle(out: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder to write a bundle into. At the end the bundle is verified and becomes the new folder ``out``.

    Raises BundleError where ``out`` is taken or the bundle is unfit, OSError.
    """
    target = check_new_folder(out)
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".decant-") as parent:
        building = Path(parent) / "bundle"
        building.mkdir()
        yield building
        Bundle.open(building).verify()
        if target.exists():
            target.rmdir()
        building.rename(target)
