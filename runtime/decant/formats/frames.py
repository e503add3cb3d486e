"""Pictures of several frames or pages: a ``.dcn`` file holds the first, and a warning names the loss."""

import warnings
from typing import Any

from decant.errors import AnimationWarning
from decant.process.failures import is_from_signal_handler

_LAYERS = ("PSD",)  # what Pillow counts as frames there are the layers of one picture


def has_more_frames(image: Any) -> bool:
    """Whether a Pillow image is the first of several frames (GIF, APNG, WebP) or pages (TIFF, MPO)."""
    if getattr(image, "format", None) in _LAYERS:
        return False
    try:
        return bool(getattr(image, "is_animated", False)) and image.tell() == 0
    except Exception as error:  # damage behind the first frame; that frame is read all the same
        if is_from_signal_handler(error):
            raise
        return False


def warn_of_frames(image: Any, source: str) -> None:
    """Issue an AnimationWarning where ``image`` has frames after the one that is encoded."""
    if has_more_frames(image):
        warnings.warn(f"{source}: {MORE_FRAMES}", AnimationWarning, stacklevel=3)


MORE_FRAMES = "has more frames or pages; only the first is encoded"
