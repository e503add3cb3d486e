"""The page of a demo: pictures under a line that can be dragged, curves, times, then the set autoencoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from decant_bench.common import pages, stats
from decant_bench.common.pages import Plot, Section, SplitPicture
from decant_bench.common.record import Record
from decant_bench.common.tables import Table, fixed, number, percent, plainly, ratio
from decant_bench.demo.naming import shown_name
from decant_bench.demo.plots import bars_svg
from decant_bench.evaluate import quality_table
from decant_bench.latency import table as latency_table
from decant_bench.latency.table import Figures
from decant_bench.rate_distortion import plots as rd_plots

TITLE = "decant on this machine"
DEFAULT = "lite"  # the bundle of the figures at the top: the one that `decant encode` takes
_SECONDS = "elapsed_s"


@dataclass(frozen=True)
class Demo:
    """All that a page is made of. ``trained``: (what, log, facts) of each model that was trained here, the
    codec first; ``quality``: of the set autoencoder.
    """

    command: str
    fresh: str
    pictures: Sequence[SplitPicture]
    rates: Record
    times: Record
    quality: Record
    minutes: float
    codec_log: Sequence[dict[str, Any]]
    set_log: Sequence[dict[str, Any]]


def render(demo: Demo) -> str:
    """The page as HTML without any request to elsewhere."""
    labels = [one.label for one in demo.pictures[0].panels] if demo.pictures else []
    right = labels.index(shown_name(DEFAULT)) if shown_name(DEFAULT) in labels else len(labels) - 1
    return pages.render(
        "demo.html",
        title=TITLE,
        command=demo.command,
        lead=_lead(demo),
        facts=_facts(demo),
        pictures=[picture.as_dict() for picture in demo.pictures],
        tables=[picture.table for picture in demo.pictures],
        left=labels.index(shown_name("jpeg")) if shown_name("jpeg") in labels else 0,
        right=right,
        speed=_decode_bars(demo),
        sections=[_curves(demo), _speed(demo), _fresh(demo), _set(demo)],
        origins=[
            pages.origin("Rate and distortion", demo.rates),
            pages.origin("Load, cold start and decode", demo.times),
            pages.origin("Set autoencoder", demo.quality),
        ],
    )


def _lead(demo: Demo) -> str:
    cpu = str(demo.rates["machine"]["cpu"]).split(" (family")[0]
    shipped = [name for name in _names(demo.rates) if name != demo.fresh]
    return (
        f"The shipped decoders {', '.join(shipped)}, and {demo.fresh}, trained here for {demo.minutes:.1f} "
        f"minutes, next to JPEG and AVIF. Measured on {cpu}, {demo.rates['created'][:10]}."
    )


def _facts(demo: Demo) -> list[tuple[str, str]]:
    """Of the default bundle: size, decode, load, cold start; JPEG's and AVIF's in the caption."""
    facts = []
    row = _row_of(demo.rates, DEFAULT) or _row_of(demo.rates, demo.fresh)
    if row is not None:
        name = row["label"].split()[0]
        found = row["bd_rate"]["ssimulacra2"]
        change = found["average"] if found["average"] is not None else found.get("shared")
        facts.append((f"bytes of {name} to JPEG's at equal SSIMULACRA2", percent(change)))
        ms = decode_ms(demo.rates)
        facts.append(
            (
                f"decode with {name}; JPEG {number(ms.get('jpeg'))}, AVIF {number(ms.get('avif'))}",
                _ms(ms, row),
            )
        )
        figures = {one.row["subject"]["name"]: one for one in latency_table.figures(demo.times)}
        if name in figures:
            peers = [one for one in figures.values() if one.row["subject"]["kind"] == "codec"]
            cold = ", ".join(f"{_peer(one)} {number(one.cold_process)}" for one in peers)
            facts.append((f"load of {name} from cached files", f"{number(figures[name].load)} ms"))
            facts.append(
                (
                    f"cold start with {name}; {cold}",
                    f"{number(figures[name].cold_process)} ms",
                )
            )
            facts.append((f"size of the decoder {name}", f"{number(figures[name].model_mb)} MB"))
    return facts


def _ms(ms: dict[str, float], row: dict[str, Any]) -> str:
    return f"{number(ms.get(row['label']))} ms"


def _peer(one: Figures) -> str:
    return str(one.row["label"]).split("-")[0].upper()


def decode_ms(rates: Record) -> dict[str, float]:
    """Median milliseconds of a decode on one thread by label, at equal bytes."""
    return {
        row["label"]: stats.summarise(stats.flatten(row["decode_ns"]["1"])).median / 1e6
        for row in rates.get("matched", {"rows": []})["rows"]
        if row["decode_ns"].get("1")
    }


def _curves(demo: Demo) -> Section:
    rates = demo.rates
    found = [
        (metric, rd_plots.svg(rates, metric), f"Bits per pixel against {title}")
        for metric, title in (("ssimulacra2", "SSIMULACRA2"), ("psnr_db", "PSNR"))
    ]
    rows = []
    for row in rates["rows"]:
        if row["refused"] is not None:
            continue
        change = row["bd_rate"]
        rows.append(
            [
                shown_name(row["label"]),
                *(percent(_shared(change[name])) for name in ("ssimulacra2", "psnr")),
                row["version"],
            ]
        )
    note = (
        "BD-rate (Bjontegaard 2001): how many more or fewer bytes than JPEG at equal quality, averaged over "
        "SSIMULACRA2 30 to 85 and PSNR 28 to 38 dB, or over what both curves reach of that. "
        f"{len(rates['pictures'])} pictures that were not trained on."
    )
    return Section(
        "Bytes against quality",
        plots=[pages.plot(svg, label) for _, svg, label in found if svg],
        tables=[
            Table(
                ("codec", "bytes to JPEG's,\nSSIMULACRA2", "bytes to JPEG's,\nPSNR", "version"),
                rows,
                note=note,
            )
        ],
    )


def _shared(found: dict[str, Any]) -> float | None:
    average: float | None = found["average"]
    return average if average is not None else found.get("shared")


def _speed(demo: Demo) -> Section:
    """Decode at equal bytes, load and cold start, beside JPEG and AVIF."""
    decode = decode_ms(demo.rates)
    figures = [one for one in latency_table.figures(demo.times) if _is_default(one, demo)]
    rows, bars = [], []
    for one in figures:
        subject = one.row["subject"]
        label = _label(one, demo)
        ms = decode.get(label)
        base = decode.get("jpeg")
        rows.append(
            [
                shown_name(label),
                f"{subject['runtime']} {subject['precision']}".strip() or "Pillow",
                number(ms),
                ratio(ms / base if ms and base else None),
                number(one.load),
                number(one.cold_process),
                number(one.model_mb),
            ]
        )
        bars.append((rows[-1][0], one.load, one.cold_process))
    note = (
        "Medians, one thread. Decode: file in memory to RGB pixels, every codec at equal bytes, in "
        "interleaved rounds. Load: the decoder's files are cached; for JPEG and AVIF, reading the "
        "picture's file. Cold start: from the start of a Python process to the first pixels: interpreter, "
        "imports, load, decode."
    )
    headers = (
        "decoder",
        "runs as",
        "decode,\nms",
        "to\nJPEG",
        "load,\nms",
        "cold start,\nms",
        "decoder,\nMB",
    )
    drawn = [
        ("Load from cached files, ms", [(name, load) for name, load, _ in bars]),
        ("Cold start to first pixels, ms", [(name, cold) for name, _, cold in bars]),
    ]
    plotted = [_bars(title, found) for title, found in drawn]
    table = Table(headers, rows, note=note, left=2)
    return Section("Decode, load, cold start", plots=[one for one in plotted if one], tables=[table])


def _bars(title: str, found: list[tuple[str, float | None]]) -> Plot | None:
    there = [(name, value) for name, value in found if value]
    return pages.plot(bars_svg(title, there), title) if there else None


def _decode_bars(demo: Demo) -> Plot | None:
    ms = decode_ms(demo.rates)
    wanted = [row["label"] for row in demo.rates["rows"] if row["refused"] is None]
    return _bars("Decode at equal bytes, one thread, ms", [(shown_name(one), ms.get(one)) for one in wanted])


def _label(one: Figures, demo: Demo) -> str:
    """The row of the rates record that is of the same decoder."""
    subject = one.row["subject"]
    if subject["kind"] == "codec":
        return str(subject["name"]).split("-")[0]
    return str(one.row["label"])


def _is_default(one: Figures, demo: Demo) -> bool:
    """Not a further variant of the fresh bundle."""
    subject = one.row["subject"]
    if subject["kind"] == "codec" or subject["name"] != demo.fresh:
        return True
    row = _row_of(demo.rates, demo.fresh)
    return row is not None and (subject["precision"], subject["runtime"]) == (
        row["facts"]["precision"],
        row["facts"]["runtime"],
    )


def _fresh(demo: Demo) -> Section:
    """How the fresh codec was made, and all its variants."""
    rows = []
    for one in latency_table.figures(demo.times):
        subject = one.row["subject"]
        if subject["name"] == demo.fresh:
            psnr = one.row["golden_psnr_db"]
            rows.append(
                [
                    subject["precision"],
                    subject["runtime"],
                    psnr if isinstance(psnr, str) else fixed(psnr, 1),
                    number(one.decode.median if one.decode else None),
                    number(one.load),
                    number(one.model_mb),
                ]
            )
    table = Table(
        ("precision", "runtime", "PSNR to golden\npixels, dB", "decode,\nms", "load,\nms", "decoder,\nMB"),
        rows,
        "Every exported variant",
        "Golden pixels are those of the float graph, and of the integer decoder for int16. Variants that "
        "fall below their floor are not exported. int16 in the runtime native is what a client gets.",
        left=2,
    )
    gone = [f"{what}: {why}" for what, why in latency_table.refused(demo.times)]
    steps = f" ({demo.codec_log[-1]['step']:,} steps)" if demo.codec_log else ""
    notes = [
        f"{demo.fresh} has the architecture of nano. It was trained for {demo.minutes:.1f} minutes{steps} "
        "on a handful of photographs; the shipped bundles saw thousands for much longer. `decant train codec "
        "nano --images DIR` is the same with your own pictures."
    ]
    notes += [f"Not measured: {'; '.join(gone)}"] if gone else []
    return Section(
        f"The codec trained here: {demo.fresh}",
        notes=notes,
        tables=[table],
    )


def _set(demo: Demo) -> Section:
    published = quality_table.published()
    about = (
        "A different use: a decoder fitted to one set of pictures, as the publication that decant began with "
        "has it. The decoder is sent once, each picture is a short vector. It pays for thousands of similar "
        "pictures, and not for a few."
    )
    final = demo.set_log[-1] if demo.set_log else {}
    trained = ", ".join(
        f"{name} {plainly(final[key])}"
        for key, name in (("epoch", "epochs"), ("psnr", "PSNR, dB,"), ("ssim", "SSIM"))
        if key in final
    )
    tables = [
        Table(
            quality_table.HEADERS,
            quality_table.quality_rows(demo.quality),
            "Trained here",
            quality_table.NOTE,
            left=2,
        ),
        Table(
            quality_table.PUBLISHED_HEADERS,
            quality_table.published_rows(),
            "As published",
            f"{published['method']} {' '.join(published['statements'])}",
        ),
    ]
    return Section(
        "The set autoencoder", notes=[about, *([f"Training: {trained}."] if trained else [])], tables=tables
    )


def _names(rates: Record) -> list[str]:
    """Of the bundles."""
    return [row["label"].split()[0] for row in rates["rows"] if row["facts"]]


def _row_of(rates: Record, name: str) -> dict[str, Any] | None:
    found = [row for row in rates["rows"] if row["facts"] and row["label"].split()[0] == name]
    return found[0] if found and found[0]["refused"] is None else None
