"""The pictures of an archive as training data: crops that lie as the codec sees them.

A codec adapted to an archive may learn where things are: crops start at multiples of 64 pixels from the top
left, as hyperlatents do, and are neither mirrored nor reduced.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from decant.formats.opening import open_picture
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from decant_train.data.photos import Photos

GRID = 64  # pixels: one hyperlatent
_WHITE = (255, 255, 255, 255)


class ArchivePictures(Photos):
    """Pictures of an archive, of any size. Parts beyond the edge repeat it, as in the encoder."""

    def crops(self, count: int, size: int, generator: torch.Generator) -> Tensor:
        """``count`` squares float32 (count, 3, size, size) in [0, 1] that start at multiples of ``GRID``, or
        of ``size`` where that is smaller; large pictures come more often.
        """
        grid = min(GRID, size)
        rows, columns = self._places(self.height, size, grid), self._places(self.width, size, grid)
        chosen = torch.multinomial(
            (rows * columns).float().cpu(), count, replacement=True, generator=generator
        )
        random = torch.rand(2, count, generator=generator)
        squares = []
        for i, k in enumerate(chosen.tolist()):
            height, width, start = int(self.height[k]), int(self.width[k]), int(self.start[k])
            picture = self.flat[start : start + 3 * height * width].reshape(height, width, 3)
            top = grid * int(random[0, i] * rows[k])
            left = grid * int(random[1, i] * columns[k])
            square = picture[top : top + size, left : left + size].permute(2, 0, 1).float() / 255
            missing = (0, size - square.shape[2], 0, size - square.shape[1])
            squares.append(functional.pad(square[None], missing, "replicate"))
        return torch.cat(squares)

    def reduced(self, count: int, size: int, generator: torch.Generator, *, grainy: float = 0.0) -> Tensor:
        """As ``crops``: the archive's pixels are what is to be stored."""
        return self.crops(count, size, generator)

    @staticmethod
    def _places(sides: Tensor, size: int, grid: int) -> Tensor:
        """How many places a square of ``size`` has along each of ``sides``."""
        return -(-(sides - size).clamp_min(0) // grid) + 1


def load(paths: Sequence[Path]) -> ArchivePictures:
    """Decode pictures; transparent parts are shown on white. Raises ImageError, OSError."""
    return ArchivePictures([pixels_of(path) for path in paths], [path.name for path in paths])


def pixels_of(path: Path) -> npt.NDArray[np.uint8]:
    """uint8 (H, W, 3) of a picture. Raises ImageError, OSError."""
    with open_picture(path) as image:
        shown = ImageOps.exif_transpose(image)
        if shown.has_transparency_data:
            shown = shown.convert("RGBA")
            shown = Image.alpha_composite(Image.new("RGBA", shown.size, _WHITE), shown)
        return np.asarray(shown.convert("RGB"))
