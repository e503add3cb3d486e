"""Base of the layouts for pictures of one size: latents of one shape, without qualities."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from decant.backends.session import Session
from decant.errors import BundleError, FormatError, ImageError
from decant.formats.container import DcnFile
from decant.formats.input_images import Picture, opaque
from decant.formats.manifest import Graph
from decant.formats.rectangles import Rectangle, whole
from decant.layouts.layout import Finish, Load, Show
from decant.settings import Settings

if TYPE_CHECKING:
    from decant.bundles.bundle import Bundle


class FixedLayout(ABC):
    """A ``Layout`` of latents of one shape. A concrete layout says how one picture's latents are stored.

    ``image`` is always the model's (width, height) in pixels.
    """

    name: str
    qualities = 0
    encoding_floor_db: float | None = None

    @abstractmethod
    def to_model(self) -> dict[str, Any]:
        """The value of ``latent`` in model.json."""

    @abstractmethod
    def tables(self) -> dict[str, np.ndarray]:
        """The tensors that it needs in tables.safetensors."""

    @abstractmethod
    def shape(self, image: tuple[int, int]) -> tuple[int, ...]:
        """Shape of one picture's latents."""

    @abstractmethod
    def pack(self, latents: np.ndarray) -> bytes:
        """Latents float32 of one picture -> payload. Raises ImageError."""

    def pack_picture(self, latents: np.ndarray, pixels: np.ndarray) -> bytes:
        """``pack``, for layouts that also need the picture uint8 (H, W, 3). Raises ImageError."""
        return self.pack(latents)

    @abstractmethod
    def unpack(self, payload: bytes, source: str = "<bytes>") -> np.ndarray:
        """Payload -> float32 latents. Raises FormatError."""

    def halo_of(self, role: str) -> int:
        """See ``Layout.halo_of``. Pictures of one size are never cut into tiles."""
        return 0

    def check(self, file: DcnFile, image: tuple[int, int], source: str) -> None:
        """Raise FormatError unless the picture has the model's size, no alpha, no grey and no quality."""
        if (file.width, file.height) != image:
            raise FormatError(
                f"{source}: {file.width}x{file.height} pixels; "
                f"model {file.name} decodes to {image[0]}x{image[1]} only"
            )
        if file.grey or file.alpha is not None:
            raise FormatError(
                f"{source}: flagged grey or with alpha; model {file.name} decodes to RGB without alpha only"
            )
        if file.quality:
            raise FormatError(
                f"{source}: quality {file.quality}; model {file.name} has no qualities, 0 expected"
            )

    def check_graph(self, bundle: "Bundle", graph: Graph) -> None:
        """Raise BundleError unless the tensors of ``graph`` fit the picture size and the latents."""
        width, height = bundle.image
        pixels = ("uint8", (height, width, 3))
        latents = ("float32", self.shape(bundle.image))
        expected = {
            "synthesis": (latents, pixels),
            "analysis": (pixels, latents),
            "denoiser": (pixels, pixels),
        }
        if graph.role not in expected:
            return
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise BundleError(f"bundle {bundle.name}: {graph.label} must have one input and one output")
        tensors = (("input", graph.inputs[0]), ("output", graph.outputs[0]))
        for (what, tensor), (dtype, shape) in zip(tensors, expected[graph.role], strict=True):
            if tensor.dtype != dtype or tensor.shape[1:] != shape:
                raise BundleError(
                    f"bundle {bundle.name}: {graph.label} has {what} {tensor.dtype} {list(tensor.shape)}; "
                    f"{dtype} {['n', *shape]} expected"
                )

    def decoder(
        self,
        bundle: "Bundle",
        synthesis: Session,
        load: Load,
        *,
        denoiser: Session | None = None,
        overlap: bool = True,
    ) -> "FixedDecoder":
        """See ``Layout.decoder``; no other graph is loaded."""
        return FixedDecoder(self, bundle.name, bundle.image, synthesis, denoiser)

    def encoder(
        self, bundle: "Bundle", load: Load, *, overlap: bool = True, show: Show | None = None
    ) -> "FixedEncoder":
        """See ``Layout.encoder``."""
        return FixedEncoder(self, bundle.name, bundle.image, load("analysis"))

    def verify(self, file: DcnFile, image: tuple[int, int], source: str) -> list[str]:
        """See ``Layout.verify``."""
        self.check(file, image, source)
        self.unpack(file.latents, source)
        return []


class FixedDecoder:
    """A ``PictureDecoder`` of the bundle called ``name``: synthesis, then the denoiser, if given."""

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
        shape = self.layout.shape(self.image)
        if latents.shape != shape:
            raise FormatError(f"latents of shape {latents.shape}; model {self.name} takes {shape}")
        pixels = self.synthesis.run(latents[None])
        if self.denoiser is not None:
            pixels = self.denoiser.run(pixels)
        picture: np.ndarray = pixels[0]
        return picture


class FixedEncoder:
    """A ``PictureEncoder`` of the bundle called ``name``, with the graph ``analysis``. It has no settings."""

    def __init__(self, layout: FixedLayout, name: str, image: tuple[int, int], analysis: Session) -> None:
        self.layout = layout
        self.name = name
        self.image = image
        self.analysis = analysis

    def check(self, settings: Settings, source: str) -> None:
        """Raise ImageError for any setting."""
        if settings != Settings():
            raise ImageError(f"{source}: model {self.name} has no quality setting; leave it out")

    def accept(self, picture: Picture, source: str) -> Picture:
        """``picture`` as RGB. Raises ImageError if a pixel is not opaque."""
        return opaque(picture, source)

    def encode(self, picture: Picture, settings: Settings, finish: Finish, source: str) -> bytes:
        """See ``PictureEncoder.encode``. Raises ImageError for a picture of another size."""
        width, height = self.image
        if (picture.width, picture.height) != (width, height):
            raise ImageError(
                f"{source}: {picture.width}x{picture.height} pixels; model {self.name} takes "
                f"{width}x{height} only; crop or resize the picture first"
            )
        latents = self.analysis.run(picture.pixels[None])[0]
        return finish(0, self.layout.pack_picture(latents, picture.pixels))


def is_int(value: object) -> bool:
    """Whether ``value`` is an integer, and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)
