"""The pictures of an archive, one after the other; those that cannot be read are passed over."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from decant.errors import DecantError
from decant.formats.opening import open_picture

if TYPE_CHECKING:
    from PIL import Image

_log = logging.getLogger("decant")


def opened(paths: Sequence[Path]) -> "Iterator[tuple[Path, Image.Image]]":
    """Each picture, open, with its path. One that cannot be read is left out with a warning."""
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
