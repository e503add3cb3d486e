"""Adapts the bundle of an archive to its pictures before they are packed, where the archive gets smaller."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from decant.adaptation.adapting import TABLES, adapt
from decant.adaptation.measuring import Gain
from decant.archive.bundles import decoder_bytes
from decant.archive.settings import PackSettings
from decant.bundles.bundle import open_bundle
from decant.errors import ImageError
from decant.formats.opening import picture_suffixes
from decant.formats.plan import plan_folder
from decant.settings import DEFAULT_QUALITY


@dataclass(frozen=True)
class Adaptation:
    """``settings`` to pack with. ``gain`` and the bytes of the decoder before and after are None where an
    earlier run had decided.
    """

    settings: PackSettings
    gain: Gain | None = None
    decoders: tuple[int, int] | None = None

    @property
    def used(self) -> bool:
        """Whether the adapted bundle is packed with."""
        return self.settings.model.endswith(SUFFIX)


SUFFIX = ".bundle"  # the adapted bundle lies beside the archive, for pictures that are added later


def adapted(
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    settings: PackSettings,
    *,
    level: str = TABLES,
    minutes: float = 5.0,
    resume: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Adaptation:
    """The settings with which the archive ``out`` of the folder ``sources`` is smallest.

    The bundle of ``settings`` is adapted to the pictures (``decant.adaptation.adapting``) and kept as the
    folder ``out`` + ``.bundle``. It is used only where pictures and decoder together get smaller, by the gain
    measured; otherwise that folder is removed. ``resume`` keeps to what the interrupted run decided.

    Raises ImageError for sources other than one local folder, or without a decoder in the archive,
    MissingExtraError, DecantError, OSError.
    """
    folder, place = Path(os.fspath(out) + SUFFIX), Path(out)
    if len(sources) != 1 or not Path(sources[0]).is_dir():
        raise ImageError("adapting needs one source, a folder of pictures on this machine")
    if settings.embed == "none":
        raise ImageError("an adapted bundle has to be in the archive: embed slim or full")
    if resume and place.exists():
        kept = (folder / "bundle.json").is_file()
        return Adaptation(replace(settings, model=_named(folder)) if kept else settings)
    if resume:
        shutil.rmtree(folder, ignore_errors=True)
    plan = plan_folder(Path(sources[0]), place, picture_suffixes(), ".dcn", keep_suffix=True)
    pictures = [source for source, _ in plan.jobs]
    done = adapt(
        settings.model,
        pictures,
        folder,
        level=level,
        minutes=minutes,
        quality=settings.quality or DEFAULT_QUALITY,
        effort=settings.effort,
        bundle_dir=settings.bundle_dir,
        report=report,
    )
    before = open_bundle(settings.model, settings.bundle_dir)
    decoders = (decoder_bytes(before, settings.embed), decoder_bytes(done.bundle, settings.embed))
    if done.gain.smaller(len(pictures), *decoders):
        return Adaptation(replace(settings, model=_named(folder)), done.gain, decoders)
    shutil.rmtree(folder)
    return Adaptation(settings, done.gain, decoders)


def _named(folder: Path) -> str:
    """A name that means this folder (``find_bundle``)."""
    return os.fspath(folder.absolute())
