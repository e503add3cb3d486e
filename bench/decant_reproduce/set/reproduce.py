"""``decant reproduce set``: `small` trained, exported and measured beside JPEG and the codec bundles, and the
publication's plot of ratio against quality drawn again with all of them.

``out`` holds, each made once: ``small``, ``plain``, ``denoiser``, ``homogeneous`` (checkpoints), the pictures
``drawings`` of the last, ``bundles/small``, ``shapes`` (graphs of the larger sizes, for sizes and times),
``quality.json``, ``rates.json``, ``latency.json``, and ``records``, copies of records of earlier measurements
that count as ours.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from decant.bundles.bundle import Bundle
from decant_bench.common import pages, record
from decant_bench.common.pages import Plot, Section
from decant_bench.common.pictures import PictureSet
from decant_bench.common.plots import as_svg
from decant_bench.common.record import Record
from decant_bench.common.schedule import Budget
from decant_bench.common.tables import Table
from decant_bench.errors import BenchError
from decant_bench.evaluate import grid, quality_table
from decant_bench.latency import table as latency_table

from decant_reproduce.rows import Row
from decant_reproduce.set import plots as set_plots
from decant_reproduce.set import stages as set_stages
from decant_reproduce.set.points import q_of, span_db
from decant_reproduce.set.rows import Found, gather, passings_of, published_points, rows_of, series_of

# Of the minutes; what is left measures.
TRAINING, PLAIN, DENOISER = 0.25, 0.07, 0.07
LATENCY = 0.12
RECORDS = ("quality", "latency", "grid")  # kinds of those of earlier measurements


def reproduce(
    data: Path | None,
    out: Path,
    max_minutes: float,
    report: Callable[[str], None],
    records: Sequence[Path] = (),
) -> list[Row]:
    """All stages that ``max_minutes`` of wall-clock time reach, each begun only while there is time; the
    rows. ``data``: a folder of pictures, the set is its first 64; None for the photos in the wheels.

    Raises BenchError for a record that is none of RECORDS, and what the stages raise.
    """
    _keep(records, out / "records")
    budget = Budget(max_minutes)
    pictures = set_stages.pictures_of(data)
    small = out / "small"
    report(f"training small: {TRAINING * max_minutes:.1f} minutes in all")
    set_stages.train(small, data, TRAINING * max_minutes, plain=False)
    bundle = set_stages.export_trained(small, out / "bundles" / "small", report)
    stages: dict[str, Callable[[], object]] = {
        "quality": lambda: set_stages.quality_record(bundle, pictures, out / "quality.json", report),
        "rates": lambda: set_stages.rates_record(pictures, out / "rates.json", report),
        "plain": lambda: set_stages.train(out / "plain", data, PLAIN * max_minutes, plain=True),
        "denoiser": lambda: _denoise(out, data, max_minutes),
        "latency": lambda: _time(out, bundle, pictures, max_minutes, report),
        "homogeneous": lambda: _train_homogeneous(out, TRAINING * max_minutes),
    }
    for name, stage in stages.items():
        if budget.used_up(1):
            report(f"no time is left for {name}; the same command goes on")
            break
        report(name)
        stage()
    return rows_of(gather(out))


def sections(out: Path) -> list[Section]:
    """What the page shows below the table."""
    found = gather(out)
    parts = [_plots(found), _passing(found)] if found.rates is not None else []
    for where, one in found.records("quality"):
        table = Table(quality_table.HEADERS, quality_table.quality_rows(one), note=quality_table.NOTE)
        parts.append(Section(f"Quality of the set's decoders: {where}", tables=[table]))
    for where, one in found.records("latency"):
        figures = latency_table.figures(one)
        tables = [
            Table(latency_table.DECODE_HEADERS, latency_table.decode_rows(figures), "Decode"),
            Table(
                latency_table.LOAD_HEADERS, latency_table.load_rows(figures), "Load", latency_table.LOAD_NOTE
            ),
        ]
        parts.append(Section(f"Latency: {where}", tables=tables, notes=[latency_table.published_note()]))
    return parts + [_mass_test(where, one) for where, one in found.records("grid")]


def _mass_test(where: str, one: Record) -> Section:
    table = Table(grid.HEADERS, grid.cells(one), note=grid.NOTE)
    plots = []
    if grid.trained_rows(one):
        drawn = as_svg(grid.curves(one), f"grid {where}")
        plots.append(pages.plot(drawn, "PSNR and SSIM against the latent's size"))
    return Section(f"Mass test: {where}", tables=[table], plots=plots, notes=[grid.told(one)])


def _plots(found: Found) -> Section:
    series, points = series_of(found), published_points(found)
    span = span_db(series)
    rows = [
        [
            one.label,
            f"{one.count:,}" if one.count else "-",
            point.name,
            f"{point.ratio:.4f}",
            "exact" if point.mean_psnr_db is None else f"{point.mean_psnr_db:.2f}",
            f"{point.mean_ssim:.4f}",
            f"{q_of(point, span):.4f}",
        ]
        for one in series
        for point in one.points
    ]
    headers = ("points", "share the\ndecoder", "setting", "ratio", "PSNR\ndB", "SSIM", "Q")
    note = (
        "Set decoders: graph bytes and latents, as published. Codecs: every byte that a client reads to "
        "decode, and whole files. JPEG: whole files. Q spans the mean PSNR of the points here, "
        f"{span[0]:.2f} to {span[1]:.2f} dB; of the published models only SSIM is known, so their Q is a "
        "range."
    )
    columns = [header.replace("\n", " ") for header in headers]
    text = "\n".join(",".join(cell.replace(",", "") for cell in row) for row in [columns, *rows])
    return Section(
        "Ratio against quality",
        notes=[note],
        plots=[
            pages.plot(set_plots.q_svg(series, span, points), "Compression ratio against Q"),
            pages.plot(set_plots.ssim_svg(series, points), "Compression ratio against SSIM"),
        ],
        tables=[Table(headers, rows)],
        downloads=[pages.download("points.csv", text + "\n", "the points of both figures")],
    )


def _passing(found: Found) -> Section:
    plots: list[Plot] = []
    tables = []
    for metric, across in (("psnr_db", "PSNR, dB"), ("ssim", "SSIM, dB: -10 log10(1 - SSIM)")):
        lines = passings_of(found, metric)
        drawn = set_plots.passing_svg(lines, across)
        plots += [pages.plot(drawn, f"Pictures against {across}")] if drawn else []
        rows = [
            [
                label,
                f"{one.level:g}",
                f"{one.jpeg_bytes:,.0f}",
                f"{one.codec_bytes:,.0f}",
                "never" if one.pictures is None else f"{one.pictures:,}",
            ]
            for label, line in lines.items()
            for one in line
        ]
        headers = ("codec", across.split(":")[0], "JPEG\nbytes", "codec\nbytes", "passes JPEG\nfrom pictures")
        tables.append(Table(headers, rows))
    note = (
        "The smallest n with decoder / n + file < JPEG's file, at equal quality: averaged curves over the "
        "pictures of 256x256, PCHIP of the logarithm of the bytes. The decoder: graphs, tables, model.json "
        "and bundle.json of the precision that runs. Files whole, headers on both sides. A decoder serves "
        "pictures of any size, so larger ones pay for it sooner."
    )
    return Section(
        "Where the codec passes JPEG, its decoder counted", notes=[note], plots=plots, tables=tables
    )


def _denoise(out: Path, data: Path | None, max_minutes: float) -> None:
    made = set_stages.train_denoiser(out / "denoiser", out / "small", data, DENOISER * max_minutes)
    pages.write(json.dumps(made), out / "denoiser.json")


def _train_homogeneous(out: Path, minutes: float) -> None:
    set_stages.draw(out / "drawings")
    set_stages.train(out / "homogeneous", out / "drawings", minutes, plain=False)


def _time(
    out: Path,
    bundle: Bundle,
    pictures: PictureSet,
    max_minutes: float,
    report: Callable[[str], None],
) -> None:
    _, larger = set_stages.shapes(out / "shapes", report)
    bundles = [bundle, *larger]
    set_stages.latency_record(bundles, pictures, out / "latency.json", LATENCY * max_minutes, report)


def _keep(records: Sequence[Path], folder: Path) -> None:
    """Copies, so that a run that goes on has them."""
    for path in records:
        if not any(_is(path, kind) for kind in RECORDS):
            raise BenchError(f"{path}: no record of decant bench {', '.join(RECORDS[:-1])} or {RECORDS[-1]}")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / f"{path.resolve().parent.name}-{path.stem}.json")


def _is(path: Path, kind: str) -> bool:
    try:
        record.read(path, kind)
    except BenchError:
        return False
    return True
