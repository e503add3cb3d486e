"""A latency record as a small file for a collection of devices: medians and ratios, without samples."""

import re
from pathlib import Path
from typing import Any

from decant_bench.common import record, stats
from decant_bench.common.intervals import Ratio, paired
from decant_bench.common.record import Record
from decant_bench.errors import BenchError
from decant_bench.latency import table as latency_table

KIND = "device"
_MACHINE = (
    "cpu", "architecture", "system", "cores", "cores_usable", "flags", "memory_gib", "virtual", "power",
    "load_average", "quiet_before", "quiet_after",
)  # fmt: skip


def read_any(path: Path) -> Record:
    """A record of kind latency, or of kind rd with times at one rate. Raises BenchError."""
    try:
        return record.read(path, "latency")
    except BenchError as error:
        if "kind 'rd'" not in str(error):
            raise
    found = record.read(path, "rd")
    if not found.get("matched"):
        raise BenchError(f"{path}: has no times; measure with --match")
    return found


def of(found: Record) -> Record:
    """The record of kind ``device`` of a latency record, or of the times of an rd record."""
    rows, reference = _latency_rows(found) if found["kind"] == "latency" else _matched_rows(found)
    config = {
        "source": found["kind"],
        "source_config_hash": found["config_hash"],
        "images": {key: value for key, value in found["config"]["images"].items() if key != "sha256"},
        "reference": reference,
    }
    versions = {name: version for name, version in found["versions"].items() if version}
    return {
        "schema": record.SCHEMA,
        "kind": KIND,
        "created": found["created"],
        "command": found["command"],
        "config": config,
        "config_hash": record.config_hash(config),
        "machine": {key: found["machine"][key] for key in _MACHINE if key in found["machine"]},
        "versions": versions,
        "rows": rows,
    }


def file_name(device: Record) -> str:
    """``amd-epyc-26-2-1-20261128T1530.json``: processor and time."""
    words = re.sub(r"[^a-z0-9]+", "-", _short_cpu(device).lower()).strip("-")
    return f"{words}-{re.sub(r'[^0-9T]', '', device['created'])[:13]}.json"


def _short_cpu(device: Record) -> str:
    name = str(device["machine"]["cpu"] or device["machine"]["architecture"])
    for noise in ("(R)", "(TM)", "Processor", "CPU", "family/model/stepping"):
        name = name.replace(noise, " ")
    return name


def _latency_rows(found: Record) -> tuple[list[dict[str, Any]], str]:
    rows = [
        {
            "label": one.row["label"],
            "kind": one.row["subject"]["kind"],
            "threads": one.row["subject"]["threads"],
            "runtime": one.row["subject"]["runtime"],
            "device": one.row["device"],
            "ms": _rounded(one.decode.median),
            "p90_ms": _rounded(one.decode.p90),
            "samples": one.decode.count,
            "megapixels_per_s": _rounded(one.megapixels_per_s),
            "cold_process_ms": _rounded(one.cold_process),
            "load_ms": _rounded(one.load),
            "peak_mib": _rounded(one.peak_mib),
            "to_jpeg": _listed(one.to_jpeg),
            "to_avif": _listed(one.to_avif),
        }
        for one in latency_table.figures(found)
        if one.decode is not None
    ]
    return rows, str(found.get("reference"))


def _matched_rows(found: Record) -> tuple[list[dict[str, Any]], str]:
    """Of times at one rate: JPEG's and AVIF's are at that rate, too, and so are the ratios."""
    by_label = {row["label"]: row for row in found["matched"]["rows"]}
    rows = []
    for label, row in by_label.items():
        for threads, rounds in row["decode_ns"].items():
            jpeg, avif = by_label.get("jpeg"), by_label.get("avif")
            taken = stats.summarise([ns / 1e6 for ns in stats.flatten(rounds)])
            against = avif and (avif["decode_ns"].get(threads) or avif["decode_ns"]["1"])
            rows.append(
                {
                    "label": label,
                    "kind": "codec" if label in found["config"]["options"]["against"] else "model",
                    "threads": int(threads),
                    "runtime": "",
                    "device": "cpu",
                    "ms": _rounded(taken.median),
                    "p90_ms": _rounded(taken.p90),
                    "samples": taken.count,
                    "megapixels_per_s": None,
                    "cold_process_ms": None,
                    "load_ms": None,
                    "peak_mib": None,
                    "to_jpeg": _listed(paired(jpeg["decode_ns"]["1"], rounds)) if jpeg else None,
                    "to_avif": _listed(paired(against, rounds)) if against else None,
                }
            )
    return rows, f"jpeg at {found['matched']['bits_per_pixel']:g} bits per pixel"


def _listed(found: Ratio | None) -> list[float] | None:
    """[ratio, low, high, processes]."""
    if found is None:
        return None
    return [round(value, 3) for value in (found.ratio, found.low, found.high)] + [found.processes]


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
