"""EXIF to and from the tags of a TIFF file, with Pillow's reader.

A TIFF file keeps EXIF in its own directory: descriptive tags beside those that describe the pixels' layout,
and the Exif, GPS and interoperability directories below it.
"""

import io
import struct
from typing import IO, Any

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from decant.formats.opening import reading
from decant.process.failures import is_from_signal_handler

_XMP = 700
_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
# Tags of the pixels' layout, of other directories and of blocks that are kept elsewhere or not at all: the
# ICC profile, XMP, Photoshop's resources and layers.
_NOT_DESCRIPTIVE = {
    *(*range(254, 260), *range(262, 267), 273, *range(277, 282), 284, 285, *range(288, 294)),
    *(301, *range(317, 335), 336, *range(338, 348), 400, *range(512, 522), *range(529, 533), 559),
    *(_XMP, 34377, 34675, 37724, 50255),
}


def exif_of_tiff(image: Image.Image) -> bytes | None:
    """The descriptive tags of an open TIFF file as an EXIF block; None where there are none."""
    tags = _tags_of(image.getexif())
    if not tags:
        return None
    head = b"II*\x00\x08\x00\x00\x00"
    return b"Exif\x00\x00" + head + _directory(tags, head).tobytes(8)


def exif_with(exif: bytes, tags: dict[int, Any]) -> bytes | None:
    """``exif`` written anew with ``tags`` besides; None where it holds maker notes, which do not survive
    being moved, or cannot be read.
    """
    try:
        with reading("EXIF"):
            block = Image.Exif()
            block.load(exif)
            if ExifTags.Base.MakerNote in block.get_ifd(ExifTags.IFD.Exif):
                return None
            head = b"II*\x00\x08\x00\x00\x00"
            return b"Exif\x00\x00" + head + _directory(_tags_of(block) | tags, head).tobytes(8)
    except Exception as error:  # a broken block, which is kept as it is
        if is_from_signal_handler(error):
            raise
        return None


def is_readable(exif: bytes) -> bool:
    """Whether ``exif`` can become TIFF tags."""
    try:
        block = Image.Exif()
        block.load(exif)
        _tags_of(block)
    except Exception as error:  # Pillow's readers raise whatever a broken block leads them to
        if is_from_signal_handler(error):
            raise
        return False
    return True


def add_tags(tiff: bytes, exif: bytes | None, xmp: bytes | None) -> bytes:
    """A TIFF file of one directory with the tags of ``exif`` and ``xmp`` added.

    The new tags go to the end of the file, and behind them a directory of all tags. Raises ValueError for
    EXIF that cannot be read.
    """
    tags: dict[int, Any] = {}
    if exif:
        block = Image.Exif()
        try:
            block.load(exif)
            tags = _tags_of(block)
        except Exception as error:  # Pillow's readers raise whatever a broken block leads them to
            if is_from_signal_handler(error):
                raise
            raise ValueError(f"EXIF that cannot be read: {error}") from None
    if xmp:
        tags[_XMP] = xmp
    if not tags:
        return tiff
    stream = io.BytesIO(tiff)
    order = "<" if tiff[:2] == b"II" else ">"
    entries, end = _entries(stream, order, struct.unpack_from(order + "I", tiff, 4)[0])
    stream.seek(0, io.SEEK_END)
    at = stream.tell() + stream.tell() % 2
    stream.seek(at)
    stream.write(_directory(tags, tiff[:8]).tobytes(at))
    added, _ = _entries(stream, order, at)
    entries |= added
    stream.seek(0, io.SEEK_END)
    at = stream.tell() + stream.tell() % 2
    stream.seek(at)
    stream.write(struct.pack(order + "H", len(entries)))
    stream.write(b"".join(entries[tag] for tag in sorted(entries)) + end)
    stream.seek(4)
    stream.write(struct.pack(order + "I", at))
    return stream.getvalue()


def _entries(stream: IO[bytes], order: str, at: int) -> tuple[dict[int, bytes], bytes]:
    """The entries of a directory by their tag, and the 4 bytes behind them."""
    stream.seek(at)
    (count,) = struct.unpack(order + "H", stream.read(2))
    raw = [stream.read(12) for _ in range(count)]
    return {struct.unpack(order + "H", entry[:2])[0]: entry for entry in raw}, stream.read(4)


def _tags_of(block: Image.Exif) -> dict[int, Any]:
    """Descriptive tags by their number; those of directories as dictionaries."""
    tags: dict[int, Any] = {}
    for tag in block:
        if tag in _DIRECTORIES:
            inner = dict(block.get_ifd(tag))
            if ExifTags.IFD.Interop in inner:
                inner[ExifTags.IFD.Interop] = _interoperability(block)
            value: Any = {key: _bytes_of(one) for key, one in inner.items() if one != {}}
        else:
            value = _bytes_of(block[tag])
        if tag not in _NOT_DESCRIPTIVE and value not in ({}, None) and _is_writable(tag, value):
            tags[tag] = value
    return tags


def _interoperability(block: Image.Exif) -> dict[int, Any]:
    try:
        return dict(block.get_ifd(ExifTags.IFD.Interop))
    except Exception as error:  # a damaged offset, or a TIFF file that Pillow has closed
        if is_from_signal_handler(error):
            raise
        return {}


def _bytes_of(value: Any) -> Any:
    """Text as the bytes that it was read from: Pillow reads Latin-1 and writes ASCII."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("latin-1", "replace")
    return value


def _is_writable(tag: int, value: Any) -> bool:
    """Whether Pillow can write a value that it has read; in directories, others are removed."""
    if isinstance(value, dict):
        for key in [key for key, one in value.items() if not _is_writable_in(tag, {key: one})]:
            del value[key]
        return bool(value)
    return _is_writable_in(None, {tag: value})


def _is_writable_in(group: int | None, tags: dict[int, Any]) -> bool:
    try:
        _directory(tags if group is None else {group: tags}, b"II*\x00\x08\x00\x00\x00").tobytes(8)
    except Exception as error:  # whatever a value of another type than the tag's leads to
        if is_from_signal_handler(error):
            raise
        return False
    return True


def _directory(tags: dict[int, Any], head: bytes) -> ImageFileDirectory_v2:
    directory = ImageFileDirectory_v2(ifh=head)
    for tag, value in tags.items():
        directory[tag] = value
    return directory
