"""An evaluation as one page: figures, distributions, pictures with their errors, the worst ten, downloads."""

import json

from decant_bench.common import pages
from decant_bench.common.pages import Section
from decant_bench.common.pictures import PictureSet
from decant_bench.common.record import Record
from decant_bench.common.tables import Table
from decant_bench.evaluate import plots as evaluate_plots
from decant_bench.evaluate import table as evaluate_table
from decant_bench.evaluate.measure import Coder, shown_point, worst
from decant_bench.evaluate.table import point_label, shown

SHOWN = 6  # pictures, spread over the set


def render(record: Record, coder: Coder, pictures: PictureSet) -> str:
    """The page. ``coder`` is the one whose row is first; its pictures are decoded again to be shown."""
    point = shown_point(record["rows"][0])
    label = point_label(record["rows"][0], point)
    spread = list(range(0, len(pictures), max(1, len(pictures) // SHOWN)))[:SHOWN]
    ends = worst(point)
    sections = [
        Section(
            "Rate and quality",
            notes=[_about(record)],
            plots=[pages.plot(evaluate_plots.rates_svg(record), "Bits per pixel against quality")],
            tables=[
                Table(
                    evaluate_table.mean_headers(record), evaluate_table.mean_rows(record), note=_note(record)
                )
            ],
        ),
        Section(
            f"Distributions: {label}",
            plots=[pages.plot(evaluate_plots.distributions_svg(record), "Histograms over the pictures")],
            tables=[Table(evaluate_table.SPREAD_HEADERS, evaluate_table.spread_rows(record))],
        ),
        Section(
            f"Pictures: {label}", pictures=[_compared(record, coder, pictures, index) for index in spread]
        ),
        Section(
            f"The worst ten: {label}" if len(ends) == 10 else f"The worst first: {label}",
            tables=[Table(evaluate_table.worst_headers(record), evaluate_table.worst_rows(record))],
            pictures=[_compared(record, coder, pictures, index) for index in ends],
        ),
        Section(
            "Downloads",
            downloads=[
                pages.download("means.csv", evaluate_table.means_csv(record), "a line a codec and quality"),
                pages.download(
                    "pictures.csv", evaluate_table.pictures_csv(record), "a line a picture, codec and quality"
                ),
                pages.download("evaluation.json", json.dumps(record, indent=1, allow_nan=False), "all of it"),
            ],
        ),
    ]
    facts = coder.facts
    return pages.sections_page(
        f"{facts['name']} {facts['version']}: {len(pictures)} pictures",
        record["command"],
        sections,
        facts=_facts(record, point, label),
        records=[("Evaluation", record)],
    )


def _compared(record: Record, coder: Coder, pictures: PictureSet, index: int) -> dict[str, object]:
    picture, point = pictures.pictures[index], shown_point(record["rows"][0])
    decoded = coder.decode(coder.encode(index, picture, point["quality"]))
    psnr = point["psnr_db"][index]
    told = [f"{point['bytes'][index]:,} bytes", "exact" if psnr is None else f"{psnr:.2f} dB"]
    for name, what in (("ssim", "SSIM"), ("feature_distance", "feature distance")):
        if point[name][index] is not None:
            told.append(f"{what} {shown(name, point[name][index])}")
    return pages.compared(picture.name, picture.pixels, decoded, ", ".join(told))


def _facts(record: Record, point: dict[str, object], label: str) -> list[tuple[str, str]]:
    facts, mean = record["rows"][0]["facts"], point["mean"]
    assert isinstance(mean, dict)
    return [
        (f"PSNR of {label}, dB", shown("psnr_db", mean["psnr_db"])),
        ("SSIM", shown("ssim", mean["ssim"])),
        ("bytes of a file", shown("bytes", mean["bytes"])),
        ("MB of the decoder, all files", f"{facts['decoder_bytes'] / 1e6:.2f}"),
        ("family", facts["family"]),
        ("runtime", f"{facts['runtime']} {facts['runtime_version']}"),
        ("device asked for, and that ran", f"{facts['requested_device']} > {facts['device']}"),
        ("model id", facts["model_id"][:16]),
    ]


def _about(record: Record) -> str:
    images = record["config"]["images"]
    sizes = images["sizes"]
    told = ", ".join(sizes) if len(sizes) <= 6 else f"{len(sizes)} sizes"
    return f"{images['count']} pictures ({images['source']}): {told}. Whole files, headers included."


def _note(record: Record) -> str:
    facts, count = record["rows"][0]["facts"], len(record["pictures"])
    pixels = sum(picture["width"] * picture["height"] for picture in record["pictures"])
    added = 8 * facts["decoder_bytes"] / pixels
    parts = [
        f"The decoder is not in these rates: its {facts['decoder_bytes']:,} bytes add {added:.3f} bits per "
        f"pixel when these {count} pictures share it.",
        "SSIM: Gaussian window 11x11, per channel, averaged. Means leave out pictures that came out to the "
        "bit (exact) for PSNR, and those too small for a metric.",
    ]
    if record["config"]["feature_distance"]:
        parts.append(f"Feature distance: {record['config']['feature_distance']}; lower is nearer.")
    return " ".join(parts)
