"""The images of a folder, or of a checkpoint's own set, as ``.dcn`` files."""

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from decant.bundles.bundle import Bundle
from decant.encoder import Encoder
from decant.errors import DecantError
from decant.formats.opening import open_picture
from decant.formats.paths import takes_paths
from decant.formats.writing import write_atomically
from decant_train.common import checkpoint as checkpoints
from decant_train.common.checkpoint import CheckpointError
from decant_train.data import folders as data
from decant_train.data import mnist
from decant_train.published.denoiser import recipe as denoiser_recipe

from decant_export.errors import ExportError

log = logging.getLogger(__name__)

Named = Iterator[tuple[str, np.ndarray]]


@takes_paths
def named_images(checkpoint_dir: Path, folder: Path | None) -> Named:
    """(name, uint8 (S, S, 3)) of each image below ``folder``, or of the set that the checkpoint learnt when
    it is None.

    Images are fitted to the checkpoint's size as its training did. A name is the path below the folder
    without its suffix, with it where two images would share a name. An unreadable file is named in a warning
    and skipped. Raises ExportError.
    """
    try:
        described = checkpoints.read_description(checkpoint_dir)
        if described["family"] == "digits":
            yield from _digits(folder)
            return
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


def _digits(folder: Path | None) -> Named:
    """The training digits of the idx files in ``folder``, grey as RGB."""
    if folder is None:
        raise ExportError("a digit autoencoder keeps no images; name the folder of idx files with --images")
    try:
        pictures = mnist.load(folder).images
    except mnist.DigitsError as error:
        raise ExportError(str(error)) from None
    yield from ((f"{i:05}", picture[..., None].repeat(3, axis=2)) for i, picture in enumerate(pictures))


@takes_paths
def write_archive(bundle: Bundle, images: Named, out: Path) -> int:
    """Encode ``images`` with the bundle's analysis graph into ``out``/NAME.dcn; how many there were.

    Raises BundleError for a bundle without one, OSError.
    """
    encoder = Encoder(bundle)
    count = 0
    for name, pixels in images:
        target = out / f"{name}.dcn"
        target.parent.mkdir(parents=True, exist_ok=True)
        encoded = encoder.encode(pixels, source=name)
        write_atomically(target, partial(_put, encoded))
        count += 1
    return count


def _put(data: bytes, stream: IO[bytes]) -> None:
    stream.write(data)
