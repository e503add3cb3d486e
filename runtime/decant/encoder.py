"""Pixels -> bytes of a ``.dcn`` file."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from decant import container
from decant.bundle import Bundle, open_bundle
from decant.container import DEFAULT_SIZE_LIMIT, DcnFile
from decant.devices import Wish
from decant.errors import ImageError, SizeLimitError
from decant.golden import CheckGolden
from decant.loading import RunsOn, load_session
from decant.output import write_atomically

if TYPE_CHECKING:
    from PIL import Image

# Pillow modes that become RGB without loss. Others hold transparency, more than 8 bits, or another colour
# space.
_RGB_MODES = ("RGB", "L", "P", "1")


class Encoder(RunsOn):
    """A bundle's encoder, loaded and ready; safe to use from several threads. Attributes as Decoder's."""

    def __init__(
        self,
        bundle: str | os.PathLike[str] | Bundle,
        *,
        runtime: str = "auto",
        device: str = "cpu",
        precision: str = "float",
        threads: int = 0,
        strict_device: bool = False,
        check_golden: CheckGolden = "once",
        size_limit: int = DEFAULT_SIZE_LIMIT,
        bundle_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        """Load the analysis graph of ``bundle``: a name, a bundle's folder, or an open Bundle.

        Latents are float unless another ``precision`` is asked for: an encoder runs once, its errors stay in
        the file. Raises ModelNotFoundError, BundleError (a decoder-only bundle among others), DeviceError or
        MissingExtraError.
        """
        self.bundle = open_bundle(bundle, bundle_dir)
        self.size_limit = size_limit
        wish = Wish(runtime=runtime, device=device, precision=precision, strict_device=strict_device)
        loaded = load_session(self.bundle, "analysis", wish, threads, check_golden)
        super().__init__(loaded)
        self.warn()

    def __repr__(self) -> str:
        return f"<Encoder {self.bundle.name} {self._runs()}>"

    def encode(
        self, image: "np.ndarray | Image.Image", quality: int | None = None, source: str = "<image>"
    ) -> bytes:
        """A picture (uint8 (H, W, 3) or a Pillow image) -> the bytes of a file. EXIF, ICC and XMP of a Pillow
        image are kept.

        Raises ImageError for a size, mode or quality that the model does not take, SizeLimitError.
        """
        pixels = _pixels(image, source, self.size_limit)
        blocks: Mapping[Any, Any] = {} if isinstance(image, np.ndarray) else image.info
        if quality is not None:
            raise ImageError(f"{source}: model {self.bundle.name} has no quality setting; leave it out")
        width, height = self.bundle.image
        if pixels.shape != (height, width, 3):
            raise ImageError(
                f"{source}: {pixels.shape[1]}x{pixels.shape[0]} pixels; model {self.bundle.name} takes "
                f"{width}x{height} only; crop or resize the picture first"
            )
        latents = self.session.run(pixels[None])[0]
        return container.write(
            DcnFile(
                name=self.bundle.name,
                model_id=bytes.fromhex(self.bundle.model_id)[:8],
                width=width,
                height=height,
                latents=self.bundle.layout.pack(latents),
                exif=_block(blocks, "exif"),
                icc=_block(blocks, "icc_profile"),
                xmp=_block(blocks, "xmp"),
            )
        )


def save_file(
    path: str | os.PathLike[str],
    image: "np.ndarray | Image.Image",
    model: str | os.PathLike[str] | Bundle,
    *,
    quality: int | None = None,
    **options: Any,
) -> None:
    """Encode ``image`` with ``model`` into the file ``path``, which appears whole or not at all; ``options``
    are Encoder's.

    Raises OSError when the file cannot be written, and what Encoder raises.
    """
    data = Encoder(model, **options).encode(image, quality)
    write_atomically(path, lambda stream: stream.write(data))


def _pixels(image: "np.ndarray | Image.Image", source: str, limit: int) -> np.ndarray:
    """uint8 (H, W, 3) in C order."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ImageError(f"{source}: {image.dtype} {image.shape}; uint8 (height, width, 3) expected")
        _check_size(image.shape[1], image.shape[0], source, limit)
        return np.ascontiguousarray(image)
    _check_size(image.width, image.height, source, limit)
    # Pillow reads 16-bit RGB as mode RGB and drops the lower half; only the decoder's raw mode still tells.
    deep = any(";16" in str(tile) for tile in getattr(image, "tile", ()))
    if image.mode not in _RGB_MODES or "transparency" in image.info or deep:
        also = " with transparency" if "transparency" in image.info else " of 16 bits" if deep else ""
        raise ImageError(
            f"{source}: mode {image.mode}{also}; 8-bit RGB or grey without transparency expected; "
            "convert the picture first"
        )
    try:
        pixels = np.asarray(image.convert("RGB"))
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise whatever a broken file leads them to
        raise ImageError(f"{source}: cannot be read: {error}") from None
    return np.ascontiguousarray(pixels)


def _block(info: Mapping[Any, Any], key: str) -> bytes | None:
    """A metadata block of a Pillow image, where it has one."""
    block = info.get(key)
    return block if isinstance(block, bytes) and block else None


def _check_size(width: int, height: int, source: str, limit: int) -> None:
    if width * height > limit:
        raise SizeLimitError(
            f"{source}: {width}x{height} pixels; the limit is {limit}; raise it with --size-limit"
        )
