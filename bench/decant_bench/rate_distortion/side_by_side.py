"""One detail of a picture: the original, and two codecs in files of equal size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from decant_bench.common import metrics
from decant_bench.common.contenders import CodecEntry
from decant_bench.common.matched import at_bytes, at_rate
from decant_bench.common.pictures import Picture

if TYPE_CHECKING:
    from PIL import Image

SIDE = 192  # pixels of the detail
ZOOM = 2
_BAR = 30  # pixels above each panel, for its label
_GAP = 8


@dataclass(frozen=True)
class Panel:
    """A decoded picture and what is written above its detail."""

    label: str
    pixels: np.ndarray


def panels(
    picture: Picture, first: CodecEntry, second: CodecEntry, bits_per_pixel: float
) -> tuple[Panel, Panel, Panel]:
    """The original, and both codecs at equal bytes: ``second`` nearest to ``bits_per_pixel``, ``first`` in
    the smallest file that is no smaller. Figures are those of the whole picture.
    """
    other = at_rate(second, picture, bits_per_pixel)
    same = at_bytes(first, picture, len(other.data))
    made = []
    for one, coded in ((first, same), (second, other)):
        decoded = one.codec.decode(coded.data, 1)
        psnr = metrics.psnr(picture.pixels, decoded)
        made.append(Panel(f"{one.label}: {len(coded.data):,} bytes, {psnr:.2f} dB", decoded))
    height, width = picture.pixels.shape[:2]
    return Panel(f"original: {width}x{height}", picture.pixels), made[0], made[1]


def draw(shown: Sequence[Panel], centre: tuple[int, int] | None = None) -> "Image.Image":
    """The details in a row, twice enlarged without smoothing. ``centre``: x, y in the picture; its middle
    where none is given.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = shown[0].pixels.shape[:2]
    side = min(SIDE, width, height)
    x, y = centre or (width // 2, height // 2)
    left, top = min(max(0, x - side // 2), width - side), min(max(0, y - side // 2), height - side)
    big = ZOOM * side
    sheet = Image.new("RGB", (len(shown) * (big + _GAP) - _GAP, big + _BAR), "white")
    write = ImageDraw.Draw(sheet)
    for index, panel in enumerate(shown):
        detail = Image.fromarray(panel.pixels[top : top + side, left : left + side])
        across = index * (big + _GAP)
        sheet.paste(detail.resize((big, big), Image.Resampling.NEAREST), (across, _BAR))
        size = 18.0
        while size > 6 and write.textlength(panel.label, ImageFont.load_default(size)) > big:
            size -= 1
        write.text((across, _BAR // 2), panel.label, "black", ImageFont.load_default(size), anchor="lm")
    return sheet
