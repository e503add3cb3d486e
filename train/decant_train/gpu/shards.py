"""Training photos as shards small enough to travel: reduced, compressed as JPEG, packed.

A shard is a packed file (``decant_train.data.photos``). Pictures go to shards in turn, so that each shard is
a fair sample, and keep their names, which decide what is validation.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from decant.formats.opening import open_picture
from PIL import Image

from decant_train.data import photos

MOST_PIXELS = 1_500_000  # of a picture; larger ones are reduced, which also removes old compression
QUALITIES = (95, 93, 90, 87, 84, 80)  # of JPEG, the highest that fits is taken
SMALLER = 0.75  # factor of MOST_PIXELS where even the lowest quality does not fit
SAMPLE = 12  # one picture in so many is compressed to estimate the size of a shard
MARGIN = 0.97  # of the limit, since the estimate is one


class ShardError(ValueError):
    """Pictures do not fit into shards of the given size."""


def write_shards(sources: Sequence[Path], folder: Path, count: int, most_bytes: int) -> list[Path]:
    """Write ``count`` shards of at most ``most_bytes`` each into ``folder`` from packed files or folders.

    Returns their paths, ``shard-0.safetensors`` and so on. Raises ShardError where pictures do not fit at
    a quarter of ``MOST_PIXELS``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    packed = [photos.packed(path, folder / f"source-{i}.safetensors") for i, path in enumerate(sources)]
    contents = list(_contents(packed))
    pixels = float(MOST_PIXELS)
    while pixels > MOST_PIXELS / 4:
        for quality in QUALITIES:
            if _estimated(contents, int(pixels), quality) > count * most_bytes * MARGIN:
                continue
            shards = [
                _shard(contents[part::count], folder / f"shard-{part}.safetensors", int(pixels), quality)
                for part in range(count)
            ]
            if all(path.stat().st_size <= most_bytes for path in shards):
                return shards
        pixels *= SMALLER
    raise ShardError(f"{len(contents)} pictures do not fit into {count} shards of {most_bytes / 1e6:.0f} MB")


def compressed(content: bytes, name: str, most_pixels: int, quality: int) -> bytes:
    """One picture as JPEG (4:4:4) of at most ``most_pixels``; its own bytes where they are fewer."""
    with open_picture(content, name) as opened:
        image = opened.convert("RGB")
    factor = (most_pixels / (image.width * image.height)) ** 0.5
    reduced = factor < 1
    if reduced:
        size = round(image.width * factor), round(image.height * factor)
        image = image.resize(size, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "jpeg", quality=quality, subsampling=0, optimize=True)
    return content if not reduced and len(content) <= file.tell() else file.getvalue()


def _contents(packed: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    for path in packed:
        file = photos.PackedFile(path)
        for index, name in enumerate(file.names):
            yield name, file.content(index)


def _estimated(contents: Sequence[tuple[str, bytes]], pixels: int, quality: int) -> float:
    """Estimated bytes of all pictures, from one in ``SAMPLE``."""
    sample = contents[:: min(SAMPLE, len(contents))]
    found = sum(len(compressed(content, name, pixels, quality)) for name, content in sample)
    return found * sum(len(c) for _, c in contents) / max(1, sum(len(c) for _, c in sample))


def _shard(contents: Sequence[tuple[str, bytes]], path: Path, pixels: int, quality: int) -> Path:
    photos.write_packed(
        [(name, compressed(content, name, pixels, quality)) for name, content in contents], path
    )
    return path
