"""The settings of an encoder whose model has qualities."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

from decant.errors import ImageError

DEFAULT_MODEL = "lite"
DEFAULT_QUALITY = 60
LARGEST_QUALITY = 100
DEFAULT_EFFORT = 2
LARGEST_EFFORT = 9
# By effort: how often a file is decoded and its latents are corrected (latent refinement).
ROUNDS = (0, 0, 8, 12, 16, 20, 28, 36, 48, 64)
# The same for the tune "iq". Efforts of 0 and 1 are the same for both tunes.
VISUAL_ROUNDS = (0, 0, 4, 8, 12, 16, 20, 28, 36, 48)
# What an encoder minimises at a given size: a visibility-weighted error (``decant.codec.visibility``), or the
# squared error.
TUNES = ("iq", "psnr")
DEFAULT_TUNE = "psnr"

# The settings that say how well to encode: at most one of them is given.
RATES = ("quality", "target_bpp", "target_psnr", "target_ssimulacra2")


@dataclass(frozen=True)
class Settings:
    """The settings of one call of ``Encoder.encode``; None means not given."""

    quality: int | None = None
    effort: int | None = None
    target_bpp: float | None = None
    target_psnr: float | None = None
    target_ssimulacra2: float | None = None
    tune: str | None = None

    def checked(self, source: str) -> "Settings":
        """The same settings as whole numbers and floats. Raises ImageError for invalid settings."""
        if sum(getattr(self, name) is not None for name in RATES) > 1:
            raise ImageError(f"{source}: give one of {', '.join(RATES[:-1])} and {RATES[-1]}")
        if self.tune is not None and self.tune not in TUNES:
            raise ImageError(f"{source}: tune {self.tune!r}; {' or '.join(TUNES)} expected")
        return Settings(
            quality=_whole(self.quality, "quality", 1, LARGEST_QUALITY, source),
            effort=_whole(self.effort, "effort", 0, LARGEST_EFFORT, source),
            target_bpp=_positive(self.target_bpp, "target_bpp", source),
            target_psnr=_positive(self.target_psnr, "target_psnr", source),
            target_ssimulacra2=_positive(self.target_ssimulacra2, "target_ssimulacra2", source),
            tune=self.tune,
        )


def _whole(value: Any, name: str, low: int, high: int, source: str) -> int | None:
    """A whole number from ``low`` to ``high``, of any numeric type; None for None."""
    if value is None:
        return None
    if not isinstance(value, bool) and isinstance(value, Real):
        number = float(value)
        if number.is_integer() and low <= number <= high:
            return int(number)
    raise ImageError(f"{source}: {name} {value!r}; a whole number from {low} to {high} expected")


def _positive(value: Any, name: str, source: str) -> float | None:
    """A number above 0; None for None."""
    if value is None:
        return None
    if not isinstance(value, bool) and isinstance(value, Real) and 0 < float(value) < math.inf:
        return float(value)
    raise ImageError(f"{source}: {name} {value!r}; a positive number expected")
