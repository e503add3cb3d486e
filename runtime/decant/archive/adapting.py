"""Adapts the bundle of an archive to its pictures before they are packed, where the archive gets smaller."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from decant.adaptation.adapting import TABLES, adapt, described, split
from decant.adaptation.measuring import Gain, measured
from decant.adaptation.pictures import pictures_in
from decant.archive.bundles import decoder_bytes
from decant.archive.settings import PackSettings
from decant.bundles.bundle import Bundle, open_bundle
from decant.errors import DecantError, ImageError
from decant.settings import DEFAULT_QUALITY

SUFFIX = ".bundle"  # the adapted bundle lies beside the archive, for pictures that are added later


@dataclass(frozen=True)
class Adaptation:
    """``settings`` to pack with, and whether they name the adapted bundle (``used``). ``gain`` and the bytes
    of the decoder before and after are None where an earlier run had decided.
    """

    settings: PackSettings
    used: bool
    gain: Gain | None = None
    decoders: tuple[int, int] | None = None


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
    measured; otherwise that folder is removed. ``resume`` keeps to what the interrupted run
    decided, and to a bundle that it had adapted in the same way.

    Raises ImageError for sources other than one local folder, or without a decoder in the archive,
    MissingExtraError, DecantError, OSError.
    """
    folder, place = Path(os.fspath(out) + SUFFIX), Path(out)
    if len(sources) != 1 or not Path(sources[0]).is_dir():
        raise ImageError("adapting needs one source, a folder of pictures on this machine")
    if settings.embed == "none":
        raise ImageError("an adapted bundle has to be in the archive: embed slim or full")
    # An absolute path: a folder and not a name, wherever workers run.
    with_adapted = replace(settings, model=os.fspath(folder.absolute()))
    if resume and place.exists():
        kept = (folder / "bundle.json").is_file()
        return Adaptation(with_adapted if kept else settings, kept)
    pictures, quality = pictures_in(Path(sources[0])), settings.quality or DEFAULT_QUALITY
    before = open_bundle(settings.model, settings.bundle_dir)
    note = described(before, level, quality, minutes, len(pictures))
    after = _left_by_an_earlier_run(folder, note) if resume else None
    if after is None:
        done = adapt(
            before,
            pictures,
            folder,
            level=level,
            minutes=minutes,
            quality=quality,
            effort=settings.effort,
            report=report,
        )
        after, gain = done.bundle, done.gain
    else:
        tested = split(pictures)[1]
        gain = measured(before, after, tested, quality, effort=settings.effort, threads=0)
    decoders = (decoder_bytes(before, settings.embed), decoder_bytes(after, settings.embed))
    if gain.smaller(len(pictures), *decoders):
        return Adaptation(with_adapted, True, gain, decoders)
    shutil.rmtree(folder)
    return Adaptation(settings, False, gain, decoders)


def _left_by_an_earlier_run(folder: Path, note: Mapping[str, Any]) -> Bundle | None:
    """The bundle in ``folder`` where it was adapted as ``note`` says; else the folder is removed. Raises
    OSError.
    """
    with suppress(DecantError):
        found = Bundle.open(folder)
        if found.manifest.raw.get("adapted") == note:
            return found
    shutil.rmtree(folder, ignore_errors=True)
    return None
