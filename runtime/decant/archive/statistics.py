"""Counting what an archive holds, and its failures."""

from collections.abc import Iterator
from typing import Any

from decant.archive.reader import Archive


def statistics(archive: Archive) -> dict[str, Any]:
    """Counts and bytes of an archive, as plain data. Reads the columns of sizes. Raises FormatError."""
    manifest = archive.manifest
    pixels = payload = 0
    largest = (0, "")
    for row in archive.rows(("key", "width", "height", "bytes")):
        if row["bytes"] is None:
            continue
        size = row["width"] * row["height"]
        pixels, payload = pixels + size, payload + row["bytes"]
        largest = max(largest, (size, f"{row['width']}x{row['height']}"))
    stored = manifest.pictures - manifest.duplicates
    return {
        "pictures": manifest.pictures,
        "duplicates": manifest.duplicates,
        "failed": manifest.failed,
        "parts": len(manifest.parts),
        "bytes": manifest.bytes,
        "payload_bytes": manifest.payload_bytes,
        "bundle_bytes": manifest.bundle_bytes,
        "table_bytes": manifest.bytes - manifest.payload_bytes - manifest.bundle_bytes,
        "source_bytes": manifest.source_bytes,
        "bytes_per_picture": round(manifest.bytes / manifest.pictures, 1) if manifest.pictures else 0,
        "megapixels": round(pixels / 1e6, 3),
        "mean_payload_bytes": round(payload / stored, 1) if stored else 0,
        "bits_per_pixel": round(8 * payload / pixels, 4) if pixels else 0,
        "largest_picture": largest[1],
        "models": manifest.models,
    }


def failures_of(archive: Archive) -> Iterator[dict[str, Any]]:
    """The rows of the failures table: key, source, source_sha256, error. Raises OSError."""
    import pyarrow.parquet as pq

    if archive.manifest.failures is None:
        return
    with archive.store.open(archive.manifest.failures[0]) as stream:
        file = pq.ParquetFile(stream)
        for group in range(file.num_row_groups):
            yield from file.read_row_group(group).to_pylist()
