"""Converting pictures that are not 8-bit RGB or grey: to sRGB by their ICC profile, and 16 bits to 8."""

import io
import warnings

import numpy as np
from PIL import Image, ImageCms

from decant.errors import ImageError, MetadataWarning

_PROFILE_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}
_GREY = ("L", "LA")


def convert_to_srgb(image: Image.Image, icc: bytes | None, mode: str, source: str) -> np.ndarray:
    """``image``, of 8 bits, in sRGB: uint8 in the channels of ``mode`` (RGB, RGBA, L or LA).

    Without a profile CMYK is taken as the complement of RGB. A profile of another colour space than the
    picture's is ignored with a MetadataWarning.
    """
    alpha = image.convert(mode).getchannel("A") if mode.endswith("A") else None
    colours = image
    if image.mode not in ("CMYK", "LAB"):
        colours = image.convert(mode)
        colours = colours.getchannel("L") if mode in _GREY else colours.convert("RGB")
    profile = _profile(image, colours.mode, icc, source)
    if profile is not None:
        colours = _through(colours, profile, source)
    converted = colours.convert("L" if mode in _GREY else "RGB")
    if alpha is not None:
        converted.putalpha(alpha)
    return np.asarray(converted)


def to_eight_bits(image: Image.Image, source: str) -> Image.Image:
    """Grey of 16 bits -> mode L, or LA where one level is transparent; values are rounded.

    Raises ImageError for mode I with values outside 0..65535.
    """
    levels = np.asarray(image)
    if image.mode == "I":
        low, high = int(levels.min()), int(levels.max())
        if low < 0 or high > 65535:
            raise ImageError(
                f"{source}: mode I with values from {low} to {high}; 0 to 65535 expected; scale them first"
            )
    grey = Image.fromarray(((levels.astype(np.uint32) + 128) // 257).astype(np.uint8))
    grey.info = {key: value for key, value in image.info.items() if key != "transparency"}
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(levels == transparent, np.uint8(0), np.uint8(255))))
    return grey


def _profile(
    image: Image.Image, mode: str, icc: bytes | None, source: str
) -> "ImageCms.ImageCmsProfile | None":
    """The profile to convert from; None where there is none that fits the picture."""
    if image.mode == "LAB":
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    if not icc:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        space = profile.profile.xcolor_space
    except (OSError, ImageCms.PyCMSError):
        space = "damaged"
    if _PROFILE_SPACES.get(space) == mode:
        return profile
    warnings.warn(
        f"{source}: its ICC profile ({space.strip()}) does not fit mode {mode} and is ignored",
        MetadataWarning,
        stacklevel=2,
    )
    return None


def _through(colours: Image.Image, profile: "ImageCms.ImageCmsProfile", source: str) -> Image.Image:
    target = ImageCms.createProfile("sRGB")
    try:
        converted = ImageCms.profileToProfile(
            colours,
            profile,
            target,
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except ImageCms.PyCMSError as error:
        raise ImageError(f"{source}: its ICC profile cannot be used: {error}") from None
    assert converted is not None
    return converted
