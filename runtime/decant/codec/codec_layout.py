"""The layout ``grid`` behind the interface ``decant.layouts.layout.Layout``: decoder, encoder, verify."""

from typing import TYPE_CHECKING

import numpy as np

from decant.backends.session import Session
from decant.codec.decoder import MEAN_HALO, GridDecoder, tiles_of
from decant.codec.layout import QUALITIES, GridLayout
from decant.errors import BundleError
from decant.formats.container import DcnFile
from decant.formats.manifest import Graph

if TYPE_CHECKING:
    from collections.abc import Callable

    from decant.bundles.bundle import Bundle
    from decant.codec.encoder import GridEncoder


class CodecLayout(GridLayout):
    """Pictures of any size, 100 qualities, grey and alpha. ``GridLayout`` reads and writes the streams."""

    qualities = QUALITIES
    # The highest quality of every codec is far above this PSNR, and the output of a broken graph far below.
    encoding_floor_db: float | None = 25

    def halo_of(self, role: str) -> int:
        """See ``Layout.halo_of``. In hyperlatents for hyper_mean, in latents for the other graphs."""
        return MEAN_HALO if role == "hyper_mean" else self.halo

    def check_graph(self, bundle: "Bundle", graph: Graph) -> None:
        """Does nothing: pictures have any size, so a graph's tensors are checked when it runs."""

    def decoder(
        self,
        bundle: "Bundle",
        synthesis: Session,
        load: "Callable[[str], Session]",
        *,
        denoiser: Session | None = None,
        overlap: bool = True,
    ) -> GridDecoder:
        """See ``Layout.decoder``. Raises BundleError for a ``denoiser``."""
        if denoiser is not None:
            raise BundleError(f"bundle {bundle.name}: pictures of layout {self.name} are not denoised")
        return GridDecoder(self, load("hyper_mean"), synthesis, overlap=overlap)

    def encoder(
        self,
        bundle: "Bundle",
        load: "Callable[[str], Session]",
        *,
        overlap: bool = True,
        show: "Callable[[DcnFile], np.ndarray] | None" = None,
    ) -> "GridEncoder":
        """See ``Layout.encoder``."""
        from decant.codec.encoder import GridEncoder
        from decant.codec.quantization import prediction_channels_of

        prediction_channels = prediction_channels_of(bundle, self)
        return GridEncoder(
            self, bundle.tables, load, prediction_channels=prediction_channels, overlap=overlap, show=show
        )

    def verify(self, file: DcnFile, image: tuple[int, int], source: str) -> list[str]:
        """See ``Layout.verify``: decodes every symbol, and alpha."""
        from decant.formats import alpha

        count = sum(1 for _ in tiles_of(self, file, source))
        said = [f"quality {file.quality}", f"{count} tile{'s' if count > 1 else ''} of symbols decoded"]
        if file.grey:
            said.insert(0, "grey")
        if file.alpha is not None:
            alpha.unpack(file.alpha, file.width, file.height, source)
            said.append("alpha decoded")
        return said
