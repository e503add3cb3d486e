"""What reproducing the set autoencoder left in a folder, and its rows "published / ours"."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from decant_bench.common import machine, published, record
from decant_bench.common.record import Record
from decant_bench.common.tables import number
from decant_bench.errors import BenchError
from decant_bench.evaluate import grid, quality_table
from decant_bench.latency import table as latency_table

from decant_reproduce.rows import Row
from decant_reproduce.set.points import (
    RAW,
    Passing,
    Point,
    Series,
    codec_series,
    jpeg_series,
    passings,
    q_of,
    set_series,
    span_db,
)
from decant_reproduce.set.stages import SHAPES

NOT_YET = "not measured in the minutes given; the same command with more goes on"
_PIXELS = 256 * 256
_CONFIGS = {"large": (1024, 64), "xlarge": (4096, 128)}  # set size and latent_dim, as published


@dataclass(frozen=True)
class Found:
    """Descriptions of checkpoints, sizes of graphs, records; None for what is not there yet. ``others`` are
    records of earlier measurements by their names.
    """

    trained: dict[str, Any] | None = None
    plain: dict[str, Any] | None = None
    denoiser: dict[str, Any] | None = None
    homogeneous: dict[str, Any] | None = None
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    quality: Record | None = None
    rates: Record | None = None
    latency: Record | None = None
    others: dict[str, Record] = field(default_factory=dict)

    def records(self, kind: str) -> Iterator[tuple[str, Record]]:
        """(where from, record): this run's, then the others of its kind."""
        own = {"quality": self.quality, "latency": self.latency}.get(kind)
        if own is not None:
            yield "this run", own
        yield from ((name, other) for name, other in self.others.items() if other["kind"] == kind)


def gather(out: Path) -> Found:
    """What is in the folder ``out``."""
    others = {}
    for path in sorted((out / "records").glob("*.json")):
        kind = json.loads(path.read_text(encoding="utf-8")).get("kind", "")
        others[path.stem] = record.read(path, kind)
    return Found(
        _json(out / "small" / "checkpoint.json"),
        _json(out / "plain" / "checkpoint.json"),
        _json(out / "denoiser.json"),
        _json(out / "homogeneous" / "checkpoint.json"),
        _json(out / "shapes" / "sizes.json") or {},
        _record(out / "quality.json", "quality"),
        _record(out / "rates.json", "evaluation"),
        _record(out / "latency.json", "latency"),
        others,
    )


def series_of(found: Found) -> list[Series]:
    """Everything that the figures of ratio against quality show of ours."""
    series = [] if found.rates is None else [jpeg_series(found.rates)]
    for where, one in found.records("quality"):
        series += set_series(one, "" if where == "this run" else f", {where}")
    return series + ([] if found.rates is None else codec_series(found.rates))


def published_points(found: Found) -> list[dict[str, Any]]:
    """Published points with a ratio. That of `large` and `xlarge` is reckoned from the size of their
    graphs.
    """
    points = []
    for row in quality_table.published()["rows"]:
        shape = row["name"].split()[0]
        if "ratio" in row and "q" in row:
            points.append({"name": row["name"], "ratio": row["ratio"], "q": 0.99})
        elif "ssim" not in row or "denoiser" in row["name"]:
            continue
        elif "ratio" in row or shape == "small":
            points.append({"name": row["name"], "ratio": row.get("ratio", 1.43), "ssim": row["ssim"]})
        elif shape in _CONFIGS and shape in found.sizes:
            count, dim = _CONFIGS[shape]
            ratio = (found.sizes[shape]["float"] / count + 4 * dim) / RAW
            points.append({"name": row["name"], "ratio": ratio, "ssim": row["ssim"]})
    return points


def passings_of(found: Found, metric: str = "psnr_db") -> dict[str, list[Passing]]:
    """By codec bundle."""
    if found.rates is None:
        return {}
    jpeg, *codecs = found.rates["rows"]
    return {row["label"]: passings(jpeg, row, metric) for row in codecs}


def rows_of(found: Found) -> list[Row]:
    """The table, in the order of the publication."""
    return [
        *_size_rows(found),
        *_quality_rows(found),
        *_jpeg_rows(found),
        *_passing_rows(found),
        *_latency_rows(found),
        _homogeneous_row(found),
        _grid_row(found),
        *_left_out(),
    ]


def _size_rows(found: Found) -> list[Row]:
    rows = []
    for precision, told in (("float", "1.43"), ("int8", "0.43")):
        ours = _each(found, f"small {precision}", lambda row: f"{row['ratio']:.2f}")
        rows.append(Row(f"compression ratio of small, {precision}", told, ours, "64 pictures share it"))
    shrink = NOT_YET
    if found.quality is not None:
        sizes = {row["subject"]["precision"]: row["model_bytes"] for row in found.quality["rows"]}
        if sizes.get("int8"):
            shrink = f"{sizes['float'] / sizes['int8']:.2f}x"
    rows.append(Row("file of small, float to int8", "3.33x smaller", shrink, "Linear weights int8 here too"))
    for name in SHAPES:
        told = "3.89x smaller" if name == "xlarge" else "-"
        size = found.sizes.get(name)
        ours = f"{size['float'] / size['int8']:.2f}x" if size else NOT_YET
        remark = (
            f"{size['float'] / 1e6:.1f} to {size['int8'] / 1e6:.1f} MB; weights untrained" if size else ""
        )
        rows.append(Row(f"file of {name}, float to int8", told, ours, remark))
    return rows


def _quality_rows(found: Found) -> list[Row]:
    def ssim(row: dict[str, Any]) -> str:
        return f"{row['mean']['ssim']:.4f}"

    def both(row: dict[str, Any]) -> str:
        return f"{row['mean']['psnr_db']:.2f} dB / {row['mean']['ssim']:.4f}"

    run = _training(found.trained)
    rows = [
        Row("SSIM of small, float", "0.9343", _each(found, "small float", ssim), run),
        Row("SSIM of small, int8", "0.932", _each(found, "small int8", ssim), "Linear layers in int8"),
        Row("SSIM of small, int8-static", "-", _each(found, "small int8-static", ssim), "ours only"),
        Row(
            "small after 99 999 epochs: PSNR / SSIM",
            "42.99 dB / 0.9880",
            _each(found, "small float", both),
            run,
        ),
    ]
    ours = NOT_YET
    if found.plain and found.trained:
        ours = f"{found.plain['metrics']['ssim']:.4f} -> {found.trained['metrics']['ssim']:.4f}"
    remark = f"small, not large; plain: {_training(found.plain)}; residual: {run}" if found.plain else ""
    rows.append(Row("SSIM of large, plain -> residual", "0.8021 -> 0.9224", ours, remark))
    if found.denoiser is None:
        return [*rows, Row("SSIM of small, without -> with denoiser", "0.9343 -> 0.9562", NOT_YET)]
    made = found.denoiser["metrics"]
    remark = f"pictures kept from its training; light form, {_training(found.denoiser)}"
    ours = f"{made['test_ssim_before']:.4f} -> {made['test_ssim']:.4f}"
    rows.append(Row("SSIM of small, without -> with denoiser", "0.9343 -> 0.9562", ours, remark))
    rows.append(Row("parameters of the denoiser", "< 1,000,000", f"{found.denoiser['parameters']:,}"))
    return rows


def _jpeg_rows(found: Found) -> list[Row]:
    if found.rates is None:
        return [Row("JPEG, best point", "Q > 0.99 at ratio 0.19", NOT_YET)]
    series = series_of(found)
    span, jpeg = span_db(series), jpeg_series(found.rates)
    about = f"{found.rates['config']['images']['count']} pictures; Q spans {span[0]:.2f} to {span[1]:.2f} dB"
    q20 = next(point for point in jpeg.points if point.name == "q20")
    best = max(jpeg.points, key=lambda point: q_of(point, span))
    rows = [
        Row(
            "JPEG quality 20: SSIM",
            "0.899",
            f"{q20.mean_ssim:.4f}",
            "other pictures, other SSIM window perhaps",
        ),
        Row(
            "JPEG, best point",
            "Q > 0.99 at ratio 0.19",
            f"Q {q_of(best, span):.3f} at ratio {best.ratio:.2f}",
            about,
        ),
    ]
    for where, _ in found.records("quality"):
        note = "" if where == "this run" else f", {where}"
        ours = {one.label: one.points for one in series}
        if f"small float{note}" in ours:
            point, line = ours[f"small float{note}"][0], ours.get(f"JPEG{note}", jpeg.points)
            rows.append(_beside_jpeg(point, line, span, where))
    return rows


def _beside_jpeg(point: Point, jpeg: Sequence[Point], span: tuple[float, float], where: str) -> Row:
    """A set decoder and the JPEG quality that is nearest in PSNR."""

    def psnr(one: Point) -> float:
        return math.inf if one.mean_psnr_db is None else one.mean_psnr_db

    near = min(jpeg, key=lambda one: abs(psnr(one) - psnr(point)))
    told = f"JPEG {near.name.removeprefix('jpeg-')}: {near.ratio:.3f}; small: {point.ratio:.2f}"
    remark = f"{where}; {psnr(near):.2f} and {psnr(point):.2f} dB; Q of small {q_of(point, span):.3f}"
    return Row("ratio of JPEG and of small, float, at the nearest PSNR", "JPEG wins everywhere", told, remark)


def _passing_rows(found: Found) -> list[Row]:
    figure = "pictures of 256x256 from which on the codec {}, decoder counted, takes fewer bytes than JPEG"
    rows = []
    for label, line in passings_of(found).items():
        ours, remark = passing_told(line, "dB")
        rows.append(Row(figure.format(label) + ", equal PSNR", "never: JPEG wins everywhere", ours, remark))
    for label, line in passings_of(found, "ssim").items():
        told = [Passing(1 - 10 ** (-p.level / 10), p.jpeg_bytes, p.codec_bytes, p.pictures) for p in line]
        ours, remark = passing_told(told, "SSIM")
        rows.append(Row(figure.format(label) + ", equal SSIM", "never: JPEG wins everywhere", ours, remark))
    return rows or [Row(figure.format("bundles"), "never: JPEG wins everywhere", NOT_YET)]


def passing_told(line: Sequence[Passing], unit: str) -> tuple[str, str]:
    """Where a codec passes JPEG in words: some levels, and the range."""
    if not line:
        return "-", "the curves share no quality"

    def level(value: float) -> str:
        return f"{value:g} dB" if unit == "dB" else f"SSIM {value:.3f}"

    passing = [one for one in line if one.pictures is not None]
    span = f"compared from {level(line[0].level)} to {level(line[-1].level)}"
    if not passing:
        return "never", span
    first = min(passing, key=lambda one: one.pictures or 0)
    step = max(1, len(passing) // 4)
    told = [f"n = {one.pictures:,} at {level(one.level)}" for one in passing[::step]]
    lost = [level(one.level) for one in line if one.pictures is None]
    megapixels = (first.pictures or 0) * _PIXELS / 1e6
    remark = f"least: {first.pictures:,} at {level(first.level)} ({megapixels:.0f} megapixels); {span}"
    return "; ".join(told), remark + (f"; never at {', '.join(lost)}" if lost else "")


def _latency_rows(found: Found) -> list[Row]:
    names = " / ".join(published.latency()["machines"])
    rows = []
    for entry in published.ratios():
        name = entry["name"]
        if name == "JPEG":
            continue
        mark = "cells that look transposed: " + ", ".join(entry["doubtful"]) if entry["doubtful"] else ""
        for what, key in (("decode", "decode_ratio"), ("load", "load_ratio")):
            told = " / ".join(f"{value:g}x" for value in entry[key])
            rows.append(Row(f"{what}, {name}, to JPEG's", told, _times(found, name, what), mark))
    for label in sorted(
        {f.row["label"] for _, one in found.records("latency") for f in latency_table.figures(one)}
    ):
        if label.startswith(("full ", "lite ", "nano ", "small int8-static")):
            for what in ("decode", "load"):
                rows.append(Row(f"{what}, {label}, to JPEG's", "-", _times(found, label, what), "ours only"))
    about = f"{names}; ours: JPEG of quality 90, one thread, medians; load from a cold file cache"
    if found.latency is not None:
        machine_then = found.latency["machine"]
        load, cores = machine_then["load_average"], machine_then["cores_usable"] or 1
        if machine.busy(load, cores):
            about += (
                f"; this run's machine was busy (load {load[0]}, cores {cores}), which lengthens long "
                "decodes more than short ones: its ratios are too high"
            )
    return [Row("latency as multiples of JPEG's on the same device", "medians", "medians", about), *rows]


def _times(found: Found, label: str, what: str) -> str:
    told = []
    for where, one in found.records("latency"):
        for f in latency_table.figures(one):
            subject = f.row["subject"]
            if f.row["label"] != label or subject["runtime"] != "onnxruntime" or subject["threads"] != 1:
                continue
            source = "" if where == "this run" else f", {where}"
            if what == "load" and f.load_cold_ratio is not None:
                told.append(f"{number(f.load_cold_ratio.ratio)}x ({number(f.load_cold)} ms{source})")
            elif what == "decode" and f.decode is not None and f.to_jpeg is not None:
                told.append(f"{number(f.to_jpeg.ratio)}x ({number(f.decode.median)} ms{source})")
    return "; ".join(told) or NOT_YET


def _homogeneous_row(found: Found) -> Row:
    """A set of one kind of picture beside the set of many, trained for as long."""
    ours = remark = ""
    if found.homogeneous and found.trained:
        mixed, alike = (one["metrics"]["ssim"] for one in (found.trained, found.homogeneous))
        ours = f"{mixed:.4f} -> {alike:.4f} ({100 * (alike / mixed - 1):+.0f} %)"
        remark = f"64 plots by matplotlib instead of photos; {_training(found.homogeneous)}"
    return Row("SSIM of small on a homogeneous set (64 drawings)", "17 % less", ours or NOT_YET, remark)


def _grid_row(found: Found) -> Row:
    told = "; ".join(f"{grid.told(one)} ({where})" for where, one in found.records("grid"))
    return Row("mass test: layers x latents x set size", "curves", told or "-", "decant bench grid, --record")


def _left_out() -> list[Row]:
    trained = "not trained: wants 4,096 pictures and many hours; decant train set xlarge"
    return [
        Row("SSIM of xlarge, float", "0.8875", "-", trained),
        Row("SSIM of xlarge, with denoiser", "0.9249", "-", trained),
        Row("human test against JPEG 30", "votes", "-", "no people were asked"),
    ]


def _each(found: Found, label: str, told: Any) -> str:
    """A figure of a variant in this run and in each other record that has it."""
    parts = []
    for where, one in found.records("quality"):
        for row in one["rows"]:
            same = row["label"] == label and row["subject"]["runtime"] == "onnxruntime"
            if same and row["refused"] is None:
                parts.append(told(row) + ("" if where == "this run" else f" ({where})"))
    return "; ".join(parts) or NOT_YET


def _training(description: dict[str, Any] | None) -> str:
    if description is None:
        return NOT_YET
    minutes = description["elapsed_s"] / 60
    return f"{description['epoch']:,} epochs, {minutes:.1f} minutes, stopped by {description['stopped_by']}"


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _record(path: Path, kind: str) -> Record | None:
    try:
        return record.read(path, kind)
    except BenchError:
        return None
