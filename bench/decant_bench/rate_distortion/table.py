"""A rate-distortion record as tables: for the terminal, as Markdown, and every point as CSV."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from decant_bench.common import stats
from decant_bench.common.measured import FIGURES
from decant_bench.common.record import Record
from decant_bench.common.tables import Table, fixed, images_told, number, percent, ratio
from decant_bench.rate_distortion import groups_table as rd_groups_table
from decant_bench.rate_distortion.curves import LEAST_SHARE, LEAST_SHARE_MS_SSIM

POINT_COLUMNS = ("picture", "width", "height", "codec", "quality", *FIGURES)
PICTURE_COLUMNS = ("picture", "codec", "anchor", "metric", "bd_rate", "from", "to")
_AVIF = "avif"
_COMPARED = {
    "psnr": "BD-rate",
    "ssimulacra2": "BD-rate, SSIMULACRA2",
    "ms_ssim": "BD-rate, MS-SSIM",
    "features": "BD-rate, features",
}
_SINGLE = {"pictures": "psnr_db", "pictures_ssimulacra2": "ssimulacra2"}


def bd_table(record: Record) -> Table:
    """BD-rates to the anchor: a row a codec that was measured."""
    anchor = record["config"]["options"]["anchor"]
    headers = [
        "codec", "what", "version", f"BD-rate to {anchor},\nSSIMULACRA2", "BD-rate,\nPSNR",
        "BD-rate,\nMS-SSIM", "pictures:\nSSIMULACRA2", "pictures:\nPSNR", "lowest,\nPSNR", "highest,\nPSNR",
        "pictures\ncompared",
    ]  # fmt: skip
    features = _distance(record) is not None
    return Table([*headers, *(["BD-rate,\nfeatures"] if features else [])], bd_rows(record), left=3)


def bd_rows(record: Record) -> list[list[str]]:
    """Cells of ``bd_table``."""
    rows = []
    for row in _measured(record):
        found, single = row["bd_rate"], row["bd_rate"]["pictures"]
        rows.append(
            [
                row["label"],
                row["description"],
                row.get("version", ""),
                *(percent(found[name]["average"]) for name in ("ssimulacra2", "psnr", "ms_ssim")),
                percent(found["pictures_ssimulacra2"]["mean"]),
                *(percent(single[name]) for name in ("mean", "lowest", "highest")),
                f"{single['count']} of {len(single['bd_rate'])}",
                *([percent(found["features"]["average"])] if "features" in found else []),
            ]
        )
    return rows


def bd_note(record: Record) -> str:
    """What the figures are."""
    options = record["config"]["options"]
    low, high = options["psnr_range"]
    worst, best = options["score_range"]
    return (
        f"Negative: smaller files than {options['anchor']} at the same quality. Bits per pixel and metric "
        "are averaged over the pictures at each quality: one curve a codec, PCHIP of the logarithm of the "
        "rate, "
        f"integrated over SSIMULACRA2 {worst:g} to {best:g} and PSNR {low:g} to {high:g} dB. Pictures: the "
        "mean of the BD-rates of single pictures, over what both curves reach of the range, at least "
        f"{100 * LEAST_SHARE:.0f} % of it. MS-SSIM: averaged curves in dB, between the values of "
        f"{options['anchor']} at those PSNRs, at least {100 * LEAST_SHARE_MS_SSIM:.0f} % of that."
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
                    unit = "" if name == "ssimulacra2" else " dB"
                    why += f" ({percent(figure['shared'])} over {low:.2f} to {high:.2f}{unit})"
                found.append((f"{row['label']}, {what}", why))
    return found + (rd_groups_table.missing(record) if "groups" in record else [])


def matrix_table(record: Record) -> Table:
    """Every codec against every other, by averaged curves in PSNR."""
    headers = ("BD-rate of \\ to", *(row["label"] for row in _measured(record)))
    matrix = record["bd_rate_matrix"]
    return Table(
        headers, [[label, *(percent(value) for value in found.values())] for label, found in matrix.items()]
    )


TIME_HEADERS = (
    "codec", "threads", "bits per\npixel", "SSIMULACRA2", "PSNR\ndB", "MS-SSIM", "decode ms,\nmedian",
    "to AVIF", "to JPEG\nq75", "encode ms,\nmedian",
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
                    fixed(mean.get("ssimulacra2"), 2),
                    "exact" if mean["psnr_db"] is None else f"{mean['psnr_db']:.2f}",
                    fixed(mean["ms_ssim"], 4),
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


def tables(record: Record) -> list[Table]:
    """Every table of the record, in order of importance."""
    found = [replace(bd_table(record), note=bd_note(record)), matrix_table(record)]
    if "groups" in record:
        found += [
            Table(rd_groups_table.headers(record), rd_groups_table.rows(record), "By content"),
            Table(
                rd_groups_table.DETAIL_HEADERS,
                rd_groups_table.detail_rows(record),
                note=" ".join([rd_groups_table.note(record), *rd_groups_table.verdicts(record)]),
                left=2,
            ),
        ]
    if "matched" in record:
        found.append(Table(TIME_HEADERS, time_rows(record), "Times at one rate", time_note(record)))
    return found


def as_text(record: Record) -> str:
    """For the terminal."""
    parts = [about(record), *(table.text() for table in tables(record))]
    if gone := missing(record):
        parts.append("missing\n" + "\n".join(f"  {what}: {why}" for what, why in gone))
    return "\n\n".join(parts)


def as_markdown(record: Record) -> str:
    """With the command, the machine and the versions."""
    parts = ["# Rate and distortion", about(record)]
    for table in tables(record):
        parts += [*([f"## {table.title}"] if table.title else []), table.markdown()]
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
    return Table(POINT_COLUMNS, rows).csv()


def pictures_csv(record: Record) -> str:
    """The BD-rates of every picture and codec."""
    anchor = record["config"]["options"]["anchor"]
    rows: list[Sequence[Any]] = []
    for row in _measured(record):
        for key, metric in _SINGLE.items():
            single = row["bd_rate"][key]
            for picture, value, span in zip(
                record["pictures"], single["bd_rate"], single["span_db"], strict=True
            ):
                rows.append([picture["name"], row["label"], anchor, metric, value, *(span or (None, None))])
    return Table(PICTURE_COLUMNS, rows).csv()


def _distance(record: Record) -> str | None:
    """The feature distance that was measured; records of before have none."""
    name: str | None = record["config"].get("feature_distance")
    return name


def _measured(record: Record) -> list[dict[str, Any]]:
    return [row for row in record["rows"] if row["refused"] is None]


def about(record: Record) -> str:
    """Which pictures."""
    images = record["config"]["images"]
    return f"{images_told(images)} ({images['source']}). Whole files, headers included."


def _decode_ms(row: dict[str, Any]) -> dict[str, float]:
    return {
        threads: stats.summarise(stats.flatten(taken)).median / 1e6
        for threads, taken in row["decode_ns"].items()
    }
