"""The images of a folder, or of a checkpoint's own set, as its training took them."""

import logging
from pathlib import Path

from decant.errors import DecantError
from decant.formats.opening import open_picture
from decant_train.common import checkpoint as checkpoints
from decant_train.common.checkpoint import CheckpointError
from decant_train.data import folders as data
from decant_train.published.denoiser import recipe as denoiser_recipe

from decant_export.common.family import Named
from decant_export.errors import ExportError

log = logging.getLogger(__name__)


def of_set(checkpoint_dir: Path, folder: Path | None) -> Named:
    """(name, uint8 (S, S, 3)) of each image below ``folder``, or of the set that the checkpoint learnt when
    it is None.

    Images are fitted to the checkpoint's size as its training did. A name is the path below the folder
    without its suffix, with it where two images would share a name. An unreadable file is named in a warning
    and skipped. Raises ExportError.
    """
    try:
        described = checkpoints.read_description(checkpoint_dir)
        size, fit = described["config"]["image_size"], described["data"].get("fit", "crop")
        if folder is None:
            originals = denoiser_recipe.originals(checkpoint_dir)
            yield from ((f"{i:05}", pixels) for i, pixels in enumerate(originals))
            return
        files = data.image_files(folder)
    except (CheckpointError, data.NoImagesError, KeyError) as error:
        raise ExportError(f"no images to encode: {error}; give --images") from None
    stems = [path.relative_to(folder).with_suffix("").as_posix() for path in files]
    for path, stem in zip(files, stems, strict=True):
        name = stem if stems.count(stem) == 1 else path.relative_to(folder).as_posix()
        try:
            with open_picture(path) as image:
                pixels = data.fit_square(image, size, fit)
        except (DecantError, OSError) as error:
            log.warning("skipped %s: %s", path, error)
            continue
        yield name, pixels
