"""The folder that an effort run leaves: record, table, and time against BD-rate as a figure."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from decant.formats.paths import takes_paths

from decant_bench.common import record
from decant_bench.common.plots import COLOURS
from decant_bench.common.record import Record
from decant_bench.common.tables import Table, number, percent
from decant_bench.errors import BenchError
from decant_bench.rate_distortion import curves as rd_curves
from decant_bench.rate_distortion import table as rd_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEADERS = (
    "encoder", "encode ms,\nmedian", "ms per\nmegapixel", "BD-rate\nto JPEG",
    "to the quickest\nof its kind", "BD-rate to JPEG,\nMS-SSIM",
)  # fmt: skip
_MARKERS = ("o", "s", "^", "D", "v", "P")


@takes_paths
def write(found: Record, out: Path) -> list[Path]:
    """Write effort.json, effort.md and effort.svg into ``out``; gives the paths. No figure where no encoder
    has a time and a BD-rate.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = [out / "effort.json", out / "effort.md"]
    record.write(found, written[0])
    written[1].write_text(as_markdown(found), encoding="utf-8")
    figure = draw(found)
    if figure is not None:
        from matplotlib import rc_context

        written.append(out / "effort.svg")
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "effort"}):
            figure.savefig(written[-1], metadata={"Date": None})
    return written


def rows(found: Record) -> list[list[str]]:
    """A row an encoder and effort."""
    return [
        [
            row["label"],
            number(row["encode_ms"]),
            number(row["encode_ms_per_megapixel"]),
            percent(row["bd_rate"]),
            percent(row["to_quickest"]),
            percent(row["bd_rate_ms_ssim"]),
        ]
        for row in found["efforts"]
    ]


def note(found: Record) -> str:
    """What the figures are."""
    options, span = found["config"]["efforts"], found["shared_db"]["psnr_db"]
    low, high = options["psnr_range"]
    shared = "too little" if span is None else f"{span[0]:.2f} to {span[1]:.2f}"
    return (
        f"One thread each. Times: uint8 RGB to the bytes of a file, at the quality of the ladder nearest to "
        f"{options['match_bpp']:g} bits per pixel, interleaved rounds, medians over pictures and rounds. "
        f"BD-rate: averaged curves in PSNR, over what all of them reach of {low:g} to {high:g} dB: {shared}; "
        "MS-SSIM: between JPEG's values there. To the quickest of its kind: the first row of that encoder."
    )


def table(found: Record) -> Table:
    """Of all encoders and efforts."""
    return Table(HEADERS, rows(found), note=note(found))


def missing(found: Record) -> list[tuple[str, str]]:
    """(what, why) of what has no figures: what was refused; where too little is shared, what each reaches."""
    gone = [(row["label"], row["refused"]) for row in found["efforts"] if row["refused"]]
    if found["shared_db"]["psnr_db"] is not None:
        return gone
    for row in found["rows"]:
        with suppress(BenchError):
            low, high = rd_curves.averaged(row, "psnr_db").span
            gone.append((row["label"], f"from {low:.2f} to {high:.2f} dB"))
    return gone


def as_text(found: Record) -> str:
    """For the terminal."""
    parts = [rd_table.about(found), table(found).text()]
    if gone := missing(found):
        parts.append("missing\n" + "\n".join(f"  {what}: {why}" for what, why in gone))
    return "\n\n".join(parts)


def as_markdown(found: Record) -> str:
    """With the command, the machine and the versions."""
    parts = ["# What effort buys", rd_table.about(found), table(found).markdown()]
    if gone := missing(found):
        parts += ["## Missing", "\n".join(f"* {what}: {why}" for what, why in gone)]
    return "\n\n".join([*parts, *rd_table.made_by(found)]) + "\n"


def draw(found: Record) -> "Figure | None":
    """Time per megapixel (logarithmic) against BD-rate to JPEG: a line an encoder, a point an effort with its
    number. None where there is no point.
    """
    from matplotlib.figure import Figure

    families: dict[str, list[tuple[float, float, str]]] = {}
    for row in found["efforts"]:
        if row["encode_ms_per_megapixel"] is not None and row["bd_rate"] is not None:
            named = "" if row["setting"] is None else str(row["setting"])
            point = (row["encode_ms_per_megapixel"], 100 * row["bd_rate"], named)
            families.setdefault(row["family"], []).append(point)
    if not families:
        return None
    if len(families) > len(COLOURS):
        raise BenchError(f"{len(families)} encoders; the figure has {len(COLOURS)} colours")
    figure = Figure(figsize=(8.2, 5.6), layout="constrained")
    axes = figure.subplots()
    for index, (family, points) in enumerate(families.items()):
        times, rates, names = zip(*points, strict=True)
        axes.plot(times, rates, color=COLOURS[index], marker=_MARKERS[index], markersize=5, label=family)
        for time, rate, name in zip(times, rates, names, strict=True):
            axes.annotate(name, (time, rate), (4, 4), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("encode, ms per megapixel, one thread")
    axes.set_ylabel("BD-rate to JPEG, %")
    axes.set_title(f"{found['config']['images']['count']} pictures, PSNR", fontsize=10, loc="left")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    return figure
