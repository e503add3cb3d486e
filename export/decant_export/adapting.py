"""The levels of ``decant adapt`` that train: bundle -> codec -> trained on an archive -> bundle."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from decant.adaptation.adapting import spread
from decant.adaptation.writing import card_of
from decant.bundles.bundle import Bundle
from decant.process.cores import usable_cores
from decant_train.codec.adapt import AdaptOptions, adapt
from decant_train.common.checkpoint import Checkpoint
from decant_train.data import archive_pictures
from decant_train.data.archive_pictures import GRID, ArchivePictures

from decant_export.errors import ExportError
from decant_export.exporting import COMMERCIAL_USE, export
from decant_export.families.codec.importing import codec_of
from decant_export.families.codec.pictures import CROP
from decant_export.families.codec.tables import positions

PRECISIONS, RUNTIMES = ("float", "int16"), ("onnxruntime",)
CROPS = 12  # on which tables and ranges are measured; decant.adaptation counts tables on files afterwards
HELD_OUT = 16  # pictures, at most a quarter of the archive
PIXELS = 8 * 128 * 128  # of a training batch
LARGEST_CROP = 128


def train(
    bundle: Bundle,
    pictures: Sequence[Path],
    out: Path,
    *,
    level: str,
    minutes: float,
    quality: int,
    name: str,
    threads: int,
    report: Callable[[str], None],
) -> Bundle:
    """See ``decant.adaptation.adapting.Training``. Raises ExportError, DecantError, OSError."""
    torch.set_num_threads(threads or usable_cores())
    model = codec_of(bundle)
    training, held_out = _loaded(pictures)
    side = int(torch.minimum(training.height, training.width).max())
    crop = GRID * min(max(side // GRID, 1), LARGEST_CROP // GRID)
    options = AdaptOptions(
        level,
        float(positions(model.config)[quality - 1]),
        minutes=minutes,
        crop=crop,
        batch_size=PIXELS // crop**2,
    )
    found = adapt(model, training, held_out, options, report)
    raw = bundle.manifest.raw
    use = str(raw.get("commercial_use", "unclear"))
    return export(
        Checkpoint(
            "codec",
            found.model.config,
            found.model,
            step=found.steps,
            elapsed_s=60 * minutes,
            metrics={"score_before": found.score_before, "score_after": found.score_after},
            options={"adapt": asdict(options)},
            stopped_by="minutes",
        ),
        out,
        name=name,
        version=bundle.version,
        precisions=PRECISIONS,
        runtimes=RUNTIMES,
        images=crops_of(training),
        licence=str(raw.get("licence", "not stated")),
        data=f"{raw.get('data', 'not stated')}; trained further on {len(pictures)} pictures of an archive",
        commercial_use=use if use in COMMERCIAL_USE else "unclear",
        card=card_of(bundle),
    )


def crops_of(pictures: ArchivePictures) -> np.ndarray:
    """Crops uint8 (CROPS, CROP, CROP, 3) on which the export measures: of large pictures squares of them, of
    small ones squares that many of them fill.
    """
    draw = torch.Generator().manual_seed(2)
    if int(torch.minimum(pictures.height, pictures.width).max()) >= CROP:
        squares = pictures.crops(CROPS, CROP, draw)
    else:
        a = CROP // GRID
        cells = pictures.crops(CROPS * a * a, GRID, draw).reshape(CROPS, a, a, 3, GRID, GRID)
        squares = cells.permute(0, 3, 1, 4, 2, 5).reshape(CROPS, 3, CROP, CROP)
    found: np.ndarray = (squares.permute(0, 2, 3, 1) * 255).round().byte().numpy()
    return found


def _loaded(paths: Sequence[Path]) -> tuple[ArchivePictures, ArchivePictures]:
    """Training pictures and held-out ones, spread over the archive. Raises ExportError for one picture."""
    count = min(HELD_OUT, len(paths) // 4)
    if not count:
        raise ExportError(f"{len(paths)} pictures are too few to train on; give at least 4, or level tables")
    held = set(spread(paths, count))
    return (
        archive_pictures.load([path for path in paths if path not in held]),
        archive_pictures.load(sorted(held)),
    )
