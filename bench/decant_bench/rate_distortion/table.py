"""A rate-distortion record as tables: for the terminal, as Markdown, and every point as CSV."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from decant_bench.common import stats
from decant_bench.common.record import Record
from decant_bench.common.text_table import markdown_table, number, percent, ratio, text_table
from decant_bench.rate_distortion import groups_table as rd_groups_table
from decant_bench.rate_distortion.curves import LEAST_SHARE, LEAST_SHARE_MS_SSIM

POINT_COLUMNS = (
    "picture", "width", "height", "codec", "quality", "bytes", "bits_per_pixel", "psnr_db", "ms_ssim",
    "feature_distance",
)  # fmt: skip
PICTURE_COLUMNS = ("picture", "codec", "anchor", "bd_rate", "from_db", "to_db")
_AVIF = "avif"
_COMPARED = {"psnr": "BD-rate", "ms_ssim": "BD-rate, MS-SSIM", "features": "BD-rate, features"}


def bd_headers(record: Record) -> tuple[str, ...]:
    """Over ``bd_rows``."""
    anchor = record["config"]["options"]["anchor"]
    return (
        "codec",
        "what",
        f"BD-rate to {anchor},\naveraged curve",
        "mean of the\npictures",
        "lowest",
        "highest",
        "pictures",
        "BD-rate,\nMS-SSIM",
        *(["BD-rate,\nfeatures"] if _distance(record) else []),
    )


def bd_rows(record: Record) -> list[list[str]]:
    """A row a codec that was measured."""
    rows = []
    for row in _measured(record):
        found, single = row["bd_rate"], row["bd_rate"]["pictures"]
        rows.append(
            [
                row["label"],
                row["description"],
                percent(found["psnr"]["average"]),
                *(percent(single[name]) for name in ("mean", "lowest", "highest")),
                f"{single['count']} of {len(single['bd_rate'])}",
                percent(found["ms_ssim"]["average"]),
                *([percent(found["features"]["average"])] if "features" in found else []),
            ]
        )
    return rows


def bd_note(record: Record) -> str:
    """What the figures are, and what is missing and why."""
    options = record["config"]["options"]
    low, high = options["psnr_range"]
    return (
        f"Negative: smaller files than {options['anchor']} at the same quality. Headline: bits per pixel and "
        f"PSNR averaged over the pictures at each quality, one curve a codec, PCHIP of the logarithm of the "
        f"rate, integrated over {low:g} to {high:g} dB. Pictures: each one's own curves over what both reach "
        f"of that range, at least {LEAST_SHARE * (high - low):.1f} dB. MS-SSIM: averaged curves in dB, "
        f"between the values of {options['anchor']} at those PSNRs, at least "
        f"{100 * LEAST_SHARE_MS_SSIM:.0f} % of that."
        + (f" Features: the same of -10 log10 of the mean {_distance(record)}." if _distance(record) else "")
    )


def missing(record: Record) -> list[tuple[str, str]]:
    """(what, why) of every row or figure that is not there."""
    found = [(row["label"], row["refused"]) for row in record["rows"] if row["refused"] is not None]
    for row in _measured(record):
        for name, what in _COMPARED.items():
            if name not in row["bd_rate"]:
                continue
            figure = row["bd_rate"][name]
            if figure["why"]:
                why = figure["why"].removeprefix(f"{row['label']}: ")
                if figure["shared"] is not None:
                    low, high = figure["span_db"]
                    why += f" ({percent(figure['shared'])} over {low:.2f} to {high:.2f} dB)"
                found.append((f"{row['label']}, {what}", why))
    return found + (rd_groups_table.missing(record) if "groups" in record else [])


def matrix_headers(record: Record) -> tuple[str, ...]:
    """Over ``matrix_rows``."""
    return ("BD-rate of \\ to", *(row["label"] for row in _measured(record)))


def matrix_rows(record: Record) -> list[list[str]]:
    """Every codec against every other, by averaged curves in PSNR."""
    matrix = record["bd_rate_matrix"]
    return [[label, *(percent(value) for value in found.values())] for label, found in matrix.items()]


TIME_HEADERS = (
    "codec", "threads", "bits per\npixel", "PSNR\ndB", "MS-SSIM", "decode ms,\nmedian", "to AVIF",
    "to JPEG\nq75", "encode ms,\nmedian",
)  # fmt: skip


def time_rows(record: Record) -> list[list[str]]:
    """A row a codec and number of decoding threads, at the rate that all have in common; JPEG q75 at its
    own.
    """
    rows = record["matched"]["rows"]
    medians = {(row["label"], threads): ms for row in rows for threads, ms in _decode_ms(row).items()}
    reference = medians[(rows[-1]["label"], "1")]
    table = []
    for row in rows:
        mean = row["mean"]
        encode = stats.flatten(row["encode_ns"])
        for threads, ms in _decode_ms(row).items():
            avif = medians.get((_AVIF, threads))
            table.append(
                [
                    row["label"],
                    threads,
                    f"{mean['bits_per_pixel']:.3f}",
                    "exact" if mean["psnr_db"] is None else f"{mean['psnr_db']:.2f}",
                    "-" if mean["ms_ssim"] is None else f"{mean['ms_ssim']:.4f}",
                    number(ms),
                    ratio(ms / avif if avif else None),
                    ratio(ms / reference),
                    number(stats.summarise(encode).median / 1e6 if encode else None),
                ]
            )
    return table


def time_note(record: Record) -> str:
    """What was timed."""
    count, rate = len(record["pictures"]), record["matched"]["bits_per_pixel"]
    return (
        f"Each picture at the quality whose file is nearest to {rate:g} bits per pixel. "
        f"Medians over {count} pictures in interleaved rounds, codecs in processes of their own; decode: "
        "file in memory to uint8 RGB (H, W, 3). To AVIF: with the same number of threads. Pillow decodes "
        "JPEG and WebP on one thread. Encoders take the threads they take by themselves: AVIF two, bundles "
        "all cores, the others one."
    )


def as_text(record: Record) -> str:
    """For the terminal."""
    parts = [about(record), text_table(bd_headers(record), bd_rows(record), 2) + "\n" + bd_note(record)]
    parts.append(text_table(matrix_headers(record), matrix_rows(record)))
    if "groups" in record:
        parts.append(text_table(rd_groups_table.headers(record), rd_groups_table.rows(record)))
        detail = text_table(rd_groups_table.DETAIL_HEADERS, rd_groups_table.detail_rows(record), 2)
        parts += [detail + "\n" + rd_groups_table.note(record), "\n".join(rd_groups_table.verdicts(record))]
    if "matched" in record:
        parts.append(text_table(TIME_HEADERS, time_rows(record)) + "\n" + time_note(record))
    if gone := missing(record):
        parts.append("missing\n" + "\n".join(f"  {what}: {why}" for what, why in gone))
    return "\n\n".join(parts)


def as_markdown(record: Record) -> str:
    """With the command, the machine and the versions."""
    parts = ["# Rate and distortion", about(record)]
    parts += [markdown_table(bd_headers(record), bd_rows(record)), bd_note(record)]
    parts += ["Every codec against every other, averaged curves, PSNR:"]
    parts += [markdown_table(matrix_headers(record), matrix_rows(record))]
    if "groups" in record:
        parts += ["## By content"]
        parts += [markdown_table(rd_groups_table.headers(record), rd_groups_table.rows(record))]
        parts += ["\n".join(f"* {line}" for line in rd_groups_table.verdicts(record))]
        detail = rd_groups_table.detail_rows(record)
        parts += [markdown_table(rd_groups_table.DETAIL_HEADERS, detail), rd_groups_table.note(record)]
    if "matched" in record:
        parts += ["## Times at one rate", markdown_table(TIME_HEADERS, time_rows(record)), time_note(record)]
    if gone := missing(record):
        parts += ["## Missing", "\n".join(f"* {what}: {why}" for what, why in gone)]
    return "\n\n".join([*parts, *made_by(record)]) + "\n"


def made_by(record: Record) -> list[str]:
    """The command, the machine and the versions, as paragraphs of Markdown."""
    machine = record["machine"]
    return [
        "## Made by",
        f"```sh\n{record['command']}\n```",
        f"{record['created']}, {machine['cpu']}, {machine['cores_usable']} cores, load "
        f"{machine['load_average']} before and {machine['load_average_after']} after.",
        ", ".join(f"{name} {version}" for name, version in record["versions"].items() if version),
    ]


def points_csv(record: Record) -> str:
    """Every picture at every quality of every codec."""
    rows: list[Sequence[Any]] = []
    for row in _measured(record):
        for point in row["points"]:
            for index, picture in enumerate(record["pictures"]):
                figures = [point[name][index] if name in point else None for name in POINT_COLUMNS[5:]]
                where = [picture["name"], picture["width"], picture["height"]]
                rows.append([*where, row["label"], point["quality"], *figures])
    return _csv(POINT_COLUMNS, rows)


def pictures_csv(record: Record) -> str:
    """The BD-rate of every picture and codec."""
    anchor = record["config"]["options"]["anchor"]
    rows: list[Sequence[Any]] = []
    for row in _measured(record):
        single = row["bd_rate"]["pictures"]
        for picture, value, span in zip(
            record["pictures"], single["bd_rate"], single["span_db"], strict=True
        ):
            rows.append([picture["name"], row["label"], anchor, value, *(span or (None, None))])
    return _csv(PICTURE_COLUMNS, rows)


def _distance(record: Record) -> str | None:
    """The feature distance that was measured; records of before have none."""
    name: str | None = record["config"].get("feature_distance")
    return name


def _measured(record: Record) -> list[dict[str, Any]]:
    return [row for row in record["rows"] if row["refused"] is None]


def about(record: Record) -> str:
    """Which pictures."""
    images = record["config"]["images"]
    sizes = ", ".join(images["sizes"])
    return f"{images['count']} images ({images['source']}): {sizes}. Whole files, headers included."


def _decode_ms(row: dict[str, Any]) -> dict[str, float]:
    return {
        threads: stats.summarise(stats.flatten(taken)).median / 1e6
        for threads, taken in row["decode_ns"].items()
    }


def _csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return stream.getvalue()
