"""Writing pictures in the formats that ``decant decode`` gives."""

import io
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from decant.errors import ImageError
from decant.formats.exif import dpi_of, orientation_of
from decant.formats.png import DEFAULT_LEVEL, check_level, write_png
from decant.formats.writing import write_atomically

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from decant.formats.container import DcnFile

_FORMATS = {".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".ppm": "PPM"}
PICTURE_SUFFIXES = (*_FORMATS, ".npy")
_TIFF = (".tif", ".tiff")
_WITHOUT_METADATA = (".ppm", ".npy")


def save_picture(
    path: Path, pixels: "np.ndarray", file: "DcnFile", suffix: str = "", png_level: int | None = None
) -> None:
    """Write uint8 (H, W, 3) or (H, W, 4) to ``path``, in the format of its suffix or of ``suffix``.

    Every format of ``PICTURE_SUFFIXES`` is lossless. Raises as ``write_picture`` does, and OSError.
    """
    write_atomically(
        path,
        lambda stream: write_picture(stream, suffix or path.suffix, pixels, file, str(path), png_level),
    )


def write_picture(
    stream: IO[bytes],
    suffix: str,
    pixels: "np.ndarray",
    file: "DcnFile",
    source: str = "<stream>",
    png_level: int | None = None,
) -> None:
    """Write uint8 (H, W, 3) or (H, W, 4) to a stream, grey as grey, with the metadata of ``file`` where the
    format of ``suffix`` holds it; ``lost_metadata`` says what it does not. ``source`` names the picture in
    messages. ``png_level`` is 0 to 9: speed against size, without it 1 (``decant.formats.png``).

    Raises ImageError for a suffix or a picture that cannot be written.
    """
    suffix = suffix.lower()
    if suffix not in PICTURE_SUFFIXES:
        raise ImageError(
            f"{source}: suffix {suffix or '(none)'}; {' '.join(PICTURE_SUFFIXES)} can be written"
        )
    if suffix == ".npy":
        import numpy as np

        np.save(stream, pixels)
        return
    from PIL import Image

    has_alpha = pixels.shape[2] == 4
    if suffix == ".ppm" and has_alpha:
        raise ImageError(
            f"{source}: the picture has alpha, which PPM does not hold; write .png, .webp or .tif"
        )
    if file.grey and suffix != ".ppm":
        pixels = pixels[:, :, ::3] if has_alpha else pixels[:, :, 0]  # channels are red, green, blue, alpha
    level = check_level(png_level)
    if suffix == ".png" and level <= DEFAULT_LEVEL:
        write_png(
            stream,
            pixels,
            level=level,
            exif=file.exif,
            icc=file.icc,
            xmp=file.xmp,
            dpi=dpi_of(file.exif),
        )
        return
    image = Image.fromarray(pixels)
    if suffix in _TIFF:
        _write_tiff(stream, image, file)
        return
    options: dict[str, Any] = {}
    if suffix == ".png":
        options = {"pnginfo": _png_text(file), "dpi": dpi_of(file.exif)}  # Pillow drops XMP given otherwise
        options["compress_level"] = level
    elif suffix == ".webp":
        options = {"lossless": True, "exact": True, "xmp": file.xmp}  # exact: colours under alpha 0 too
    if suffix != ".ppm":
        options |= {"exif": file.exif, "icc_profile": file.icc}
    options = {key: value for key, value in options.items() if value is not None}
    try:
        image.save(stream, _FORMATS[suffix], **options)
    except ValueError as error:  # what Pillow raises for metadata that the format cannot hold
        raise ImageError(f"{source}: cannot be written: {error}") from None


def lost_metadata(suffix: str, file: "DcnFile") -> str:
    """What of ``file`` a picture of the format of ``suffix`` does not say, in words; empty where nothing is
    lost.
    """
    suffix = suffix.lower()
    if suffix not in _WITHOUT_METADATA:
        is_damaged = suffix in _TIFF and file.exif is not None and not _is_readable(file.exif)
        return "EXIF, which is damaged and cannot become TIFF tags" if is_damaged else ""
    blocks = {"EXIF": file.exif, "ICC profile": file.icc, "XMP": file.xmp}
    lost = [name for name, block in blocks.items() if block is not None]
    orientation = orientation_of(file.exif, file.xmp)
    if orientation != 1:
        lost.insert(0, f"orientation {orientation} (--upright turns the picture)")
    return ", ".join(lost)


def _write_tiff(stream: IO[bytes], image: "Image.Image", file: "DcnFile") -> None:
    """Deflated TIFF with EXIF and XMP as its own tags; EXIF that cannot be read is left out."""
    from decant.formats.tiff_tags import add_tags

    buffer = io.BytesIO()
    options = {} if file.icc is None else {"icc_profile": file.icc}
    image.save(buffer, "TIFF", compression="tiff_adobe_deflate", **options)
    exif = file.exif if file.exif is not None and _is_readable(file.exif) else None
    stream.write(add_tags(buffer.getvalue(), exif, file.xmp))


def _is_readable(exif: bytes) -> bool:
    from decant.formats.tiff_tags import is_readable

    return is_readable(exif)


def _png_text(file: "DcnFile") -> "PngInfo | None":
    """XMP as the text chunk that PNG keeps it in."""
    if file.xmp is None:
        return None
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", file.xmp)
    return text
