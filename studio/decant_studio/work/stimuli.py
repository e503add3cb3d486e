"""The pictures of a vote: an original in several codecs, each in the largest file within the same bytes, and
a ruined one for honeypots.
"""

import numpy as np
from decant.formats import container
from PIL import Image

from decant_studio.errors import Refused
from decant_studio.work import codecs
from decant_studio.work.limits import Limits
from decant_studio.work.pictures import NAME, opened, png
from decant_studio.work.result import Progress, Result

SIDE = 512  # pixels; of larger pictures the middle is shown
SMALLEST_SIDE = 64
ORIGINAL, HONEYPOT = "original", "honeypot"
MODEL_PREFIX = "decant "
_RUIN = 10  # how much a honeypot is reduced and enlarged again


def choices(bundle_dir: str | None) -> list[str]:
    """The names of all codecs that can be voted on: models as ``decant lite``, then other formats."""
    models = [MODEL_PREFIX + name for name in codecs.models(bundle_dir)]
    return models + [label for label, _, _ in codecs.PEERS.values()]


def stimuli(
    limits: Limits, progress: Progress, *, data: bytes, names: list[str], bits_per_pixel: float
) -> Result:
    """Files ``original``, ``honeypot`` and one for each of ``names`` (of ``choices``); figures by the same
    names. Raises DecantError, Refused.
    """
    progress("reading the picture", 0.02)
    original = _middle(opened(data, limits.pixels).pixels)
    height, width = original.shape[:2]
    if min(height, width) < SMALLEST_SIDE:
        raise Refused(400, f"The picture has {width}x{height} pixels; a vote needs at least 64 a side.")
    size = int(bits_per_pixel * width * height / 8)
    figures, files = {}, {ORIGINAL: png(original, ORIGINAL), HONEYPOT: png(_ruined(original), HONEYPOT)}
    for index, name in enumerate(names):
        progress(name, 0.05 + 0.9 * index / len(names))
        quality, coded, pixels = _coded(limits, name, original, bits_per_pixel, size)
        figures[name] = {"quality": quality, "bytes": coded}
        files[name] = png(pixels, name)
    return Result({"width": width, "height": height, "stimuli": figures}, files)


def _coded(
    limits: Limits, name: str, original: np.ndarray, bits_per_pixel: float, size: int
) -> tuple[int, int, np.ndarray]:
    """Quality, bytes and pixels."""
    if name.startswith(MODEL_PREFIX):
        model = name.removeprefix(MODEL_PREFIX)
        data = codecs.encode_model(limits, model, original, None, target_bpp=bits_per_pixel)
        return container.parse(data).quality, len(data), codecs.decode_model(limits, NAME, data)
    peer = next(key for key, (label, _, _) in codecs.PEERS.items() if label == name)
    coded = codecs.at_most(codecs.peer_encoder(peer, original), size)
    if len(coded.data) > size:
        raise Refused(
            400, f"{name} has no file of at most {bits_per_pixel:g} bits per pixel for this picture."
        )
    return coded.quality, len(coded.data), codecs.decode_peer(peer, coded.data)


def _middle(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    top, left = max(0, (height - SIDE) // 2), max(0, (width - SIDE) // 2)
    return np.ascontiguousarray(pixels[top : top + SIDE, left : left + SIDE])


def _ruined(pixels: np.ndarray) -> np.ndarray:
    """A picture that nobody takes for the nearer one."""
    image = Image.fromarray(pixels)
    small = image.reduce(_RUIN)
    return np.asarray(small.resize(image.size, Image.Resampling.NEAREST))
