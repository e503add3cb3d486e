"""The ``.dcn`` file: header and sections, their checksums, parse and write (docs/format/file.md, version 1).

Nothing here knows what latents mean: that is the task of a layout (``decant.layouts``). The module needs the
standard library only, so that a header is read in microseconds and without numpy.
"""

import io
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from decant.errors import FormatError, SizeLimitError

MAGIC = b"\x8aDCN"
VERSION = 1
MAX_SIDE = 65535
# Pillow refuses pictures above this many pixels as decompression bombs; so do we, unless told otherwise.
DEFAULT_SIZE_LIMIT = 178_956_970
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)

LATENTS, ALPHA, EXIF, ICC, XMP = 1, 2, 128, 129, 130
_FIRST_METADATA = 128
_GREY, _ALPHA = 1, 2

_FIXED = struct.Struct(
    "<4sBBBB8sHHB"
)  # magic, version, flags, quality, sections, model id, width, height, name length
_SECTION = struct.Struct("<BI")
_CRC = struct.Struct("<I")
MAX_NAME = 64
MAX_HEADER_BYTES = _FIXED.size + MAX_NAME + _CRC.size


@dataclass(frozen=True)
class Header:
    """The header of a file; ``size`` is its length in bytes."""

    name: str
    model_id: bytes  # the first 8 bytes of the bundle's model id
    width: int
    height: int
    quality: int  # 1..100, or 0 when the model has no quality setting
    grey: bool
    alpha: bool
    section_count: int
    size: int


@dataclass(frozen=True)
class DcnFile:
    """One compressed image. ``width`` and ``height`` are in pixels; ``alpha`` is the payload of the alpha
    section (``decant.formats.alpha``), None for an opaque picture; ``exif``, ``icc`` and ``xmp`` are raw
    blocks.
    """

    name: str
    model_id: bytes
    width: int
    height: int
    latents: bytes
    quality: int = 0
    grey: bool = False
    alpha: bytes | None = None
    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None


def check_size(width: int, height: int, source: str, limit: int) -> None:
    """Raise SizeLimitError for more than ``limit`` pixels, or for a side longer than a file can say."""
    if max(width, height) > MAX_SIDE:
        raise SizeLimitError(
            f"{source}: {width}x{height} pixels; a side has at most {MAX_SIDE}; resize or divide the picture"
        )
    if width * height > limit:
        raise SizeLimitError(
            f"{source}: {width}x{height} pixels; the limit is {limit}; raise it with --size-limit"
        )


def parse_header(data: bytes, source: str = "<bytes>") -> Header:
    """Read the header of a file; ``data`` may be just its beginning (``MAX_HEADER_BYTES`` are always enough).

    Raises FormatError where the header is cut short, out of range or fails its checksum.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise FormatError(f"{source}: not a .dcn file: it does not begin with 8A 44 43 4E")
    if len(data) > 4 and data[4] != VERSION:
        raise FormatError(
            f"{source}: format version {data[4]} at byte 4; this decant reads version {VERSION}"
        )
    if len(data) < _FIXED.size:
        raise FormatError(
            f"{source}: cut off in the header: {len(data)} bytes, at least {_FIXED.size} expected"
        )
    _, _, flags, quality, count, model_id, width, height, name_length = _FIXED.unpack_from(data)
    if not 1 <= name_length <= MAX_NAME:
        raise FormatError(f"{source}: name length {name_length} at byte 20; 1..{MAX_NAME} expected")
    end = _FIXED.size + name_length
    if len(data) < end + _CRC.size:
        raise FormatError(f"{source}: cut off in the header: {len(data)} bytes, {end + _CRC.size} expected")
    (stored,) = _CRC.unpack_from(data, end)
    if zlib.crc32(data[:end]) != stored:
        raise FormatError(f"{source}: header checksum at byte {end} differs: the file is damaged")
    if flags & ~(_GREY | _ALPHA):
        raise FormatError(f"{source}: reserved flag bits are set at byte 5: {flags:#04x}")
    name = data[_FIXED.size : end].decode("latin-1")
    header = Header(
        name=name,
        model_id=bytes(model_id),
        width=width,
        height=height,
        quality=quality,
        grey=bool(flags & _GREY),
        alpha=bool(flags & _ALPHA),
        section_count=count,
        size=end + _CRC.size,
    )
    _check_ranges(header, source)
    return header


def _check_ranges(file: Header | DcnFile, source: str) -> None:
    """The limits that reader and writer share."""
    if not NAME_PATTERN.fullmatch(file.name):
        raise FormatError(
            f"{source}: bundle name {file.name!r} at byte 20; 1 to 64 of a-z 0-9 . _ - expected, "
            "a letter or digit first"
        )
    if len(file.model_id) != 8:
        raise FormatError(f"{source}: model id of {len(file.model_id)} bytes; 8 expected")
    for what, value in (("width", file.width), ("height", file.height)):
        if not 1 <= value <= MAX_SIDE:
            raise FormatError(f"{source}: {what} {value}; 1..{MAX_SIDE} pixels expected")
    if not 0 <= file.quality <= 100:
        raise FormatError(f"{source}: quality {file.quality}; 0..100 expected")


def _sections(data: bytes, header: Header, source: str) -> Iterator[tuple[int, int, bytes]]:
    """Give (offset, type, payload) of each section; the file must end with the last one."""
    at = header.size
    if not header.section_count:
        raise FormatError(f"{source}: no sections at byte 7; at least the latents are expected")
    for index in range(header.section_count):
        payload = at + _SECTION.size
        if payload + _CRC.size > len(data):
            raise FormatError(
                f"{source}: cut off in section {index + 1} of {header.section_count} at byte {at}"
            )
        kind, length = _SECTION.unpack_from(data, at)
        end = payload + length
        if end + _CRC.size > len(data):
            raise FormatError(
                f"{source}: section {index + 1} at byte {at} reaches to byte {end + _CRC.size}; "
                f"the file ends at {len(data)}"
            )
        (stored,) = _CRC.unpack_from(data, end)
        if zlib.crc32(memoryview(data)[at:end]) != stored:
            raise FormatError(
                f"{source}: checksum of section {index + 1} at byte {end} differs: the file is damaged"
            )
        yield at, kind, data[payload:end]
        at = end + _CRC.size
    if at != len(data):
        raise FormatError(f"{source}: {len(data) - at} bytes after the last section, which ends at byte {at}")


def check_lengths(stream: IO[bytes], header: Header, source: str) -> None:
    """Check in an open file, without reading the sections, that they fill the file exactly.

    Raises FormatError as ``parse`` does.
    """
    end = stream.seek(0, io.SEEK_END)
    at = header.size
    for index in range(header.section_count):
        payload = at + _SECTION.size
        if payload + _CRC.size > end:
            raise FormatError(
                f"{source}: cut off in section {index + 1} of {header.section_count} at byte {at}"
            )
        stream.seek(at)
        after = payload + _SECTION.unpack(stream.read(_SECTION.size))[1] + _CRC.size
        if after > end:
            raise FormatError(
                f"{source}: section {index + 1} at byte {at} reaches to byte {after}; the file ends at {end}"
            )
        at = after
    if at != end:
        raise FormatError(f"{source}: {end - at} bytes after the last section, which ends at byte {at}")


def parse(data: bytes, source: str = "<bytes>") -> DcnFile:
    """Read a whole file and check every checksum in it. ``source`` names the file in messages.

    Raises FormatError for anything that docs/format/file.md does not allow.
    """
    data = bytes(data)
    header = parse_header(data, source)
    found: dict[int, bytes] = {}
    for at, kind, payload in _sections(data, header, source):
        if kind in found:
            raise FormatError(f"{source}: a second section of type {kind} at byte {at}; one expected")
        if kind < _FIRST_METADATA and kind not in (LATENTS, ALPHA):
            raise FormatError(
                f"{source}: section type {kind} at byte {at} is unknown to this decant; update it"
            )
        found[kind] = payload
    if LATENTS not in found:
        raise FormatError(f"{source}: no latents section (type {LATENTS})")
    if header.alpha != (ALPHA in found):
        raise FormatError(
            f"{source}: flagged {'with' if header.alpha else 'without'} alpha at byte 5, and "
            f"{'no' if header.alpha else 'an'} alpha section (type {ALPHA}) in it"
        )
    return DcnFile(
        name=header.name,
        model_id=header.model_id,
        width=header.width,
        height=header.height,
        latents=found[LATENTS],
        quality=header.quality,
        grey=header.grey,
        alpha=found.get(ALPHA),
        exif=found.get(EXIF),
        icc=found.get(ICC),
        xmp=found.get(XMP),
    )


def write(file: DcnFile) -> bytes:
    """Serialise ``file``; the same file always gives the same bytes.

    Raises FormatError where a value does not fit the format.
    """
    _check_ranges(file, "<new file>")
    sections = [(LATENTS, file.latents)]
    sections += [
        (kind, block)
        for kind, block in ((ALPHA, file.alpha), (EXIF, file.exif), (ICC, file.icc), (XMP, file.xmp))
        if block is not None
    ]
    flags = _GREY * file.grey | _ALPHA * (file.alpha is not None)
    name = file.name.encode("ascii")
    head = _FIXED.pack(
        MAGIC, VERSION, flags, file.quality, len(sections), file.model_id, file.width, file.height, len(name)
    )
    parts = [_with_crc(head + name)]
    for kind, payload in sections:
        if len(payload) > 0xFFFFFFFF:
            raise FormatError(
                f"<new file>: section type {kind} holds {len(payload)} bytes; the limit is 2^32 - 1"
            )
        parts.append(_with_crc(_SECTION.pack(kind, len(payload)) + payload))
    return b"".join(parts)


def _with_crc(block: bytes) -> bytes:
    return block + _CRC.pack(zlib.crc32(block))
