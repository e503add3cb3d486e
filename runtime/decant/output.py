"""Writing files so that they appear whole or not at all, and pictures in the formats that ``decant decode``
gives.
"""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from decant.errors import ImageError

if TYPE_CHECKING:
    import numpy as np

    from decant.container import DcnFile

PICTURE_SUFFIXES = (".png", ".webp", ".ppm", ".npy")


def write_atomically(path: str | os.PathLike[str], write: Callable[[IO[bytes]], Any]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it; nothing is left when ``write``
    fails.

    Raises OSError, and whatever ``write`` raises.
    """
    final = Path(path)
    temporary = final.with_name(f".{final.name[:100]}.{secrets.token_hex(4)}.tmp")
    # os.open and not tempfile: the file gets the permissions that the user's umask gives to any new file.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            write(stream)
        os.replace(temporary, final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def save_picture(path: Path, pixels: "np.ndarray", file: "DcnFile") -> None:
    """Write uint8 (H, W, 3) by the suffix of ``path`` (``PICTURE_SUFFIXES``), with the metadata of ``file``
    where the format holds it.

    Every format is lossless. Raises ImageError for a suffix or a picture that cannot be written, OSError.
    """
    suffix = path.suffix.lower()
    if suffix not in PICTURE_SUFFIXES:
        raise ImageError(f"{path}: suffix {suffix or '(none)'}; {' '.join(PICTURE_SUFFIXES)} can be written")
    if suffix == ".npy":
        import numpy as np

        write_atomically(path, lambda stream: np.save(stream, pixels))
        return
    from PIL import Image

    image = Image.fromarray(pixels)
    options: dict[str, Any] = {}
    if suffix in (".png", ".webp"):
        options = {"exif": file.exif, "icc_profile": file.icc, "xmp": file.xmp}
        options = {key: block for key, block in options.items() if block is not None}
    if suffix == ".webp":
        options["lossless"] = True
    try:
        write_atomically(
            path,
            lambda stream: image.save(
                stream, {".png": "PNG", ".webp": "WEBP", ".ppm": "PPM"}[suffix], **options
            ),
        )
    except ValueError as error:  # what Pillow raises for metadata that the format cannot hold
        raise ImageError(f"{path}: cannot be written: {error}") from None
