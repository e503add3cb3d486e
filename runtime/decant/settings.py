"""What an encoder can be asked for, where its model has qualities."""

from dataclasses import dataclass

from decant.errors import ImageError

DEFAULT_MODEL = "lite"
DEFAULT_QUALITY = 60
LARGEST_QUALITY = 100
DEFAULT_EFFORT = 2
LARGEST_EFFORT = 9


@dataclass(frozen=True)
class Settings:
    """What ``Encoder.encode`` was asked for; None where nothing was said."""

    quality: int | None = None
    effort: int | None = None
    target_bpp: float | None = None
    target_psnr: float | None = None

    def check(self, source: str) -> None:
        """Raise ImageError for settings that cannot be."""
        if self.quality is not None and not 1 <= self.quality <= LARGEST_QUALITY:
            raise ImageError(f"{source}: quality {self.quality}; 1..{LARGEST_QUALITY} expected")
        if sum(value is not None for value in (self.quality, self.target_bpp, self.target_psnr)) > 1:
            raise ImageError(f"{source}: give one of quality, target_bpp and target_psnr")
        for name in ("target_bpp", "target_psnr"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ImageError(f"{source}: {name} {value}; a positive number expected")
        if self.effort is not None and not 0 <= self.effort <= LARGEST_EFFORT:
            raise ImageError(f"{source}: effort {self.effort}; 0..{LARGEST_EFFORT} expected")
