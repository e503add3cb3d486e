"""What ``decant train denoiser`` does, as one call: checkpoints of sets in, a checkpoint folder out."""

from collections.abc import Sequence
from pathlib import Path

import torch
from decant.formats.paths import takes_paths

from decant_train.common import checkpoint as checkpoints
from decant_train.common import families, loop
from decant_train.common.checkpoint import Checkpoint, CheckpointError
from decant_train.data.images import WHEELS, Pixels, images_of
from decant_train.published.denoiser.model import Denoiser
from decant_train.published.denoiser.pairs import make_pairs
from decant_train.published.denoiser.task import DenoiserTask


@takes_paths
def train_denoiser(
    size: str,
    out: Path,
    options: loop.Options,
    *,
    sets: Sequence[Path],
    images: Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Checkpoint:
    """Train the denoiser ``size`` on the pictures that the set checkpoints ``sets`` decode.

    ``images``: folder of the originals; None for those that each checkpoint names. The metrics hold PSNR and
    SSIM of the validation pairs, and of the test pairs before and after ("test_*").
    """
    family = families.get("denoiser")
    if size not in family.sizes:
        raise ValueError(f"family denoiser has no size {size!r}; it has {', '.join(family.sizes)}")
    if not sets:
        raise ValueError("the denoiser learns from decoded pictures: name set checkpoints with --checkpoint")
    pairs = make_pairs(sets, {folder: originals(folder, images) for folder in sets})
    torch.manual_seed(options.seed)
    if resume:
        start = checkpoints.load(out)
    else:
        start = Checkpoint("denoiser", family.sizes[size], family.network(family.sizes[size]))
        start.data = {"checkpoints": [str(folder) for folder in sets], "pairs": [len(side) for side in pairs]}
    if not isinstance(start.model, Denoiser):
        raise CheckpointError(f"{out} is not a denoiser")
    task = DenoiserTask(start.model, *pairs)
    return loop.fit(task, start, out, options, resume=resume, progress=progress)


@takes_paths
def originals(folder: Path, images: Path | None = None) -> Pixels:
    """The images that the set checkpoint in ``folder`` learnt, read again: uint8 (set_size, S, S, 3)."""
    description = checkpoints.read_description(folder)
    config, source = description["config"], description["data"]
    chosen = images or (None if source["source"] == WHEELS else Path(source["source"]))
    return images_of(chosen, config["image_size"], config["set_size"], source.get("fit", "crop"))
