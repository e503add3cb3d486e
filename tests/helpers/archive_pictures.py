"""Small pictures for the tests of archives, and what lies in a folder."""

from pathlib import Path

import numpy as np
from PIL import Image

NANO = Path(__file__).parents[2] / "artifacts" / "decant_bundles" / "nano"
SETTINGS = {"model": str(NANO), "effort": 0, "quality": 40, "unit_rows": 4, "part_units": 3}


def picture(number: int, side: int = 24) -> np.ndarray:
    """Smooth colours that differ with ``number``: uint8 (side, side, 3)."""
    small = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


def write_pictures(folder: Path, count: int) -> None:
    """``count`` PNG files in a few subfolders of ``folder``."""
    for number in range(count):
        path = folder / f"set{number % 3}" / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number)).save(path)


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder`` with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
