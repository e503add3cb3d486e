"""An ICC profile for pictures whose colours PNG's chunks gAMA and cHRM describe (PNG 3rd edition, 11.3.2).

Matrix and tone curve only (ICC.1:2001-04, version 2.4): the primaries are adapted to D50 by Bradford's
method, as the specification demands.
"""

import struct
from collections.abc import Sequence

import numpy as np

SRGB_CHROMATICITY = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)  # white, red, green, blue: x, y each
SRGB_GAMMA = 0.45455  # what PNG writers say of sRGB
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_TOLERANCE = 0.005


def profile_of(gamma: float | None, chromaticity: Sequence[float] | None, grey: bool) -> bytes | None:
    """An ICC profile for PNG's ``gamma`` (of encoding: 1/2.2 or so) and ``chromaticity``, (x, y) of white,
    red, green and blue; None where they say sRGB, within what writers round.

    Raises ValueError for numbers that describe no colours.
    """
    exponent = SRGB_GAMMA if gamma is None else float(gamma)
    places = SRGB_CHROMATICITY if chromaticity is None else tuple(map(float, chromaticity))
    if not 1 / 255 < exponent < 255 or len(places) != 8 or not np.isfinite(places).all():
        raise ValueError(f"gamma {exponent:g}, chromaticity {places}")
    same_colours = grey or np.allclose(places, SRGB_CHROMATICITY, atol=_TOLERANCE)
    if same_colours and abs(exponent - SRGB_GAMMA) < _TOLERANCE:
        return None
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 / exponent))
    tags = {
        b"desc": _description("PNG gAMA and cHRM"),
        b"cprt": b"text" + bytes(4) + b"no copyright, use freely\x00",
        b"wtpt": _xyz(_D50),
    }
    if grey:
        tags[b"kTRC"] = curve
    else:
        for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), _matrix(places).T, strict=True):
            tags[name] = _xyz(column)
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return _profile(b"GRAY" if grey else b"RGB ", tags)


def _matrix(places: Sequence[float]) -> "np.ndarray":
    """Linear RGB -> XYZ relative to D50, (3, 3). Raises ValueError for primaries on one line."""
    pairs = np.reshape(places, (4, 2))
    if (pairs[:, 1] <= 0).any():
        raise ValueError(f"chromaticity {tuple(places)}")
    xyz = np.stack([pairs[:, 0], pairs[:, 1], 1 - pairs.sum(axis=1)]) / pairs[:, 1]  # columns: w, r, g, b
    try:
        primaries = xyz[:, 1:] * np.linalg.solve(xyz[:, 1:], xyz[:, 0])
    except np.linalg.LinAlgError:
        raise ValueError(f"chromaticity {tuple(places)}") from None
    gains = (_BRADFORD @ _D50) / (_BRADFORD @ xyz[:, 0])
    adapted: np.ndarray = np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD @ primaries
    if not (np.abs(adapted) < 4).all():
        raise ValueError(f"chromaticity {tuple(places)}")
    return adapted


def _xyz(values: "np.ndarray") -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(float(value) * 65536) for value in values))


def _description(text: str) -> bytes:
    ascii_text = text.encode("ascii") + b"\x00"
    return b"desc" + bytes(4) + struct.pack(">I", len(ascii_text)) + ascii_text + bytes(4 + 4 + 2 + 1 + 67)


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    table, body = struct.pack(">I", len(tags)), b""
    places: dict[bytes, int] = {}
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        if data not in places:
            places[data] = start + len(body)
            body += data + bytes(-len(data) % 4)
        table += name + struct.pack(">II", places[data], len(data))
    size = start + len(body)
    header = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02400000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += struct.pack(">3i", *(round(float(value) * 65536) for value in _D50))
    return header + bytes(128 - len(header)) + table + body
