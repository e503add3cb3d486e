"""Reports of ``decant fit``: read, checked and put into one table, those of unknown devices too."""

import math
from pathlib import Path
from typing import Any

from decant.errors import FormatError
from decant.fitting.trials import REPORT
from decant.formats.strict_json import load_json

_LARGEST = 1 << 22
_TEXTS = ("decant", "model", "model_id", "system", "processor", "goal")
_TRIAL_TEXTS = ("precision", "runtime", "kind", "device", "driver", "failed")
_FIGURES = ("golden_psnr_db", "first_load_ms", "load_ms", "decode_ms", "pictures_per_s")


def read_report(path: Path) -> dict[str, Any]:
    """The report in the JSON file ``path``. Raises FormatError for what is not one, OSError."""
    if path.stat().st_size > _LARGEST:
        raise FormatError(f"{path}: {path.stat().st_size} bytes; no report of decant fit has so many")
    try:
        report = load_json(path.read_bytes(), str(path))
    except Exception as error:
        if not isinstance(error, FormatError) and type(error).__module__ != "decant.errors":
            raise
        raise FormatError(str(error)) from None
    if report.get("schema") != REPORT:
        raise FormatError(f"{path}: schema {report.get('schema')!r}; {REPORT} expected (decant fit --report)")
    _require(all(isinstance(report.get(name), str) for name in _TEXTS), path, ", ".join(_TEXTS))
    trials = report.get("trials")
    _require(isinstance(trials, list) and bool(trials), path, "trials")
    assert isinstance(trials, list)
    for trial in [*trials, report.get("chosen")]:
        _require(isinstance(trial, dict), path, "trials of objects")
        _require(all(isinstance(trial.get(name), str) for name in _TRIAL_TEXTS), path, "texts of a trial")
        for name in _FIGURES:
            value = trial.get(name)
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            _require(value is None or (number and value >= 0), path, f"a number or null as {name}")
    _require(report["chosen"] in trials, path, "a chosen trial that is one of the trials")
    return report


def rows_of(reports: list[dict[str, Any]]) -> list[dict[str, str]]:
    """A row for each trial of ``reports``, the chosen one of each marked."""
    rows = []
    for report in reports:
        for trial in report["trials"]:
            row = {"model": report["model"], "device": f"{trial['kind']}: {trial['device']}"}
            row |= {"runtime": trial["runtime"], "precision": trial["precision"]}
            row["golden dB"] = _shown(trial["golden_psnr_db"])
            row["first load ms"] = _shown(trial["first_load_ms"])
            row["load ms"] = _shown(trial["load_ms"])
            row["decode ms"] = _shown(trial["decode_ms"])
            row["pictures/s"] = _shown(trial["pictures_per_s"])
            row[""] = "chosen" if trial == report["chosen"] else "failed" if trial["failed"] else ""
            rows.append(row)
    return rows


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return "exact" if value == 999.0 else f"{value:.1f}"


def _require(holds: bool, path: Path, what: str) -> None:
    if not holds:
        raise FormatError(f"{path}: no report of decant fit: {what} expected")
