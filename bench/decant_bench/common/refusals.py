"""Runs in which nothing that was asked about could be measured: they end with exit code 1."""

from collections.abc import Collection, Sequence
from typing import Any

from decant_bench.errors import BenchError


def require_measured(rows: Sequence[dict[str, Any]], codecs: Collection[str] = ()) -> None:
    """Raise BenchError where every row of a bundle was refused. Rows of ``codecs``, by label, do not count:
    they are what bundles are compared with.
    """
    models = [row for row in rows if row["label"] not in codecs and _of_a_bundle(row)]
    if models and all(row["refused"] is not None for row in models):
        raise BenchError(
            f"none of {len(models)} variants could be measured; the first, {models[0]['label']}: "
            f"{models[0]['refused']}"
        )


def _of_a_bundle(row: dict[str, Any]) -> bool:
    """Rows of latency and quality records say what they are of; a row of an rd record may be of either."""
    return "subject" not in row or row["subject"]["kind"] == "model"
