"""``adapt``: a bundle and the pictures of an archive -> a bundle adapted to them, and what that gains."""

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from decant.adaptation.counting import counted
from decant.adaptation.measuring import Gain, measured
from decant.adaptation.pictures import opened
from decant.adaptation.tables import fitted
from decant.adaptation.writing import with_tables
from decant.bundles.bundle import Bundle, open_bundle
from decant.bundles.new_bundle import check_new_folder
from decant.codec.layout import GridLayout
from decant.encoder import Encoder
from decant.errors import BundleError, ImageError, MissingExtraError
from decant.settings import DEFAULT_QUALITY

TABLES, PRIOR, SYNTHESIS, WHOLE = "tables", "prior", "synthesis", "whole"
LEVELS = (TABLES, PRIOR, SYNTHESIS, WHOLE)
GROUP = "decant.adapters"  # entry points of what trains; named "train"
DEFAULT_NAME = "own"  # every file of the archive holds it
# Pictures whose symbols are counted, and those on which the gain is measured, have about so many pixels.
COUNTED_PIXELS, MEASURED_PIXELS = 3_000_000, 800_000
FEWEST, MOST = 8, 512  # pictures, where there are so many
ROUNDS = 2  # which symbols are sent depends on the tables: encode and count so many times
Report = Callable[[str], None]


@dataclass(frozen=True)
class Adapted:
    """An adapted ``bundle``, its ``level``, the ``gain`` measured and the ``seconds`` that all of it took."""

    bundle: Bundle
    level: str
    gain: Gain
    seconds: float


class Training(Protocol):
    """What an entry point of ``GROUP`` does: train ``bundle`` further on ``pictures`` for ``minutes``, and
    write it as ``name`` into the new folder ``out``. Returns the bundle.
    """

    def __call__(
        self,
        bundle: Bundle,
        pictures: Sequence[Path],
        out: Path,
        *,
        level: str,
        minutes: float,
        quality: int,
        name: str,
        threads: int,
        report: Report,
    ) -> Bundle: ...


def adapt(
    bundle: str | os.PathLike[str] | Bundle,
    pictures: Sequence[Path],
    out: str | os.PathLike[str],
    *,
    level: str = TABLES,
    minutes: float = 5.0,
    quality: int = DEFAULT_QUALITY,
    effort: int | None = None,
    name: str = DEFAULT_NAME,
    threads: int = 0,
    bundle_dir: str | os.PathLike[str] | None = None,
    report: Report = lambda line: None,
) -> Adapted:
    """Adapt ``bundle``, which needs its encoder, to ``pictures`` (paths of images) that are to be stored at
    ``quality``; write the bundle ``name`` into the new folder ``out``.

    Levels: ``tables`` counts probability tables and needs no training packages; graphs stay as they are.
    ``prior``, ``synthesis`` and ``whole`` first train for ``minutes`` (extras train and export): the entropy
    model; the synthesis transform too; the analysis transforms too, which an archive does not store.

    The gain is measured on pictures that nothing was learned from, where there are enough. The model id
    follows from the content. Raises BundleError for a bundle without encoder or of another family, ImageError
    without pictures, MissingExtraError, DecantError, OSError.
    """
    started = time.monotonic()
    target = check_new_folder(out)
    opened = open_bundle(bundle, bundle_dir)
    if not isinstance(opened.layout, GridLayout):
        raise BundleError(f"bundle {opened.name}: only bundles of family codec can be adapted")
    if level not in LEVELS:
        raise BundleError(f"level {level!r} is unknown; one of {', '.join(LEVELS)} expected")
    learned, tested = split(pictures)
    note = described(opened, level, quality, minutes, len(pictures))
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".decant-") as scratch:
        current = opened
        if level != TABLES:
            current = _training()(
                opened,
                _without(pictures, tested) or learned,
                Path(scratch) / "trained",
                level=level,
                minutes=minutes,
                quality=quality,
                name=name,
                threads=threads,
                report=report,
            )
        made = _with_counted_tables(
            current, learned, len(pictures), Path(scratch), target, quality, effort, threads, name, note
        )
        report(f"tables counted on {len(learned)} pictures")
        gain = measured(opened, made, tested, quality, effort=effort, threads=threads)
    return Adapted(made, level, gain, time.monotonic() - started)


def described(base: Bundle, level: str, quality: int, minutes: float, pictures: int) -> dict[str, Any]:
    """What bundle.json of an adapted bundle says of its adaptation (entry ``adapted``)."""
    return {
        "level": level,
        "quality": quality,
        "pictures": pictures,
        "from": {"name": base.name, "version": base.version, "model_id": base.model_id},
    } | ({} if level == TABLES else {"minutes": minutes})


def split(pictures: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Pictures to count tables on, and others to measure on, both spread over ``pictures``. Where there are
    too few, those counted are measured too. Raises ImageError without pictures, DecantError, OSError.
    """
    if not pictures:
        raise ImageError("no pictures to adapt to: give a folder that holds some")
    area = _mean_area(spread(pictures, min(16, len(pictures))))
    tested = spread(pictures, min(_number(MEASURED_PIXELS, area), len(pictures) // 4))
    rest = _without(pictures, tested)
    learned = spread(rest, min(_number(COUNTED_PIXELS, area), len(rest)))
    return learned, tested or learned


def _training() -> Training:
    """What trains. Raises MissingExtraError."""
    advice = "levels above tables need the extras train and export: pip install 'decant-codec[train,export]'"
    for entry in entry_points(group=GROUP):
        try:
            loaded: Training = entry.load()
        except ImportError as error:
            raise MissingExtraError(f"{advice} ({error})") from None
        return loaded
    raise MissingExtraError(advice)


def _with_counted_tables(
    bundle: Bundle,
    pictures: Sequence[Path],
    of: int,
    scratch: Path,
    out: Path,
    quality: int,
    effort: int | None,
    threads: int,
    name: str,
    note: Mapping[str, Any],
) -> Bundle:
    """``bundle`` with the tables of the symbols that its encoder sends of ``pictures``, which are some ``of``
    all, in ``out``.
    """
    current = bundle
    share, base = len(pictures) / of, bundle.layout
    assert isinstance(base, GridLayout)
    for i in range(ROUNDS):
        encoder, layout = Encoder(current, threads=threads), current.layout
        assert isinstance(layout, GridLayout)
        files = (encoder.encode(image, quality, str(path), effort=effort) for path, image in opened(pictures))
        tables = fitted(bundle.tables, counted(layout, files, base), share)
        folder = out if i == ROUNDS - 1 else scratch / f"counted{i}"
        current = with_tables(bundle, folder, tables, name=name, note=note)
    return current


def _number(pixels: int, area: float) -> int:
    return round(min(max(pixels / area, FEWEST), MOST))


def _mean_area(pictures: Sequence[Path]) -> float:
    """Mean pixels of pictures, of which those that cannot be read count as none. Raises ImageError."""
    return sum(image.width * image.height for _, image in opened(pictures)) / len(pictures)


def spread(items: Sequence[Path], count: int) -> list[Path]:
    """``count`` of ``items``, evenly spread."""
    return [items[i * len(items) // count] for i in range(count)]


def _without(items: Sequence[Path], others: Iterable[Path]) -> list[Path]:
    """``items`` that are not among ``others``."""
    left_out = set(others)
    return [item for item in items if item not in left_out]
