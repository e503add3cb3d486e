"""Pictures of few colours as files: K-means and median cut behind the interface of a codec.

A file is a byte for the form of the indices (bit 7: the palette is grey), width and height (16 bits each,
little-endian), the number of colours less 1 (8 bits), the palette (3 bytes a colour, 1 where it is grey) and
the indices, row by row, in the shortest of these forms:

    0  packed: ceil(log2(colours)) bits each, lowest first
    1  a byte each, raw deflate (RFC 1951)
    2  ANS with the share of each colour: a byte each in units of the largest / 255, then the stream

``quality`` is the number of colours, 2 to 256.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from decant.errors import FormatError

PACKED, DEFLATED, ANS = range(3)
_GREY = 0x80
_HEAD = struct.Struct("<BHHB")
_BLOCK = 1 << 16  # colours whose distances to the palette are computed at once

# uint8 (H, W, 3) and a number of colours -> palette uint8 (k, 3), indices uint8 (H, W)
Quantizer = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class PaletteCodec:
    """A picture in at most ``quality`` colours, which ``quantize`` chooses."""

    name: str
    description: str
    quantize: Quantizer
    suffix: str = ".pal"
    qualities: tuple[int, int] | None = (2, 256)
    threaded: bool = False
    timed_apart: bool = True

    @property
    def version(self) -> str:
        """The file is this package's own."""
        return "decant"

    def prepare(self) -> None:
        """See Codec."""

    def encode(self, image: np.ndarray, quality: int | None) -> bytes:
        """See Codec.encode; 16 colours where ``quality`` is None."""
        return write(*self.quantize(image, 16 if quality is None else quality))

    def decode(self, data: bytes, threads: int = 1) -> np.ndarray:
        """See Codec.decode. Raises FormatError."""
        palette, indices = read(data)
        picture: np.ndarray = palette[indices]
        return picture


def kmeans(image: np.ndarray, colours: int) -> tuple[np.ndarray, np.ndarray]:
    """The palette of K-means over the pixels (Lloyd 1982, by scikit-learn: one k-means++ start, seed 0),
    rounded to 8 bits, and for each pixel the nearest of its colours.

    A picture of no more colours than asked for keeps its own.
    """
    found, weights, inverse = _colours(image)
    if len(found) > colours:
        centres, _ = clusters(found, weights, colours)
        found = np.unique(np.clip(np.rint(centres), 0, 255).astype(np.uint8), axis=0)
        inverse = nearest(image.reshape(-1, 3), found)
    return _by_lightness(found, inverse.reshape(image.shape[:2]))


def median_cut(image: np.ndarray, colours: int) -> tuple[np.ndarray, np.ndarray]:
    """Palette and indices of median cut (Heckbert 1982, by Pillow), without dithering."""
    from PIL import Image

    cut = Image.fromarray(image).quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette = np.array(cut.getpalette("RGB"), np.uint8).reshape(-1, 3)
    used, inverse = np.unique(np.asarray(cut), return_inverse=True)
    return _by_lightness(palette[used], inverse.reshape(image.shape[:2]))


def clusters(points: np.ndarray, weights: np.ndarray, count: int) -> tuple[np.ndarray, float]:
    """K-means of ``points`` (n, d) that count ``weights`` (n,) each: centres float64 (count, d) and inertia,
    the weighted sum of squared distances to them.
    """
    from sklearn.cluster import KMeans

    found = KMeans(count, n_init=1, random_state=0).fit(points.astype(np.float64), sample_weight=weights)
    return found.cluster_centers_, float(found.inertia_)


def inertia(image: np.ndarray, colours: int) -> float:
    """What ``kmeans`` makes smallest: the sum over pixels of squared distances (0..255, three channels) to
    ``colours`` free centres; 0 where the picture has no more colours.
    """
    found, weights, _ = _colours(image)
    return 0.0 if len(found) <= colours else clusters(found, weights, colours)[1]


def nearest(colours: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """For each of ``colours`` uint8 (n, 3) the index of the nearest in ``palette`` uint8 (k, 3): (n,)."""
    centres = palette.astype(np.float32)
    offset = np.square(centres).sum(axis=1)
    blocks = [
        np.argmin(offset - 2 * (colours[i : i + _BLOCK].astype(np.float32) @ centres.T), axis=1)
        for i in range(0, len(colours), _BLOCK)
    ]
    return np.concatenate(blocks)


def write(palette: np.ndarray, indices: np.ndarray) -> bytes:
    """Palette uint8 (k, 3), k 1 to 256, and indices uint8 (H, W) below k -> the bytes of a file."""
    height, width = indices.shape
    grey = bool((palette == palette[:, :1]).all())
    flat = np.ascontiguousarray(indices, np.uint8).reshape(-1)
    forms = [
        _packed(flat, _bits(len(palette))),
        _deflated(flat),
        _ans(flat, len(palette)),
    ]
    form = int(np.argmin([len(coded) for coded in forms]))
    head = _HEAD.pack(form | (_GREY if grey else 0), width, height, len(palette) - 1)
    return head + (palette[:, 0] if grey else palette).tobytes() + forms[form]


def read(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of a file -> palette uint8 (k, 3), indices uint8 (H, W). Raises FormatError."""
    if len(data) < _HEAD.size:
        raise FormatError(f"palette file: {len(data)} bytes; a header of {_HEAD.size} expected")
    form, width, height, last = _HEAD.unpack_from(data)
    count, planes = last + 1, 1 if form & _GREY else 3
    at = _HEAD.size + planes * count
    if len(data) < at:
        raise FormatError(f"palette file: ends in its palette of {count} colours")
    palette = np.frombuffer(data, np.uint8, planes * count, _HEAD.size).reshape(count, planes)
    readers = {PACKED: _unpacked, DEFLATED: _inflated, ANS: _from_ans}
    if form & ~_GREY not in readers:
        raise FormatError(f"palette file: form {form & ~_GREY}; 0, 1 or 2 expected")
    indices = readers[form & ~_GREY](data[at:], width * height, count)
    if len(indices) and indices.max() >= count:
        raise FormatError(f"palette file: index {indices.max()} into a palette of {count} colours")
    return np.repeat(palette, 3 // planes, axis=1), indices.reshape(height, width)


def _packed(indices: np.ndarray, bits: int) -> bytes:
    split = (indices[:, None] >> np.arange(bits, dtype=np.uint8)) & 1
    return np.packbits(split.astype(np.uint8).reshape(-1), bitorder="little").tobytes()


def _unpacked(data: bytes, size: int, count: int) -> np.ndarray:
    bits = _bits(count)
    if len(data) != (size * bits + 7) // 8:
        raise FormatError(f"palette file: {len(data)} bytes of indices; {(size * bits + 7) // 8} expected")
    split = np.unpackbits(np.frombuffer(data, np.uint8), count=size * bits, bitorder="little")
    indices: np.ndarray = split.reshape(size, bits) @ (1 << np.arange(bits))
    return indices


def _deflated(indices: np.ndarray) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    return packer.compress(indices.tobytes()) + packer.flush()


def _inflated(data: bytes, size: int, count: int) -> np.ndarray:
    reader = zlib.decompressobj(-15)
    try:
        plain = reader.decompress(data, size + 1)
    except zlib.error as error:
        raise FormatError(f"palette file: damaged deflate stream: {error}") from None
    if len(plain) != size or not reader.eof or reader.unused_data:
        raise FormatError(f"palette file: its deflate stream does not give {size} indices")
    return np.frombuffer(plain, np.uint8)


def _ans(indices: np.ndarray, count: int) -> bytes:
    from decant.codec.entropy.counts import exact_model, integer_counts
    from decant.codec.entropy.rans import AnsCoder

    shares = np.bincount(indices, minlength=count)
    shares = np.maximum(np.rint(255 * shares / max(1, shares.max())), 1).astype(np.uint8)
    coder = AnsCoder()
    if count > 1:
        coder.encode_reverse(indices.astype(np.int32), exact_model(integer_counts(shares)))
    coded: bytes = shares.tobytes() + coder.get_compressed().astype("<u4").tobytes()
    return coded


def _from_ans(data: bytes, size: int, count: int) -> np.ndarray:
    from decant.codec.entropy.counts import exact_model, integer_counts
    from decant.codec.entropy.rans import AnsCoder

    shares, words = np.frombuffer(data[:count], np.uint8), data[count:]
    if len(shares) != count or len(words) % 4 or not shares.all() or words[-4:] == bytes(4):
        raise FormatError("palette file: damaged ANS stream")
    coder = AnsCoder(np.frombuffer(words, "<u4").astype(np.uint32))
    indices = np.zeros(size, np.int32)
    if count > 1:
        indices = coder.decode(exact_model(integer_counts(shares)), size)
    if not coder.is_empty():
        raise FormatError(f"palette file: its ANS stream continues after {size} indices")
    return indices


def _colours(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The colours of a picture (n, 3), how often each comes (n,), and which each pixel has (H * W,)."""
    flat = image.reshape(-1, 3).astype(np.uint32)
    codes = (flat[:, 0] << 16) | (flat[:, 1] << 8) | flat[:, 2]
    found, inverse, weights = np.unique(codes, return_inverse=True, return_counts=True)
    colours = (found[:, None] >> np.array([16, 8, 0], np.uint32) & 0xFF).astype(np.uint8)
    return colours, weights, inverse


def _by_lightness(palette: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same picture with its palette from dark to light: neighbours in it are then alike."""
    order = np.lexsort((*palette.T, palette @ np.array([299, 587, 114])))
    place = np.empty(len(order), np.uint8)
    place[order] = np.arange(len(order))
    return palette[order], place[indices]


def _bits(count: int) -> int:
    return (count - 1).bit_length()


KMEANS = PaletteCodec("kmeans", "K-means palette (scikit-learn), indices packed or entropy-coded", kmeans)
MEDIAN_CUT = PaletteCodec(
    "median-cut", "median cut palette (Pillow), indices packed or entropy-coded", median_cut
)
