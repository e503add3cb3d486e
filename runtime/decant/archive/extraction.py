"""Single pictures of an archive by key."""

import os
import posixpath
from pathlib import Path

from decant.archive.bundles import decoder_folder
from decant.archive.outputs import write_output
from decant.archive.reader import Archive
from decant.archive.settings import UnpackSettings
from decant.archive.unpacking import checked_name
from decant.batch import Decoders
from decant.errors import FormatError, ImageError
from decant.formats import container
from decant.formats.writing import write_atomically

_OUTPUTS = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".ppm": "ppm",
    ".npy": "npy",
    ".dcn": "dcn",
}


def extract(place: str | os.PathLike[str], key: str, target: Path, bundle_dir: str | None = None) -> Path:
    """Decode the picture ``key`` into the file ``target``, whose suffix says the format, or as PNG into the
    folder ``target``; the file written. Raises FormatError for a key that is not there, ImageError for
    another suffix, DecantError, OSError.
    """
    archive = Archive(place)
    if target.is_dir():
        target = target / (posixpath.basename(checked_name(key)) + ".png")
    output = _OUTPUTS.get(target.suffix.lower())
    if output is None:
        raise ImageError(f"{target}: suffix {target.suffix or '(none)'}; {' '.join(_OUTPUTS)} can be written")
    try:
        payload = archive.payload(key)
    except KeyError:
        raise FormatError(f"{archive.place}: no picture {key}; decant archive list names them") from None
    file = container.parse(payload, key)
    if output == "dcn":
        write_atomically(target, lambda stream: stream.write(payload))
        return target
    decoders = Decoders(decoder_folder(archive.store, bundle_dir))
    pixels = decoders.of(file).decode_file(file, key)
    settings = UnpackSettings(output=output)
    write_atomically(target, lambda stream: write_output(stream, pixels, file, settings, key))
    return target
