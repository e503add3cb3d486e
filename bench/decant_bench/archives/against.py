"""``python -m decant_bench.archives.against ARCHIVE PICTURES``: payloads and decoder of an archive beside
files of other codecs at the same PSNR and SSIMULACRA2. Prints JSON.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from decant.archive import Dataset
from decant.ssimulacra2 import ssimulacra2
from PIL import Image, ImageOps

from decant_bench.common.baselines import CODECS
from decant_bench.common.metrics import psnr

QUALITIES = (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 95)
Figures = dict[str, float]


def against(archive: Path, pictures: Path, codecs: Sequence[str], sample: int) -> dict[str, object]:
    """Figures of ``sample`` pictures, spread over the archive. ``pictures`` is the folder it was packed from.

    ``bytes_each``: payloads and decoder, divided by the pictures that are no duplicates.
    ``archive_bytes_each`` has keys, hashes and the index too, which files of other codecs would need as well.
    Each of ``codecs`` (names of ``baselines.CODECS``) has its bytes at the sample's mean of each metric,
    interpolated between qualities (logarithm of the bytes), and as ``ratio`` the sample's payloads with
    their share of the decoder divided by them; None where its curve does not reach that far.
    """
    dataset = Dataset(archive, layout="hwc")
    keys = dataset.keys()
    chosen = [keys[i * len(keys) // sample] for i in range(min(sample, len(keys)))]
    originals = {key: _pixels(pictures / key) for key in chosen}
    manifest = dataset.archive.manifest
    total = sum(path.stat().st_size for path in archive.rglob("*") if path.is_file())
    stored = manifest.pictures - manifest.duplicates
    share = manifest.bundle_bytes / stored
    made = {key: _figures(originals[key], dataset[key], len(dataset.payload(key))) for key in chosen}
    own = _means(made)
    found: dict[str, object] = {
        "pictures": stored,
        "sample": len(chosen),
        "bytes_each": manifest.payload_bytes / stored + share,
        "archive_bytes_each": total / stored,
        "decoder_bytes": manifest.bundle_bytes,
        "of_sample": own,
    }
    for name in codecs:
        curve = [_means(_coded(name, originals, quality)) for quality in QUALITIES]
        found[name] = {
            metric: _ratio(curve, metric, own[metric], own["bytes"] + share)
            for metric in ("psnr_db", "ssimulacra2")
        }
    return found


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def _figures(original: np.ndarray, decoded: np.ndarray, size: int) -> Figures:
    if decoded.shape[2] == 1:
        decoded = np.repeat(decoded, 3, axis=2)
    return {
        "bytes": size,
        "psnr_db": min(psnr(original, np.ascontiguousarray(decoded)), 99.0),
        "ssimulacra2": ssimulacra2(original, np.ascontiguousarray(decoded)),
    }


def _coded(name: str, originals: Mapping[str, np.ndarray], quality: int) -> dict[str, Figures]:
    codec, found = CODECS[name], {}
    for key, original in originals.items():
        data = codec.encode(original, quality)
        found[key] = _figures(original, codec.decode(data), len(data))
    return found


def _means(rows: Mapping[str, Figures]) -> Figures:
    return {key: float(np.mean([row[key] for row in rows.values()])) for key in next(iter(rows.values()))}


def _ratio(curve: Sequence[Figures], metric: str, value: float, own: float) -> Figures | None:
    points = np.array(sorted((row[metric], np.log(row["bytes"])) for row in curve))
    if not points[0, 0] <= value <= points[-1, 0]:
        return None
    size = float(np.exp(np.interp(value, points[:, 0], points[:, 1])))
    return {"bytes": size, "ratio": own / size}


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--codecs", default="avif,avif-444")
    parser.add_argument("--sample", type=int, default=100)
    given = parser.parse_args()
    print(json.dumps(against(given.archive, given.pictures, given.codecs.split(","), given.sample), indent=2))


if __name__ == "__main__":
    main()
