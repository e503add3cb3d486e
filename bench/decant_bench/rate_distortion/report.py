"""The folder that a rate-distortion run leaves: record, tables, points, figures, a detail side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from decant.formats.paths import takes_paths

from decant_bench.common import record
from decant_bench.common.contenders import CodecEntry
from decant_bench.common.pictures import PictureSet
from decant_bench.common.record import Record
from decant_bench.rate_distortion import plots as rd_plots
from decant_bench.rate_distortion import side_by_side
from decant_bench.rate_distortion import table as rd_table


@dataclass(frozen=True)
class Show:
    """The detail of ``side_by_side.png``: a picture's name (None: the first), the rate, its centre (x, y) in
    pixels (None: the middle).
    """

    name: str | None = None
    bits_per_pixel: float = 0.3
    centre: tuple[int, int] | None = None


@takes_paths
def write(
    found: Record, contenders: Sequence[CodecEntry], pictures: PictureSet, out: Path, show: Show
) -> list[Path]:
    """Write everything into ``out``: rd.json, rd.md, points.csv, pictures.csv, curves, side_by_side.png.

    The detail compares the anchor with the first bundle, or with the last codec where there is no bundle, and
    is left out where that leaves nothing. Raises BenchError for a picture that is not there.
    """
    out.mkdir(parents=True, exist_ok=True)
    record.write(found, out / "rd.json")
    texts = {
        "rd.md": rd_table.as_markdown(found),
        "points.csv": rd_table.points_csv(found),
        "pictures.csv": rd_table.pictures_csv(found),
    }
    written = [out / "rd.json"]
    for name, text in texts.items():
        written.append(out / name)
        written[-1].write_text(text, encoding="utf-8")
    written += rd_plots.save(found, out)
    pair = _pair(found, contenders)
    if pair is not None:
        picture = pictures.named(show.name) if show.name else pictures.pictures[0]
        panels = side_by_side.panels(picture, *pair, show.bits_per_pixel)
        written.append(out / "side_by_side.png")
        side_by_side.draw(panels, show.centre).save(written[-1])
    return written


def _pair(found: Record, contenders: Sequence[CodecEntry]) -> tuple[CodecEntry, CodecEntry] | None:
    measured = {row["label"] for row in found["rows"] if row["refused"] is None}
    anchor = found["config"]["options"]["anchor"]
    others = [one for one in contenders if one.label in measured and one.label != anchor]
    if not others:
        return None
    bundles = [one for one in others if one.facts]
    first = next(one for one in contenders if one.label == anchor)
    return first, bundles[0] if bundles else others[-1]
