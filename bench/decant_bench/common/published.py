"""The publication's latency table, as published, and its ratios to JPEG."""

import json
from importlib import resources
from typing import Any


def latency() -> dict[str, Any]:
    """``reference/published_latency.json``."""
    text = resources.files("decant_bench").joinpath("reference/published_latency.json").read_text()
    table: dict[str, Any] = json.loads(text)
    return table


def ratios(table: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Decode and load of every published row as multiples of JPEG's on the same machine, in the order of
    the machines.
    """
    table = table or latency()
    jpeg = next(row for row in table["rows"] if row["name"] == "JPEG")
    found = []
    for row in table["rows"]:
        decode = [round(a / b, 1) for a, b in zip(row["decode_us"], jpeg["decode_us"], strict=True)]
        load = [round(a / b, 1) for a, b in zip(row["load_us"], jpeg["load_us"], strict=True)]
        doubtful = [mark["machine"] for mark in table["doubtful"] if mark["row"] == row["name"]]
        found.append({"name": row["name"], "decode_ratio": decode, "load_ratio": load, "doubtful": doubtful})
    return found
