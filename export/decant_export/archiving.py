"""The images of a folder, or of a checkpoint's own set, as ``.dcn`` files."""

from functools import partial
from pathlib import Path
from typing import IO

from decant.bundles.bundle import Bundle
from decant.encoder import Encoder
from decant.formats.paths import takes_paths
from decant.formats.writing import write_atomically

from decant_export.common import family as families
from decant_export.common.family import Named


@takes_paths
def named_images(checkpoint_dir: Path, folder: Path | None) -> Named:
    """(name, uint8 (H, W, 3)) of each image below ``folder``, or of the set that the checkpoint learnt when
    it is None; what the checkpoint's family makes of either. Raises ExportError.
    """
    return families.family_of(families.load(checkpoint_dir)).named_images(checkpoint_dir, folder)


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
