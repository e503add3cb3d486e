"""The pictures of an archive: the files of a folder, and each in turn; those that cannot be read are passed
over.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from decant.errors import DecantError, ImageError
from decant.formats.opening import open_picture, picture_suffixes
from decant.formats.plan import plan_folder

if TYPE_CHECKING:
    from PIL import Image

_log = logging.getLogger("decant")


def pictures_in(folder: Path) -> list[Path]:
    """The picture files below ``folder``, as ``decant encode`` takes them. Raises ImageError where there is
    none, OSError.
    """
    plan = plan_folder(folder, folder, picture_suffixes(), ".dcn", keep_suffix=True)
    if not plan.jobs:
        raise ImageError(f"{folder}: no picture in it")
    return [source for source, _ in plan.jobs]


def opened(paths: Sequence[Path]) -> "Iterator[tuple[Path, Image.Image]]":
    """Each picture, open, with its path. One that cannot be read is left out with a warning. Raises
    ImageError at the end where none could be read.
    """
    count = 0
    for path in paths:
        try:
            with open_picture(path) as image:
                image.load()
        except (DecantError, OSError) as error:
            _log.warning("left out: %s", error)
            continue
        # Anew: how many bits a file has shows only before it is decoded.
        with open_picture(path) as image:
            yield path, image
        count += 1
    if not count:
        raise ImageError(f"none of {len(paths)} pictures can be read")
