"""Writing PNG quickly: one filter for a picture, chosen on a few of its rows, and a fast deflate.

Pillow tries five filters on every row and compresses at level 6, which takes several times as long as
decoding the picture. At level 1, the default, compression is ISA-L's where the package ``isal`` is installed
(extra ``fast``), and otherwise zlib's run-length strategy. Level 0 stores; levels 2 to 9 are Pillow's, slower
and smaller.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from decant.errors import ImageError

if TYPE_CHECKING:
    import numpy as np

FASTEST, DEFAULT_LEVEL, MOST = 0, 1, 9
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> grey, grey with alpha, RGB, RGB with alpha
_SUB, _UP = 1, 2  # filters of PNG: the pixel to the left, the one above
_ROWS_LOOKED_AT = 16
_BAND_BYTES = 4 << 20  # pixels that are filtered and compressed at a time
_EXIF_PREFIX = b"Exif\0\0"
_METRE_INCHES = 0.0254


def check_level(level: int | None) -> int:
    """A level of PNG, 1 for None. Raises ImageError for one that is not 0 to 9."""
    if level is None:
        return DEFAULT_LEVEL
    if isinstance(level, bool) or not isinstance(level, int) or not FASTEST <= level <= MOST:
        raise ImageError(f"PNG level {level!r}; {FASTEST} to {MOST} expected")
    return level


def write_png(
    stream: IO[bytes],
    pixels: "np.ndarray",
    *,
    level: int = DEFAULT_LEVEL,
    exif: bytes | None = None,
    icc: bytes | None = None,
    xmp: bytes | None = None,
    dpi: tuple[float, float] | None = None,
) -> None:
    """Write uint8 (H, W) or (H, W, n), n 1 to 4, as PNG at ``level`` 0 or 1; ``dpi`` in pixels per inch."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    stream.write(_SIGNATURE)
    _chunk(stream, b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0))
    if icc is not None:
        _chunk(stream, b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc))
    if xmp is not None:
        _chunk(stream, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    if dpi is not None:
        x, y = (int(value / _METRE_INCHES + 0.5) for value in dpi)
        _chunk(stream, b"pHYs", struct.pack(">IIB", x, y, 1))
    if exif is not None:
        _chunk(stream, b"eXIf", exif.removeprefix(_EXIF_PREFIX))
    compressor = _compressor(level)
    for band in _filtered(pixels.reshape(height, width * channels), channels):
        if data := compressor.compress(band):
            _chunk(stream, b"IDAT", data)
    _chunk(stream, b"IDAT", compressor.flush())
    _chunk(stream, b"IEND", b"")


def _chunk(stream: IO[bytes], kind: bytes, data: bytes) -> None:
    stream.write(struct.pack(">I", len(data)) + kind)
    stream.write(data)
    crc32 = _fast_zlib().crc32
    stream.write(struct.pack(">I", crc32(data, crc32(kind))))


def _fast_zlib() -> Any:
    """ISA-L's zlib where it is installed, or Python's."""
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib
    return isal_zlib


def _compressor(level: int) -> Any:
    if level == FASTEST:
        return zlib.compressobj(0)
    fast = _fast_zlib()
    if fast is zlib:
        return zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    return fast.compressobj(1)


def _filtered(rows: "np.ndarray", channels: int) -> Iterator["np.ndarray"]:
    """Rows (H, bytes) with their filter's number before them, in bands of whole rows."""
    import numpy as np

    use_up = _up_is_better(rows, channels)
    height, size = rows.shape
    step = max(1, _BAND_BYTES // (size + 1))
    for top in range(0, height, step):
        part = rows[top : top + step]
        band = np.empty((len(part), size + 1), np.uint8)
        values = band[:, 1:]
        if use_up:
            band[:, 0] = _UP
            np.subtract(part[1:], part[:-1], out=values[1:])
            values[0] = part[0] - rows[top - 1] if top else part[0]
        else:
            band[:, 0] = _SUB
            values[:, :channels] = part[:, :channels]
            np.subtract(part[:, channels:], part[:, :-channels], out=values[:, channels:])
        yield band


def _up_is_better(rows: "np.ndarray", channels: int) -> bool:
    """Which filter leaves less, by the sum of absolute differences on a few pairs of rows."""
    import numpy as np

    if len(rows) < 2:
        return False
    chosen = np.unique(np.linspace(1, len(rows) - 1, _ROWS_LOOKED_AT).astype(int))
    here = rows[chosen]
    up = (here - rows[chosen - 1]).view(np.int8)
    left = (here[:, channels:] - here[:, :-channels]).view(np.int8)
    return float(np.abs(up.astype(np.int16)).mean()) <= _mean(left)


def _mean(values: "np.ndarray") -> float:
    import numpy as np

    return float(np.abs(values.astype(np.int16)).mean()) if values.size else 0.0
