"""The groups of a rate-distortion record as tables: one to see at a glance, one with every figure."""

from typing import Any

from decant_bench.common.record import Record
from decant_bench.common.tables import percent
from decant_bench.rate_distortion import groups as rd_groups
from decant_bench.rate_distortion.curves import LEAST_SHARED_DB

_NAMES = {"ssimulacra2": "SSIMULACRA2", "psnr": "PSNR", "ms_ssim": "MS-SSIM"}
DETAIL_HEADERS = (
    "group", "codec", "BD-rate,\nPSNR", "over dB", "at bits\nper pixel", "lower\nhalf", "upper\nhalf",
    "BD-rate,\nSSIMULACRA2", "BD-rate,\nMS-SSIM",
    "mean of the\npictures", "pictures\nbetter", "worst\npicture",
)  # fmt: skip


def headers(record: Record) -> tuple[str, ...]:
    """Over ``rows``."""
    labels = [row["label"] for row in record["groups"][0]["rows"]]
    return (
        "group",
        "pictures",
        "PNG, bits\nper pixel",
        *(f"{label}:\nSSIMULACRA2, PSNR" for label in labels),
    )


def rows(record: Record) -> list[list[str]]:
    """A row a group, a cell a codec."""
    return [
        [
            group["group"],
            str(len(group["pictures"])),
            f"{group['png_bits_per_pixel']:.2f}",
            *(
                f"{percent(row['ssimulacra2']['average'])}, {percent(row['psnr']['average'])}"
                for row in group["rows"]
            ),
        ]
        for group in record["groups"]
    ]


def detail_rows(record: Record) -> list[list[str]]:
    """A row a group and codec."""
    return [_detail(group, row) for group in record["groups"] for row in group["rows"]]


def note(record: Record) -> str:
    """What the figures are."""
    anchor = record["config"]["options"]["anchor"]
    return (
        f"BD-rate to {anchor}; negative: smaller files. Averaged curves of the group's pictures, over all "
        f"the dB that both curves reach, at least {LEAST_SHARED_DB:g}; halves: of those dB. Mean, better and "
        f"worst: single pictures' own curves to {anchor}'s, in PSNR, where they share as much. PNG is "
        "without loss: where it takes no more than a lossy codec does at good quality, it is better."
    )


def verdicts(record: Record) -> list[str]:
    """A line a codec: the groups in which it is worse than the anchor."""
    anchor = record["config"]["options"]["anchor"]
    lines = []
    for row in record["groups"][0]["rows"]:
        found = {name: rd_groups.worse(record, row["label"], name) for name in _NAMES}
        said = [f"{', '.join(groups) or 'no group'} in {m}" for m, groups in _named(found).items()]
        line = f"{row['label']} is worse than {anchor} on {'; '.join(said)}."
        if mixed := _mixed(record, row["label"], found["psnr"]):
            line += (
                f" On {', '.join(mixed)} only the averaged curve says so: pictures that compare are better."
            )
        lines.append(line)
    return lines


def missing(record: Record) -> list[tuple[str, str]]:
    """(what, why) of the figures that are not there."""
    return [
        (f"{group['group']}, {row['label']}, {name}", row[key]["why"])
        for group in record["groups"]
        for row in group["rows"]
        for key, name in _NAMES.items()
        if row[key]["why"]
    ]


def _mixed(record: Record, label: str, groups: list[str]) -> list[str]:
    """Those of ``groups`` whose single pictures are better on average: pictures that differ much, averaged at
    equal settings and not at equal quality.
    """
    found = []
    for group in record["groups"]:
        row = next(row for row in group["rows"] if row["label"] == label)
        mean = _mean(row)
        if group["group"] in groups and mean is not None and mean < 0:
            found.append(group["group"])
    return found


def _mean(row: dict[str, Any]) -> float | None:
    """Over the pictures whose curves can be compared."""
    there = [value for value in row["pictures"] if value is not None]
    return sum(there) / len(there) if there else None


def _named(found: dict[str, list[str]]) -> dict[str, list[str]]:
    return {shown: found[name] for name, shown in _NAMES.items()}


def _detail(group: dict[str, Any], row: dict[str, Any]) -> list[str]:
    psnr = row["psnr"]
    single = zip(row["pictures"], group["pictures"], strict=True)
    there = [(value, name) for value, name in single if value is not None]
    value, name = max(there, default=(None, ""))
    return [
        group["group"],
        row["label"],
        percent(psnr["average"]),
        "-" if psnr["span_db"] is None else f"{psnr['span_db'][0]:.1f} to {psnr['span_db'][1]:.1f}",
        "-" if psnr["rates"] is None else f"{psnr['rates'][0]:.2f} to {psnr['rates'][1]:.2f}",
        *(["-", "-"] if psnr["halves"] is None else map(percent, psnr["halves"])),
        percent(row["ssimulacra2"]["average"]),
        percent(row["ms_ssim"]["average"]),
        percent(_mean(row)),
        f"{sum(value < 0 for value, _ in there)} of {len(there)}",
        "-" if value is None else f"{name.partition('/')[2]} {percent(value)}",
    ]
