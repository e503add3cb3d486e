"""Writing pictures in the formats that ``decant decode`` gives."""

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from decant.errors import ImageError
from decant.writing import write_atomically

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from decant.container import DcnFile

_FORMATS = {".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF", ".ppm": "PPM"}
PICTURE_SUFFIXES = (*_FORMATS, ".npy")
_TIFF_XMP = 700


def save_picture(path: Path, pixels: "np.ndarray", file: "DcnFile", suffix: str = "") -> None:
    """Write uint8 (H, W, 3) or (H, W, 4) to ``path``, in the format of its suffix or of ``suffix``.

    Every format of ``PICTURE_SUFFIXES`` is lossless. Raises as ``write_picture`` does, and OSError.
    """
    write_atomically(
        path, lambda stream: write_picture(stream, suffix or path.suffix, pixels, file, str(path))
    )


def write_picture(
    stream: IO[bytes], suffix: str, pixels: "np.ndarray", file: "DcnFile", source: str = "<stream>"
) -> None:
    """Write uint8 (H, W, 3) or (H, W, 4) to a stream, grey as grey, with the metadata of ``file`` where the
    format of ``suffix`` holds it. ``source`` names the picture in messages.

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
    image = Image.fromarray(pixels)
    options: dict[str, Any] = {"exif": file.exif, "icc_profile": file.icc, "xmp": file.xmp}
    if suffix == ".ppm":
        options = {}
    elif suffix in (".tif", ".tiff"):
        options = {"exif": _tiff_tags(file), "icc_profile": file.icc, "compression": "tiff_adobe_deflate"}
    elif suffix == ".png":
        options |= {"xmp": None, "pnginfo": _png_text(file)}  # Pillow drops XMP given any other way
    elif suffix == ".webp":
        options |= {"lossless": True, "exact": True}  # exact: keep the colours of transparent pixels
    options = {key: value for key, value in options.items() if value is not None}
    try:
        image.save(stream, _FORMATS[suffix], **options)
    except ValueError as error:  # what Pillow raises for metadata that the format cannot hold
        raise ImageError(f"{source}: cannot be written: {error}") from None


def _png_text(file: "DcnFile") -> "PngInfo | None":
    """XMP as the text chunk that PNG keeps it in."""
    if file.xmp is None:
        return None
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", file.xmp)
    return text


def _tiff_tags(file: "DcnFile") -> "Image.Exif":
    """EXIF and XMP as a TIFF's own tags. Raises ImageError for EXIF that is none."""
    from PIL import Image

    tags = Image.Exif()
    if file.exif is not None:
        try:
            tags.load(file.exif)
        except Exception as error:  # Pillow's readers raise whatever a broken block leads them to
            raise ImageError(f"the file's EXIF cannot be written as TIFF tags: {error}") from None
    if file.xmp is not None:
        tags[_TIFF_XMP] = file.xmp
    return tags
