"""Files of the layouts ``vector`` and ``levels`` -> pixels: latents of one shape, one run, a picture of the
model's size.
"""

import numpy as np

from decant.backends.session import Session
from decant.errors import FormatError
from decant.formats.container import DcnFile
from decant.formats.rectangles import Rectangle, whole
from decant.layouts.layout import FixedLayout


class FixedDecoder:
    """The graphs of the bundle called ``name`` at work: synthesis, and a denoiser after it where one is
    given. ``image`` is (width, height). Safe to use from several threads.
    """

    def __init__(
        self,
        layout: FixedLayout,
        name: str,
        image: tuple[int, int],
        synthesis: Session,
        denoiser: Session | None,
    ) -> None:
        self.layout = layout
        self.name = name
        self.image = image
        self.synthesis = synthesis
        self.denoiser = denoiser

    def decode(self, file: DcnFile, source: str = "<bytes>", region: Rectangle | None = None) -> np.ndarray:
        """uint8 (H, W, 3) of the picture or a ``region`` of its pixels. Raises FormatError."""
        self.layout.check(file, self.image, source)
        picture = self.synthesise(self.layout.unpack(file.latents, source))
        if region is None:
            return picture
        return picture[region.within(whole(file.height, file.width))].copy()

    def synthesise(self, latents: np.ndarray) -> np.ndarray:
        """One picture's latents (no batch axis) -> uint8 (H, W, 3). Raises FormatError."""
        wanted = self.layout.shape(self.image)
        if latents.shape != wanted:
            raise FormatError(f"latents of shape {latents.shape}; model {self.name} takes {wanted}")
        pixels = self.synthesis.run(latents[None])
        if self.denoiser is not None:
            pixels = self.denoiser.run(pixels)
        picture: np.ndarray = pixels[0]
        return picture
