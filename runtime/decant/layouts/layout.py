"""The layout interface: how a picture's latents become the payload of a file, and back.

A layout answers everything that depends on how latents are stored, so no other module asks which layout a
bundle has. ``decant.layouts.registry`` finds the layout that ``model.json`` names. Layouts of pictures of one
size derive from ``decant.layouts.fixed.FixedLayout``; the codec's layout is ``decant.codec.codec_layout``.
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
# A file -> its pixels uint8 (H, W, 3 or 4), by the decoder that users have by default.
Show: TypeAlias = Callable[[DcnFile], np.ndarray]


class PictureDecoder(Protocol):
    """The decoding graphs of a bundle at work. Safe to use from several threads."""

    def decode(self, file: DcnFile, source: str = "<bytes>", region: Rectangle | None = None) -> np.ndarray:
        """Pixels uint8 (H, W, 3), or (H, W, 4) where the file has alpha, of the picture or of a ``region``.

        ``source`` names the file in messages. Raises FormatError for a damaged file.
        """

    def synthesise(self, latents: np.ndarray) -> np.ndarray:
        """Latents float32 of one picture, without batch axis -> pixels uint8 (H, W, 3).

        Raises FormatError for another shape, BundleError where latents come in files only.
        """


class PictureEncoder(Protocol):
    """The encoding graphs of a bundle at work. Safe to use from several threads."""

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
        """Number of qualities, 1 to this; 0 where files have none."""

    @property
    def encoding_floor_db(self) -> float | None:
        """PSNR in dB that a golden picture, encoded at the highest quality, must reach; None: no floor."""

    def to_model(self) -> dict[str, Any]:
        """The value of ``latent`` in model.json."""

    def tables(self) -> dict[str, np.ndarray]:
        """The tensors that it needs in tables.safetensors."""

    def halo_of(self, role: str) -> int:
        """How far a graph of ``role`` looks around, in places of its input; 0 where pictures have one
        size.
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
        """The encoder of ``bundle``; targets of PSNR hold for what ``show`` decodes. Raises BundleError."""

    def verify(self, file: DcnFile, image: tuple[int, int], source: str) -> list[str]:
        """Decode everything in ``file`` that is coded without loss; what was found, in words.

        ``image`` is the model's (width, height), (0, 0) for any. Raises FormatError.
        """
