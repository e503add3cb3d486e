"""EXIF, ICC profile and XMP: found in Pillow images of any format, for the command line, ``Encoder.encode``
and the Pillow plugin; and what they become when a picture is turned upright.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from decant.errors import MetadataWarning
from decant.formats import exif as blocks
from decant.process.failures import is_from_signal_handler

if TYPE_CHECKING:
    from PIL import Image

    from decant.formats.container import DcnFile

_RAW_EXIF = "Raw profile type exif"  # PNG, as ImageMagick and older programs write it


@dataclass(frozen=True)
class Metadata:
    """The metadata blocks of a picture, each None where there is none."""

    exif: bytes | None = None
    icc: bytes | None = None
    xmp: bytes | None = None

    def without_icc(self) -> "Metadata":
        """The same blocks without the ICC profile, for pixels that are sRGB."""
        return replace(self, icc=None)


def metadata_of(image: "Image.Image", source: str, given: Mapping[str, Any] | None = None) -> Metadata:
    """The metadata of a Pillow image whose pixels are loaded.

    EXIF comes from an EXIF block, a TIFF file's tags or PNG's text; a resolution that it does not hold is
    added. A profile is made of PNG's gAMA and cHRM where there is none. ``given`` replaces what the image
    has, by the keys ``exif``, ``icc_profile``, ``xmp`` and ``dpi``; an empty value leaves a block out. What
    cannot be kept is named by a MetadataWarning.
    """
    info, given = image.info, given or {}
    exif = _block(given["exif"]) if "exif" in given else _exif_of(image, source)
    dpi = given.get("dpi", None if "exif" in given else info.get("dpi"))
    if "icc_profile" in given:
        icc = _block(given["icc_profile"])
    else:
        icc = _block(info.get("icc_profile")) or _png_profile(image, source)
    xmp = given.get("xmp") if "xmp" in given else info.get("xmp") or info.get("XML:com.adobe.xmp")
    return Metadata(_with_dpi(exif, dpi, source), icc, _block(xmp))


def turned_upright(file: "DcnFile") -> "DcnFile":
    """``file`` with orientation 1 in its EXIF and XMP, for pixels that have been turned."""
    return replace(
        file,
        exif=None if file.exif is None else blocks.turned_exif(file.exif),
        xmp=None if file.xmp is None else blocks.turned_xmp(file.xmp),
    )


def _exif_of(image: "Image.Image", source: str) -> bytes | None:
    if found := _block(image.info.get("exif")):
        return found
    try:
        if isinstance(raw := image.info.get(_RAW_EXIF), str):
            return bytes.fromhex("".join(raw.split("\n")[3:])) or None
        if getattr(image, "tag_v2", None) is not None:
            from decant.formats.tiff_tags import exif_of_tiff

            return exif_of_tiff(image)
    except Exception as error:  # Pillow's readers raise whatever a broken block leads them to
        if is_from_signal_handler(error):
            raise
        _warn(f"{source}: EXIF is damaged and not kept: {error}")
    return None


def _with_dpi(exif: bytes | None, dpi: Any, source: str) -> bytes | None:
    """``exif`` with the resolution ``dpi``, in pixels per inch, where that is known and ``exif`` has none."""
    try:
        x, y = map(float, dpi if isinstance(dpi, tuple | list) else ())
    except (TypeError, ValueError):
        return exif
    is_default = (
        max(abs(x - blocks.DEFAULT_DPI), abs(y - blocks.DEFAULT_DPI)) < 0.1
    )  # 2835 per metre is 72.009
    if not (1 <= x < 1e6 and 1 <= y < 1e6) or is_default:
        return exif  # 72 (or 2835 per metre, 72.009) is what is assumed where nothing is said
    if exif is None:
        return blocks.exif_of_dpi((x, y))
    if blocks.dpi_of(exif):
        return exif
    from decant.formats.tiff_tags import exif_with

    tags = {blocks.X_RESOLUTION: x, blocks.Y_RESOLUTION: y, blocks.RESOLUTION_UNIT: 2}
    if more := exif_with(exif, tags):
        return more
    _warn(f"{source}: the resolution, {x:g}x{y:g} pixels per inch, is not kept: EXIF has no room for it")
    return exif


def _png_profile(image: "Image.Image", source: str) -> bytes | None:
    """A profile for the colours that PNG's gAMA and cHRM describe."""
    gamma, chromaticity = image.info.get("gamma"), image.info.get("chromaticity")
    if image.format != "PNG" or "srgb" in image.info or (gamma is None and chromaticity is None):
        return None
    from decant.formats.png_colours import profile_of

    try:
        return profile_of(gamma, chromaticity, image.mode in ("1", "L", "LA", "I", "I;16"))
    except ValueError as error:
        _warn(f"{source}: gAMA and cHRM are not kept, since they describe no colours: {error}")
        return None


def _block(value: Any) -> bytes | None:
    """A metadata block of a Pillow image, where it has one."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass") or None
    return bytes(value) if isinstance(value, bytes | bytearray) and value else None


def _warn(message: str) -> None:
    warnings.warn(message, MetadataWarning, stacklevel=3)
