"""One HTML file that shows a run: pictures, quality, latency, training. It fetches nothing."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from decant_bench.common import metrics, pages, plots
from decant_bench.common.pages import Table, plainly
from decant_bench.common.record import Record
from decant_bench.evaluate import quality_table
from decant_bench.latency import table as latency_table

_FINAL = {"loss": "loss", "psnr": "PSNR, dB", "ssim": "SSIM", "score": "validation score"}
_ORDER = ("epoch", "step", "elapsed_s")

Pictures = Sequence[tuple[str, np.ndarray, np.ndarray]]


def write_report(
    path: str | os.PathLike[str],
    *,
    title: str,
    command: str,
    training: Mapping[str, Any] | None = None,
    pictures: Pictures = (),
    latency: Record | None = None,
    quality: Record | None = None,
) -> Path:
    """Write the report to ``path``, which appears whole or not at all; returns it.

    ``training``: {"rows": [a dict per line of metrics.jsonl], "metrics": {final figures}}. ``pictures``:
    (name, original, decoded), uint8 (H, W, 3) each. ``latency``, ``quality``: records of decant_bench. What
    is left out has no section. Raises OSError, and ValueError for pictures that do not fit together.
    """
    text = render(
        title=title, command=command, training=training, pictures=pictures, latency=latency, quality=quality
    )
    return pages.write(text, path)


def render(
    *,
    title: str,
    command: str,
    training: Mapping[str, Any] | None = None,
    pictures: Pictures = (),
    latency: Record | None = None,
    quality: Record | None = None,
) -> str:
    """The report as HTML; arguments as ``write_report``'s."""
    records = (("Quality", quality), ("Latency", latency))
    return pages.render(
        "report.html",
        title=title,
        command=command,
        facts=_headline(latency, quality),
        pictures=[_picture(*picture) for picture in pictures],
        quality=_quality(quality) if quality else None,
        latency=_latency(latency) if latency else None,
        training=_training(training) if training else None,
        origins=[pages.origin(what, record) for what, record in records if record],
    )


def _picture(name: str, original: np.ndarray, decoded: np.ndarray) -> dict[str, Any]:
    psnr = metrics.psnr(original, decoded)
    told = f"{psnr:.2f} dB" if np.isfinite(psnr) else "identical"
    return pages.compared(name, original, decoded, f"{told}, SSIM {metrics.ssim(original, decoded):.4f}")


def _quality(record: Record) -> dict[str, Any]:
    published = quality_table.published()
    images = record["config"]["images"]
    about = f"{images['count']} images of {images['width']}x{images['height']}. {quality_table.NOTE}"
    return {
        "svg": _safe(plots.quality_svg(record)),
        "table": Table(quality_table.HEADERS, quality_table.quality_rows(record), note=about),
        "refused": quality_table.refused(record),
        "published": Table(
            quality_table.PUBLISHED_HEADERS,
            quality_table.published_rows(),
            note=f"{published['method']} {' '.join(published['statements'])}",
        ),
    }


def _latency(record: Record) -> dict[str, Any]:
    found = latency_table.figures(record)
    images = record["config"]["images"]
    about = (
        f"{images['count']} images of {images['width']}x{images['height']}, from bytes in memory to a uint8 "
        "RGB array, interleaved in one run."
    )
    return {
        "tables": [
            Table(latency_table.DECODE_HEADERS, latency_table.decode_rows(found), "Decode", about),
            Table(
                latency_table.LOAD_HEADERS, latency_table.load_rows(found), "Load", latency_table.LOAD_NOTE
            ),
            Table(
                latency_table.PUBLISHED_HEADERS,
                latency_table.published_rows(found),
                "Ratios to JPEG, here and as published",
                latency_table.published_note(),
            ),
        ],
        "refused": latency_table.refused(record),
    }


def _training(training: Mapping[str, Any]) -> dict[str, Any]:
    rows = training.get("rows") or []
    final = {**{key: rows[-1].get(key) for key in _ORDER}, **training.get("metrics", {})} if rows else {}
    final = final or dict(training.get("metrics", {}))
    return {
        "svg": _safe(plots.training_svg(rows)) if rows else None,
        "facts": [(_named(key), _shown(key, value)) for key, value in final.items() if value is not None],
    }


def _headline(latency: Record | None, quality: Record | None) -> list[tuple[str, str]]:
    """What a reader looks for first: the float and int8 decoders of a bundle, and the quickest decode."""
    facts: list[tuple[str, str]] = []
    for row in quality["rows"] if quality else ():
        subject = row["subject"]
        plain = subject["runtime"] == "onnxruntime" and not subject["denoise"] and row["refused"] is None
        if plain and subject["precision"] in ("float", "int8"):
            facts.append((f"SSIM of {row['label']}", f"{row['mean']['ssim']:.4f}"))
            facts.append((f"MB of {row['label']}", f"{row['model_bytes'] / 1e6:.2f}"))
    decodes = [
        (f.decode.median, f)
        for f in (latency_table.figures(latency) if latency else ())
        if f.decode is not None and f.row["subject"]["kind"] == "model"
    ]
    if decodes:
        median, quickest = min(decodes, key=lambda pair: pair[0])
        subject = quickest.row["subject"]
        what = f"{quickest.row['label']}, {subject['runtime']}, threads: {subject['threads']}"
        facts.append((f"ms, quickest median decode ({what})", f"{median:.2f}"))
    return facts


def _named(key: str) -> str:
    return _FINAL.get(key, key.replace("_", " "))


def _shown(key: str, value: Any) -> str:
    if key == "elapsed_s":
        return f"{value:.0f}"
    return f"{value:.4g}" if isinstance(value, float) and key != "psnr" else plainly(value)


def _safe(svg: str | None) -> Any:
    """Matplotlib has escaped the text in it."""
    from markupsafe import Markup

    return None if svg is None else Markup(svg)
