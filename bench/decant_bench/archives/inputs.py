"""Pictures and payloads to measure archives with: small, all different, the same for every run."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from decant.formats import container

_PER_FOLDER = 1000


def picture(number: int, side: int) -> np.ndarray:
    """Smooth random colours: uint8 (side, side, 3)."""
    from PIL import Image

    small = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


def write_pictures(folder: Path, count: int, side: int) -> None:
    """``count`` PNG files in folders of 1,000."""
    from PIL import Image

    for number in range(count):
        path = folder / f"{number // _PER_FOLDER:04d}" / f"{number:07d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number, side)).save(path, compress_level=1)


def payload_table(path: Path, count: int, size: int, model: str) -> None:
    """A Parquet file of ``count`` different ``.dcn`` files of ``size`` bytes each: one picture with random
    XMP blocks. They decode alike and are different files.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from decant.encoder import Encoder

    file = container.parse(Encoder(model, threads=1).encode(picture(0, 32), effort=0))
    least = len(container.write(replace(file, xmp=b"")))
    chance = np.random.default_rng(0)
    schema = pa.schema([("key", pa.string()), ("image", pa.binary())])
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for start in range(0, count, _PER_FOLDER):
            numbers = range(start, min(start + _PER_FOLDER, count))
            blocks = [chance.bytes(max(size - least, 8)) for _ in numbers]
            images = [container.write(replace(file, xmp=block)) for block in blocks]
            keys = [f"{number // _PER_FOLDER:04d}/{number:07d}.dcn" for number in numbers]
            writer.write_table(pa.table({"key": keys, "image": images}, schema=schema))


def jpeg_and_avif(side: int) -> dict[str, bytes]:
    """The same picture as JPEG and AVIF, by Pillow."""
    from PIL import Image

    files = {}
    for name in ("JPEG", "AVIF"):
        stream = io.BytesIO()
        Image.fromarray(picture(0, side)).save(stream, name, quality=75)
        files[name] = stream.getvalue()
    return files
