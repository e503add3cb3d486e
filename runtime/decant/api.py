"""The one-call functions ``decant.encode``, ``decode``, ``info``, ``open`` and ``save``.

Each function finds the model itself: from a file's header, or by name. Decoders and encoders stay loaded
between calls (the last four of each). The Pillow plugin uses the same ones. For many pictures of one model,
create a ``decant.Encoder`` or ``decant.Decoder``.
"""

import os
from typing import IO, TYPE_CHECKING, Any

from decant.errors import FormatError
from decant.formats import container
from decant.formats.metadata import Metadata
from decant.formats.reading import read_dcn
from decant.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from decant.bundles.bundle import Bundle
    from decant.commands.describe import FileInfo

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]


def encode(
    image: "np.ndarray | Image.Image",
    model: "str | os.PathLike[str] | Bundle" = DEFAULT_MODEL,
    quality: int | None = None,
    *,
    effort: int | None = None,
    target_bpp: float | None = None,
    target_psnr: float | None = None,
    target_ssimulacra2: float | None = None,
    tune: str | None = None,
    to_srgb: bool = False,
    depth: int | None = None,
    metadata: Metadata | None = None,
    **options: Any,
) -> bytes:
    """A picture -> the bytes of a ``.dcn`` file.

    ``image`` is uint8 (H, W) grey or (H, W, n), n = 1 to 4, or a Pillow image of any 8-bit mode.

    * ``quality`` is 1 to 100; 60 without a target. A target replaces it: ``target_bpp`` (bits per pixel),
      ``target_psnr`` (dB) or ``target_ssimulacra2`` (score).
    * ``tune`` is "psnr" (the default) or "iq", and ``effort`` 0 to 9 (2).
    * ``to_srgb`` converts colours by the ICC profile. ``depth`` 8 rounds 16 bits to 8.
    * ``metadata`` replaces the image's own.
    * ``options`` are those of ``Encoder``: ``threads``, ``bundle_dir`` ...

    ``Encoder.encode`` describes them. Raises ImageError, SizeLimitError, ModelNotFoundError, BundleError,
    DeviceError or MissingExtraError, and warns like ``Encoder.encode``.
    """
    from decant import cache

    return cache.encoder(model, **options).encode(
        image,
        quality,
        effort=effort,
        target_bpp=target_bpp,
        target_psnr=target_psnr,
        target_ssimulacra2=target_ssimulacra2,
        tune=tune,
        to_srgb=to_srgb,
        depth=depth,
        metadata=metadata,
    )


def decode(data: bytes, *, upright: bool = False, **options: Any) -> "np.ndarray":
    """The bytes of a ``.dcn`` file -> uint8 (H, W, 3), or (H, W, 4) with alpha; the channels of grey pictures
    are equal.

    The file names the bundle that decodes it. ``upright`` rotates the pixels by the EXIF orientation.
    ``options`` are those of ``Decoder``: ``device``, ``precision``, ``threads``, ``bundle_dir`` ...

    Raises FormatError for damaged data, ModelNotFoundError, SizeLimitError, BundleError, DeviceError or
    MissingExtraError.
    """
    from decant.decoder import check_bytes

    return _decode(check_bytes(data, "<bytes>"), "<bytes>", upright, options)


def open(source: Source, *, upright: bool = False, **options: Any) -> "np.ndarray":
    """Decode a ``.dcn`` file, like ``decode``. ``source`` is a path, an open binary file or the bytes.

    Raises OSError if the file cannot be read, and the errors of ``decode``.
    """
    return _decode(*_read(source), upright, options)


def info(source: Source) -> "FileInfo":
    """Read the header and the sections of a ``.dcn`` file. No pixel is decoded, and no bundle is needed.

    ``source`` is a path, an open binary file or the bytes. All checksums are checked. Raises FormatError, and
    OSError if the file cannot be read.
    """
    from decant.commands.describe import FileInfo

    data, name = _read(source)
    return FileInfo.of(container.parse(data, name), name, len(data))


def save(
    target: str | os.PathLike[str] | IO[bytes],
    image: "np.ndarray | Image.Image",
    model: "str | os.PathLike[str] | Bundle" = DEFAULT_MODEL,
    **settings: Any,
) -> None:
    """Encode ``image`` into the file ``target``: a path or an open binary file. ``settings`` are those of
    ``encode``. A file at a path is written completely or not at all.

    Raises OSError if the file cannot be written, ImageError for the name of another picture format, and the
    errors of ``encode``.
    """
    if not isinstance(target, str | os.PathLike):
        if not hasattr(target, "write"):
            raise TypeError(f"target of type {type(target).__name__}; a path or an open binary file expected")
        target.write(encode(image, model, **settings))
        return
    from decant.formats.writing import check_dcn_name, check_destination, write_atomically

    check_dcn_name(target)
    check_destination(target)
    data = encode(image, model, **settings)
    write_atomically(target, lambda stream: stream.write(data))


def _decode(data: bytes, source: str, upright: bool, options: dict[str, Any]) -> "np.ndarray":
    from decant import cache

    file = container.parse(data, source)
    pixels = cache.decoder(file.name, file.model_id, **options).decode_file(file, source)
    if not upright:
        return pixels
    from decant.formats.exif import orientation_of
    from decant.formats.orientation import turned

    return turned(pixels, orientation_of(file.exif, file.xmp))


def _read(source: Any) -> tuple[bytes, str]:
    """The bytes of a file, and its name in messages."""
    if isinstance(source, str | os.PathLike):
        return read_dcn(source), os.fsdecode(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source), "<bytes>"
    if not hasattr(source, "read"):
        raise FormatError(
            f"{type(source).__name__} given; a path, an open binary file or the bytes of a .dcn file expected"
        )
    name = getattr(source, "name", None)
    name = os.fsdecode(name) if isinstance(name, str | bytes) and name else "<stream>"
    data = source.read()
    if not isinstance(data, bytes | bytearray | memoryview):
        raise FormatError(f"{name}: gives text; open the file in binary mode ('rb')")
    return bytes(data), name
