"""EXIF blocks without a library: the orientation and the resolution are read, and the orientation is set, in
place; every other byte stays. (EXIF 2.32, TIFF 6.0.)

Orientation n of 1..8 says how stored pixels are to be turned and mirrored for viewing; 1 is upright.
"""

import re
import struct
from dataclasses import dataclass

PREFIX = b"Exif\x00\x00"
ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 274, 282, 283, 296
DEFAULT_DPI = 72.0  # what EXIF says of pictures without a resolution
_INCH, _CENTIMETRE = 2, 3
_SHORT, _LONG, _RATIONAL = 3, 4, 5
_XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:\s*=\s*["\']|>))([0-9])')


@dataclass(frozen=True)
class _Entry:
    at: int  # of the 4 bytes of its value, from the start of the block
    order: str  # "<" or ">"
    kind: int
    count: int


def orientation_of(exif: bytes | None, xmp: bytes | None = None) -> int:
    """1..8; 1 where neither block says another. EXIF comes before XMP."""
    if exif and (entry := _entry(exif, ORIENTATION)):
        value = _whole(exif, entry)
        return value if value in range(1, 9) else 1
    if xmp and (match := _XMP_ORIENTATION.search(xmp)):
        value = int(match[2])
        return value if value in range(1, 9) else 1
    return 1


def turned_exif(exif: bytes) -> bytes:
    """``exif`` with orientation 1, where it has an orientation."""
    entry = _entry(exif, ORIENTATION)
    if entry is None or entry.kind not in (_SHORT, _LONG):
        return exif
    one = struct.pack(entry.order + ("H" if entry.kind == _SHORT else "I"), 1)
    return exif[: entry.at] + one + exif[entry.at + len(one) :]


def turned_xmp(xmp: bytes) -> bytes:
    """``xmp`` with orientation 1, where it has an orientation."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def dpi_of(exif: bytes | None) -> tuple[float, float] | None:
    """Pixels per inch, horizontal and vertical; None where EXIF does not say."""
    if not exif:
        return None
    found = [_rational(exif, _entry(exif, tag)) for tag in (X_RESOLUTION, Y_RESOLUTION)]
    x, y = found
    if not x or not y:
        return None
    unit_entry = _entry(exif, RESOLUTION_UNIT)
    unit = _INCH if unit_entry is None else _whole(exif, unit_entry)
    if unit not in (_INCH, _CENTIMETRE):
        return None
    scale = 2.54 if unit == _CENTIMETRE else 1.0
    return x * scale, y * scale


def exif_of_dpi(dpi: tuple[float, float]) -> bytes:
    """A block that says the resolution, in pixels per inch, and nothing else."""
    entries = b""
    numbers = b""
    for tag, value in zip((X_RESOLUTION, Y_RESOLUTION), dpi, strict=True):
        entries += struct.pack("<HHII", tag, _RATIONAL, 1, 50 + len(numbers))
        numbers += struct.pack("<II", *_fraction(value))
    entries += struct.pack("<HHIHH", RESOLUTION_UNIT, _SHORT, 1, _INCH, 0)
    return PREFIX + b"II*\x00\x08\x00\x00\x00" + struct.pack("<H", 3) + entries + bytes(4) + numbers


def _fraction(value: float) -> tuple[int, int]:
    from fractions import Fraction

    fraction = Fraction(value).limit_denominator(10000)
    return fraction.numerator, fraction.denominator


def _start(exif: bytes) -> int:
    """Where the TIFF header begins: some writers put the prefix there twice, some not at all."""
    at = 0
    while at < 2 * len(PREFIX) and exif.startswith(PREFIX, at):
        at += len(PREFIX)
    return at


def _entry(exif: bytes, tag: int) -> _Entry | None:
    """The entry of ``tag`` in the block's first directory; None where there is none, or damage before it."""
    start = _start(exif)
    order = {b"II": "<", b"MM": ">"}.get(exif[start : start + 2], "")
    try:
        if not order or struct.unpack_from(order + "H", exif, start + 2) != (42,):
            return None
        (offset,) = struct.unpack_from(order + "I", exif, start + 4)
        (count,) = struct.unpack_from(order + "H", exif, start + offset)
        for index in range(count):
            at = start + offset + 2 + 12 * index
            number, kind, length = struct.unpack_from(order + "HHI", exif, at)
            if number == tag and at + 12 <= len(exif):
                return _Entry(at + 8, order, kind, length)
    except struct.error:
        return None
    return None


def _whole(exif: bytes, entry: _Entry) -> int:
    letter = {_SHORT: "H", _LONG: "I"}.get(entry.kind)
    if letter is None or entry.count < 1:
        return 0
    return int(struct.unpack_from(entry.order + letter, exif, entry.at)[0])


def _rational(exif: bytes, entry: _Entry | None) -> float:
    if entry is None or entry.kind != _RATIONAL:
        return 0.0
    (offset,) = struct.unpack_from(entry.order + "I", exif, entry.at)
    try:
        over, under = struct.unpack_from(entry.order + "II", exif, _start(exif) + offset)
    except struct.error:
        return 0.0
    return over / under if under else 0.0
