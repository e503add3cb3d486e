"""The symbols of a golden file as one hash, for tests/conformance."""

import hashlib

import numpy as np
from decant.bundles.bundle import Bundle
from decant.codec.decoder import tiles_of
from decant.codec.layout import GridLayout
from decant.formats import container


def symbols_sha256(bundle: Bundle, data: bytes) -> str:
    """SHA-256 of the symbols of a file: int16, little-endian, coding tile after coding tile, each (channels,
    rows, columns); of the latents section where the layout has no coding tiles.
    """
    file = container.parse(data)
    digest = hashlib.sha256()
    if isinstance(bundle.layout, GridLayout):
        for symbols in tiles_of(bundle.layout, file, "<golden file>"):
            digest.update(symbols.astype("<i2").tobytes())
    else:
        digest.update(np.frombuffer(file.latents, np.uint8).tobytes())
    return digest.hexdigest()
