"""What unpacked pictures are written as."""

from typing import IO, TYPE_CHECKING, Any

from decant.archive.settings import UnpackSettings
from decant.errors import ImageError
from decant.formats.container import DcnFile
from decant.formats.exif import orientation_of
from decant.formats.metadata import turned_upright
from decant.formats.orientation import turned
from decant.formats.output_images import write_picture

if TYPE_CHECKING:
    import numpy as np

_SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "ppm": ".ppm", "npy": ".npy", "dcn": ".dcn"}


def suffix_of(settings: UnpackSettings) -> str:
    """The suffix of the files written."""
    return _SUFFIXES[settings.output]


def write_output(
    stream: IO[bytes], pixels: "np.ndarray", file: DcnFile, settings: UnpackSettings, source: str
) -> None:
    """Write uint8 (H, W, 3) or (H, W, 4) as ``settings`` say. Raises ImageError."""
    if settings.upright:
        pixels, file = turned(pixels, orientation_of(file.exif, file.xmp)), turned_upright(file)
    if settings.output == "jpeg" or (settings.output == "webp" and settings.quality is not None):
        _write_lossy(stream, pixels, file, settings, source)
        return
    write_picture(stream, suffix_of(settings), pixels, file, source, settings.png_level)


def _write_lossy(
    stream: IO[bytes], pixels: "np.ndarray", file: DcnFile, settings: UnpackSettings, source: str
) -> None:
    from PIL import Image

    has_alpha = pixels.shape[2] == 4
    if settings.output == "jpeg" and has_alpha:
        raise ImageError(f"{source}: the picture has alpha, which JPEG does not hold; choose png or webp")
    if file.grey and not has_alpha:
        pixels = pixels[:, :, 0]
    options: dict[str, Any] = {"quality": settings.quality or 95, "exif": file.exif, "icc_profile": file.icc}
    options["xmp"] = file.xmp
    try:
        Image.fromarray(pixels).save(
            stream,
            "JPEG" if settings.output == "jpeg" else "WEBP",
            **{name: value for name, value in options.items() if value is not None},
        )
    except (ValueError, OSError) as error:  # metadata too long for the format, a side too long
        raise ImageError(f"{source}: cannot be written: {error}") from None
