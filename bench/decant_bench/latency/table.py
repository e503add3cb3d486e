"""A latency record as figures in milliseconds, and as the tables that the terminal and the report show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from decant_bench.common import published, quiet, stats
from decant_bench.common.intervals import Ratio
from decant_bench.common.record import Record
from decant_bench.common.tables import Table, images_told, number, ratio
from decant_bench.latency import ratios


@dataclass(frozen=True)
class Figures:
    """What is shown of one row. Times in ms, sizes in MB (10^6 bytes), memory in MiB; None: not measured."""

    row: dict[str, Any]
    decode: stats.Summary | None
    cold_process: float | None  # interpreter, imports, load from a cold file cache, first pixels
    first_decode: float | None
    imports: float | None
    fresh_load: float | None
    load_cold: float | None
    load: float | None
    batch: dict[str, float]
    peak_mib: float | None
    to_jpeg: Ratio | None  # of steady decodes, to the record's reference on one thread
    to_avif: Ratio | None  # to AVIF on as many threads
    load_ratio: Ratio | None
    load_cold_ratio: Ratio | None
    page_faults: float | None = None  # of a steady decode
    megapixels: float | None = None  # of a picture, where all have one size

    @property
    def megapixels_per_s(self) -> float | None:
        """At the median decode time."""
        if self.megapixels is None or self.decode is None:
            return None
        return 1e3 * self.megapixels / self.decode.median

    @property
    def model_mb(self) -> float | None:
        """Of the files that loading reads."""
        return None if self.row["model_bytes"] is None else self.row["model_bytes"] / 1e6

    @property
    def device(self) -> str:
        """Asked for and ran: ``npu>cpu`` where they differ."""
        asked, ran = self.row["requested_device"], self.row["device"]
        return "-" if ran is None else f"{asked}>{ran}"


def figures(record: Record) -> list[Figures]:
    """One per row that was measured, in the order of the record."""
    pixels = ratios.megapixels(record)
    to_jpeg, to_avif, load, load_cold = (
        ratios.of(record, *wanted)
        for wanted in (("jpeg",), ("avif",), ("jpeg", "load"), ("jpeg", "load_cold"))
    )
    return [
        _figures(row, pixels, *(found.get(row["key"]) for found in (to_jpeg, to_avif, load, load_cold)))
        for row in ratios.measured(record)
    ]


def refused(record: Record) -> list[tuple[str, str]]:
    """(what, why) of every variant that could not be measured."""
    return [
        (f"{row['label']} ({row['subject']['runtime'] or 'codec'})", row["refused"])
        for row in record["rows"]
        if row["refused"] is not None
    ]


DECODE_HEADERS = (
    "decode, ms", "runtime", "asked>ran", "threads", "file\nbytes", "first", "median", "p90", "p95", "min",
    "MP/s", "page\nfaults", "samples", "whole set\nper image", "to\nJPEG q90", "to AVIF,\nsame threads",
)  # fmt: skip
LOAD_HEADERS = (
    "load, ms", "runtime", "threads", "model\nMB", "cold\nprocess", "import",
    "fresh process,\ncold cache", "cold\ncache",
    "warm\ncache", "cold to\nJPEG q90", "warm to\nJPEG q90", "peak\nMiB",
)  # fmt: skip


def decode_rows(found: Sequence[Figures]) -> list[list[str]]:
    """Cells under DECODE_HEADERS."""
    rows = []
    for f in found:
        subject, decode = f.row["subject"], f.decode
        threads = str(subject["threads"])
        # A codec without threads of its own has whole-set times for several numbers of workers.
        sets = [f"{number(ms)}" + (f" ({n}t)" if n != threads else "") for n, ms in f.batch.items()]
        rows.append(
            [
                f.row["label"],
                subject["runtime"] or "-",
                f.device,
                threads,
                f"{f.row['file_bytes']:,.0f}",
                number(f.first_decode),
                number(decode.median if decode else None),
                number(decode.p90 if decode else None),
                number(decode.p95 if decode else None),
                number(decode.minimum if decode else None),
                number(f.megapixels_per_s),
                number(f.page_faults),
                str(decode.count if decode else 0),
                ", ".join(sets) or "-",
                with_interval(f.to_jpeg),
                with_interval(f.to_avif),
            ]
        )
    return rows


def with_interval(found: Ratio | None) -> str:
    """The ratio and its interval: ``9.8x (9.5-10.1)``."""
    return "-" if found is None else str(found)


def load_rows(found: Sequence[Figures]) -> list[list[str]]:
    """Cells under LOAD_HEADERS."""
    return [
        [
            f.row["label"],
            f.row["subject"]["runtime"] or "-",
            str(f.row["subject"]["threads"]),
            number(f.model_mb),
            number(f.cold_process),
            number(f.imports),
            number(f.fresh_load),
            number(f.load_cold),
            number(f.load),
            with_interval(f.load_cold_ratio),
            with_interval(f.load_ratio),
            number(f.peak_mib),
        ]
        for f in found
    ]


PUBLISHED_HEADERS = ("times JPEG's", "decode", "load, cold\nor unsaid", "load,\nwarm")


def published_rows(found: Sequence[Figures]) -> list[list[str]]:
    """Ratios to JPEG: ours, a row a model, then the publication's, each with its three machines."""
    rows = [
        [
            f"here: {f.row['label']}, {f.row['subject']['runtime']}, {f.row['subject']['threads']}t",
            *(with_interval(found) for found in (f.to_jpeg, f.load_cold_ratio, f.load_ratio)),
        ]
        for f in found
        if f.row["subject"]["kind"] == "model"
    ]
    for entry in published.ratios():
        if entry["name"] == "JPEG":
            continue
        cells = [" / ".join(ratio(value) for value in entry[key]) for key in ("decode_ratio", "load_ratio")]
        mark = " (doubtful: see below)" if entry["doubtful"] else ""
        rows.append([f"published: {entry['name']}{mark}", *cells, "-"])
    return rows


def as_text(record: Record) -> str:
    """The whole record for the terminal."""
    found = figures(record)
    machine, images = record["machine"], record["config"]["images"]
    parts = [
        f"{images_told(images)}, bytes in memory to uint8 RGB; "
        f"{machine['cpu']}, {machine['cores_usable']} cores, load {machine['load_average']}. "
        f"{quiet.told(machine.get('quiet_before'), machine.get('quiet_after'))}".rstrip(),
        Table(DECODE_HEADERS, decode_rows(found), left=2).text(),
        Table(LOAD_HEADERS, load_rows(found), note=LOAD_NOTE, left=2).text(),
        Table(PUBLISHED_HEADERS, published_rows(found), note=published_note()).text(),
    ]
    if gone := refused(record):
        parts.append("refused\n" + "\n".join(f"  {what}: {why}" for what, why in gone))
    sizes = {name: sum(sizes.values()) for name, sizes in record["installed_mb"].items()}
    parts.append("installed, MB: " + ", ".join(f"{name} {mb:.0f}" for name, mb in sizes.items()))
    return "\n\n".join(parts)


LOAD_NOTE = (
    "Load: a model's files are read and its session is built; a codec reads the picture's file. "
    "Import: decant and the runtime, or Pillow, in a fresh process. Cold process: from the start of the "
    "interpreter to the first pixels: interpreter, imports, load from a cold file cache, decode."
)


def published_note() -> str:
    """What the published ratios are of."""
    table = published.latency()
    doubts = "; ".join(f"{mark['row']} on {mark['machine']}: {mark['why']}" for mark in table["doubtful"])
    return f"Published on {', '.join(table['machines'])}. {table['method']} Doubtful: {doubts}."


def _figures(
    row: dict[str, Any],
    megapixels: float | None,
    to_jpeg: Ratio | None,
    to_avif: Ratio | None,
    load_ratio: Ratio | None,
    load_cold_ratio: Ratio | None,
) -> Figures:
    decode = stats.flatten(row["decode_ns"])
    sets = sorted(row["batch_ns_per_image"].items(), key=lambda pair: int(pair[0]))
    peak = _middle([kib for kib in row["peak_memory_kib"] if kib is not None])
    return Figures(
        row=row,
        decode=stats.summarise([ns / 1e6 for ns in decode]) if decode else None,
        cold_process=_ms(_middle(row.get("cold_process_ns", []))),
        first_decode=_ms(_middle(row["first_decode_ns"])),
        imports=_ms(_middle(row["import_ns"])),
        fresh_load=_ms(_middle(row["fresh_load_ns"])),
        load_cold=_ms(_median(row["load_cold_ns"])),
        load=_ms(_median(row["load_ns"])),
        batch={threads: stats.summarise(taken).median / 1e6 for threads, taken in sets},
        peak_mib=peak / 1024 if peak is not None else None,
        to_jpeg=to_jpeg,
        to_avif=to_avif,
        load_ratio=load_ratio,
        load_cold_ratio=load_cold_ratio,
        page_faults=_middle([count for count in row.get("page_faults", []) if count is not None]),
        megapixels=megapixels,
    )


def _median(rounds: stats.Rounds) -> float | None:
    return _middle(stats.flatten(rounds))


def _middle(samples: Sequence[float]) -> float | None:
    return stats.summarise(samples).median if samples else None


def _ms(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e6
