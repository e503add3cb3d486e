"""The layout interface: how a picture's latents become the payload of a file, and back.

A layout does everything that depends on how latents are stored, so no other module asks which layout a bundle
has. ``decant.layouts.registry`` finds the layout that ``model.json`` names. Layouts of pictures of one size
derive from ``decant.layouts.fixed.FixedLayout``. The codec's layout is ``decant.codec.codec_layout``.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from decant.backends.session import Session
from decant.formats.container import DcnFile
from decant.formats.input_images import Picture
from decant.formats.manifest import Graph
from decant.formats.rectangles import Rectangle
from decant.settings import Settings

if TYPE_CHECKING:
    from decant.bundles.bundle import Bundle

# A role of the bundle's graphs, ``hyper_mean`` for example -> its session.
Load: TypeAlias = Callable[[str], Session]
# A quality (0: none) and the latents section -> the bytes of the whole file.
Finish: TypeAlias = Callable[[int, bytes], bytes]
# A file -> its pixels uint8 (H, W, 3 or 4), by the default decoder.
Show: TypeAlias = Callable[[DcnFile], np.ndarray]


class PictureDecoder(Protocol):
    """Decodes files with the loaded graphs of a bundle. Safe to use from several threads."""

    def decode(self, file: DcnFile, source: str = "<bytes>", region: Rectangle | None = None) -> np.ndarray:
        """Pixels uint8 (H, W, 3), or (H, W, 4) if the file has alpha, of the picture or of a ``region``.

        ``source`` names the file in messages. Raises FormatError for a damaged file.
        """

    def synthesise(self, latents: np.ndarray) -> np.ndarray:
        """Latents float32 of one picture, without batch axis -> pixels uint8 (H, W, 3).

        Raises FormatError for another shape, BundleError if the layout decodes whole files only.
        """


class PictureEncoder(Protocol):
    """Encodes pictures with the loaded graphs of a bundle. Safe to use from several threads."""

    def check(self, settings: Settings, source: str) -> None:
        """Raise ImageError for settings that this encoder does not take."""

    def accept(self, picture: Picture, source: str) -> Picture:
        """``picture`` as this encoder stores it. Raises ImageError for one that it cannot store."""

    def encode(self, picture: Picture, settings: Settings, finish: Finish, source: str) -> bytes:
        """The bytes of a file, made by ``finish``, of a picture that was accepted.

        Raises ImageError for a picture or a target that cannot be met.
        """


class Layout(Protocol):
    """A latent layout. Each one has a name, its value in ``model.json``, and its tensors."""

    @property
    def name(self) -> str:
        """Its name in model.json."""

    @property
    def qualities(self) -> int:
        """The highest quality; 0 if files have no quality."""

    @property
    def encoding_floor_db(self) -> float | None:
        """PSNR in dB that a golden picture, encoded at the highest quality, must reach; None: no floor."""

    def to_model(self) -> dict[str, Any]:
        """The value of ``latent`` in model.json."""

    def tables(self) -> dict[str, np.ndarray]:
        """The tensors that it needs in tables.safetensors."""

    def halo_of(self, role: str) -> int:
        """Receptive field of a graph of ``role``, in positions of its input to each side. 0 if all pictures
        have one size.
        """

    def check_graph(self, bundle: "Bundle", graph: Graph) -> None:
        """Raise BundleError unless the declared tensors of ``graph`` fit this layout."""

    def decoder(
        self,
        bundle: "Bundle",
        synthesis: Session,
        load: Load,
        *,
        denoiser: Session | None = None,
        overlap: bool = True,
    ) -> PictureDecoder:
        """The decoder of ``bundle``. The golden check uses it too, with the session under test.

        ``load`` gives further graphs in the runtime of ``synthesis``; ``denoiser`` runs on the decoded
        pixels; ``overlap`` allows a second thread. Raises BundleError.
        """

    def encoder(
        self, bundle: "Bundle", load: Load, *, overlap: bool = True, show: Show | None = None
    ) -> PictureEncoder:
        """The encoder of ``bundle``. PSNR targets are measured with the decoder ``show``. Raises
        BundleError.
        """

    def verify(self, file: DcnFile, image: tuple[int, int], source: str) -> list[str]:
        """Decode everything in ``file`` that is coded without loss. Returns short descriptions of it.

        ``image`` is the model's (width, height), (0, 0) for any. Raises FormatError.
        """
