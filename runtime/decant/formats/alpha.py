"""The alpha section of a ``.dcn`` file: one plane of 8 bits per pixel, kept exactly (docs/format/file.md).

A method byte, then what the method says. Differences are taken modulo 256 over whole rows and columns, so
that both directions are a few numpy calls. Deflate streams are raw (RFC 1951).
"""

import zlib
from collections.abc import Iterator

import numpy as np

from decant.errors import FormatError, ImageError

# The method byte.
CONSTANT, PLAIN, LEFT, UP, LEFT_UP, BITS, BITS_UP = range(7)
_METHODS = "0..6"
# Level 3 picks the method that level 9 would pick nearly always, several times faster.
_TRIAL_LEVEL, _FINAL_LEVEL = 3, 9
# Above this many pixels level 9 can take half a minute; level 6 gives a tenth more bytes at most.
_LARGE, _LARGE_LEVEL = 1 << 22, 6


def pack(alpha: np.ndarray) -> bytes:
    """uint8 (H, W) -> the payload of its section. Raises ImageError for another type or shape."""
    if alpha.dtype != np.uint8 or alpha.ndim != 2 or not alpha.size:
        raise ImageError(f"alpha of {alpha.dtype} {alpha.shape}; uint8 (height, width) expected")
    if (alpha == alpha[0, 0]).all():
        return bytes([CONSTANT, int(alpha[0, 0])])
    sizes = {}
    for head, plane in _candidates(alpha):
        sizes[head] = len(_deflate(plane, _TRIAL_LEVEL))
    chosen = min(sizes, key=sizes.__getitem__)
    plane = next(plane for head, plane in _candidates(alpha) if head == chosen)
    return chosen + _deflate(plane, _FINAL_LEVEL if alpha.size <= _LARGE else _LARGE_LEVEL)


def unpack(data: bytes, width: int, height: int, source: str = "<bytes>") -> np.ndarray:
    """Payload -> uint8 (height, width). Takes memory for a few planes of this size at most, whatever the
    payload holds.

    Raises FormatError for an unknown method, a damaged stream, or one of more or fewer bytes than the plane.
    """
    if not data:
        raise FormatError(f"{source}: empty alpha section")
    method = data[0]
    if method == CONSTANT:
        if len(data) != 2:
            raise FormatError(f"{source}: constant alpha of {len(data)} bytes; 2 expected")
        return np.full((height, width), data[1], np.uint8)
    if method in (PLAIN, LEFT, UP, LEFT_UP):
        plane = np.frombuffer(_inflate(data[1:], width * height, source), np.uint8).reshape(height, width)
        if method in (UP, LEFT_UP):
            plane = np.cumsum(plane, axis=0, dtype=np.uint8)
        if method in (LEFT, LEFT_UP):
            plane = np.cumsum(plane, axis=1, dtype=np.uint8)
        return plane.copy() if method == PLAIN else plane
    if method in (BITS, BITS_UP):
        return _unpack_bits(data, width, height, source)
    raise FormatError(f"{source}: alpha method {method} is unknown; {_METHODS} expected")


def _candidates(alpha: np.ndarray) -> Iterator[tuple[bytes, np.ndarray]]:
    """(head of the payload, bytes to deflate) of each method that fits ``alpha``, which is not constant."""
    yield bytes([PLAIN]), alpha
    left = alpha.copy()
    left[:, 1:] -= alpha[:, :-1]
    yield bytes([LEFT]), left
    up = alpha.copy()
    up[1:] -= alpha[:-1]
    yield bytes([UP]), up
    left_up = left.copy()
    left_up[1:] -= left[:-1]
    yield bytes([LEFT_UP]), left_up
    low, high = int(alpha.min()), int(alpha.max())
    if ((alpha == low) | (alpha == high)).all():
        bits = np.packbits(alpha == high, axis=1)
        yield bytes([BITS, low, high]), bits
        bits_up = bits.copy()
        bits_up[1:] ^= bits[:-1]
        yield bytes([BITS_UP, low, high]), bits_up


def _unpack_bits(data: bytes, width: int, height: int, source: str) -> np.ndarray:
    """A plane of two values, stored as one bit per pixel."""
    if len(data) < 3 or data[1] >= data[2]:
        raise FormatError(f"{source}: alpha of two values must name them in ascending order")
    row_bytes = (width + 7) // 8
    rows = np.frombuffer(_inflate(data[3:], row_bytes * height, source), np.uint8).reshape(height, row_bytes)
    if data[0] == BITS_UP:
        rows = np.bitwise_xor.accumulate(rows, axis=0)
    if width % 8 and (rows[:, -1] & (0xFF >> width % 8)).any():
        raise FormatError(f"{source}: the bits after the last pixel of an alpha row are not zero")
    values = np.array([data[1], data[2]], np.uint8)
    plane: np.ndarray = values[np.unpackbits(rows, axis=1, count=width)]
    return plane


def _deflate(plane: np.ndarray, level: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, 9)
    return packer.compress(np.ascontiguousarray(plane).data) + packer.flush()


def _inflate(data: bytes, length: int, source: str) -> bytes:
    """Exactly ``length`` bytes out of one raw deflate stream that fills ``data``; never more are made."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        found = unpacker.decompress(data, length)
        # The stream's end may be left to read when all bytes have come.
        surplus = unpacker.decompress(unpacker.unconsumed_tail, 1)
    except zlib.error as error:
        raise FormatError(f"{source}: alpha is damaged: {error}") from None
    if len(found) < length:
        raise FormatError(f"{source}: alpha of {len(found)} bytes; {length} expected")
    if surplus:
        raise FormatError(f"{source}: alpha of more than {length} bytes; {length} expected")
    if not unpacker.eof or unpacker.unused_data or unpacker.unconsumed_tail:
        raise FormatError(f"{source}: alpha does not end where its section ends")
    return found
