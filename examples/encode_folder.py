"""Encode every PNG picture of a folder, and print the size of each file.

    python examples/encode_folder.py pictures coded --quality 50

The command `decant encode pictures coded` does the same with several processes and a summary.
"""

import argparse
from pathlib import Path

import decant
import numpy as np
from PIL import Image


def main(source: Path, target: Path, quality: int) -> None:
    encoder = decant.Encoder("lite", threads=1)  # load once, encode many
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.png")):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        data = encoder.encode(pixels, quality)
        (target / f"{path.stem}.dcn").write_bytes(data)
        bits_per_pixel = 8 * len(data) / (pixels.shape[0] * pixels.shape[1])
        print(f"{path.name}: {len(data)} bytes, {bits_per_pixel:.2f} bits per pixel")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--quality", type=int, default=60)
    arguments = parser.parse_args()
    main(arguments.source, arguments.target, arguments.quality)
