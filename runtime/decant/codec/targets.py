"""The quality at which a picture is encoded: given, or found by bisection for a target. Warns about pictures
that no quality reproduces well.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

from decant.errors import ImageError, QualityWarning
from decant.settings import DEFAULT_QUALITY, LARGEST_QUALITY, Settings

# Below this PSNR at the highest quality, a picture counts as not reproduced well. Photographs reach more than
# 35 dB there.
LOWEST_HELD_DB = 25.0
# From this quality on, a picture below LOWEST_HELD_DB is tried at the highest quality, to see whether that
# helps. At lower qualities a low PSNR is what the user asked for.
ASKING_FOR_FIDELITY = 50
# Largest difference, in dB, between the PSNR that refinement sees (with border weights) and the true PSNR.
_ROUGH_DB = 1.0
_INSTEAD = "store it as PNG or lossless WebP"


@dataclass(frozen=True)
class Coded:
    """A file, and its PSNR in dB as refinement saw it, within ``_ROUGH_DB``; None if nothing decoded it."""

    data: bytes
    psnr_db: float | None = None


@dataclass
class Trials:
    """Files of one picture. Each quality is encoded once and kept.

    * ``make`` encodes at a quality; ``draft`` does so faster and less well;
    * ``float_db`` and ``shown_db`` give the PSNR of a file, by the float and by the default decoder;
    * ``shown_score`` gives its SSIMULACRA2, by the default decoder;
    * ``source`` names the picture in messages.
    """

    make: Callable[[int], Coded]
    draft: Callable[[int], Coded]
    float_db: Callable[[bytes], float]
    shown_db: Callable[[bytes], float]
    shown_score: Callable[[bytes], float]
    pixel_count: int
    source: str
    _made: dict[int, Coded] = field(default_factory=dict)

    def coded(self, quality: int) -> Coded:
        """The file at ``quality`` 1..100."""
        if quality not in self._made:
            self._made[quality] = self.make(quality)
        return self._made[quality]

    def data(self, quality: int) -> bytes:
        """The bytes of the file at ``quality``."""
        return self.coded(quality).data


def file_for(settings: Settings, trials: Trials) -> bytes:
    """The bytes of the file that ``settings`` ask for.

    Raises ImageError for a target that no quality meets. Warns with QualityWarning if no quality reproduces
    the picture well.
    """
    quality = _quality_for(settings, trials)
    _warn_unless_held(trials, quality)
    return trials.data(quality)


def _quality_for(settings: Settings, trials: Trials) -> int:
    if settings.target_bpp is not None:
        most = settings.target_bpp * trials.pixel_count / 8
        best = highest(lambda quality: len(trials.data(quality)) <= most)
        if best is None:
            least = 8 * len(trials.data(1)) / trials.pixel_count
            raise ImageError(
                f"{trials.source}: {settings.target_bpp} bits per pixel cannot be met; quality 1 takes "
                f"{least:.3f}"
            )
        return best
    if settings.target_psnr is not None:
        return _lowest_reaching(settings.target_psnr, trials.shown_db, "{} dB", trials)
    if settings.target_ssimulacra2 is not None:
        return _lowest_reaching(settings.target_ssimulacra2, trials.shown_score, "SSIMULACRA2 {}", trials)
    return DEFAULT_QUALITY if settings.quality is None else settings.quality


def _lowest_reaching(target: float, measured: Callable[[bytes], float], named: str, trials: Trials) -> int:
    """The lowest quality whose file is ``measured`` at ``target`` or more, by bisection: all higher qualities
    are taken to reach it too. ``named`` formats the target in messages. Raises ImageError if none reaches it.
    """
    below = highest(lambda quality: measured(trials.data(quality)) < target) or 0
    if below == LARGEST_QUALITY:
        most = measured(trials.data(LARGEST_QUALITY))
        raise ImageError(
            f"{trials.source}: {named.format(target)} cannot be met; quality {LARGEST_QUALITY} gives "
            f"{most:.2f} with the default decoder; lower the target, or {_INSTEAD}"
        )
    return below + 1


def _warn_unless_held(trials: Trials, quality: int) -> None:
    """Warn if the picture has a low PSNR at ``quality``, and the highest quality does not help."""
    if quality < ASKING_FOR_FIDELITY:
        return
    coded = trials.coded(quality)
    if coded.psnr_db is None and quality < LARGEST_QUALITY:
        return  # nothing decoded it, and efforts of 0 and 1 are asked for to be fast
    if coded.psnr_db is not None and coded.psnr_db >= LOWEST_HELD_DB + _ROUGH_DB:
        return
    psnr_db = trials.float_db(coded.data)
    if psnr_db >= LOWEST_HELD_DB:
        return
    most_db = psnr_db
    if quality < LARGEST_QUALITY:
        most_db = trials.float_db(trials.draft(LARGEST_QUALITY).data)
        if most_db >= LOWEST_HELD_DB:
            return
    best = "" if quality == LARGEST_QUALITY else f", and {most_db:.1f} dB at {LARGEST_QUALITY}"
    warnings.warn(
        f"{trials.source}: decodes at {psnr_db:.1f} dB at quality {quality}{best}: no quality "
        f"reproduces this picture well (noise, dither, patterns of single pixels); {_INSTEAD}",
        QualityWarning,
        stacklevel=5,
    )


def highest(fits: Callable[[int], bool]) -> int | None:
    """The highest quality 1..100 that ``fits``, by bisection: all lower ones are taken to fit. None if none
    fits.
    """
    low, high = 0, LARGEST_QUALITY
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low or None
