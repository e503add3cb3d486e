"""Decode the bytes of a .dcn file to pixels, whole and in part.

    python examples/decode_bytes.py photo.dcn

The model named in the file's header is found among the installed bundles.
"""

import sys
from pathlib import Path

import decant


def main(path: Path) -> None:
    data = path.read_bytes()
    pixels = decant.open(path)  # uint8 (H, W, 3); grey and alpha give other shapes
    print(f"{path.name}: {len(data)} bytes, {pixels.shape[1]}x{pixels.shape[0]} pixels")

    decoder = decant.Decoder("lite", threads=1)  # load once, decode many
    assert (decoder.decode(data) == pixels).all()
    corner = decoder.decode_region(data, (0, 0, 32, 32))  # x, y, width, height
    print(f"top left corner: mean {corner.mean():.1f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
