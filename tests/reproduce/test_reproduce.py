"""``decant reproduce``: where codecs pass JPEG, the rows of real records, and a run that goes on."""

import dataclasses
import json
import shutil
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from decant_bench.common import pictures, record
from decant_bench.common.pictures import PictureSet, wheel_crops
from decant_bench.errors import BenchError
from decant_bench.evaluate.quality import q_score
from decant_reproduce import runner as reproduce
from decant_reproduce.cli import reproduce as command
from decant_reproduce.rows import Row
from decant_reproduce.set import plots as set_plots
from decant_reproduce.set import reproduce as reproduce_set
from decant_reproduce.set import rows as set_rows
from decant_reproduce.set import stages as set_stages
from decant_reproduce.set.points import (
    COUNTS,
    RAW,
    Point,
    Series,
    after,
    codec_series,
    passings,
    q_bounds,
    q_of,
    set_series,
    span_db,
)
from html_page import Page
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

ROOT = Path(__file__).parents[2]
REPORTS = ROOT / "artifacts" / "reports"


@given(st.floats(1, 1e7), st.floats(1, 1e5), st.floats(1, 1e5))
def test_the_codec_takes_fewer_bytes_from_that_picture_on_and_no_earlier(decoder, jpeg, codec):
    pictures = after(decoder, jpeg, codec)
    if jpeg <= codec:
        assert pictures is None
        return
    assert pictures is not None
    total = pictures * (jpeg - codec)
    assert total > decoder or np.isclose(total, decoder)
    if pictures > 1:
        earlier = (pictures - 1) * (jpeg - codec)
        assert earlier <= decoder or np.isclose(earlier, decoder)


def row(label: str, sizes: list[float], psnr: list[float], decoder_bytes: int = 0) -> dict:
    points = [
        {
            "quality": quality,
            "psnr_db": [value],
            "ssim": [0.9],
            "mean": {"bytes": size, "psnr_db": value, "ssim": 0.9},
        }
        for quality, (size, value) in enumerate(zip(sizes, psnr, strict=True))
    ]
    return {"label": label, "facts": {"decoder_bytes": decoder_bytes}, "points": points}


def test_a_codec_of_half_the_bytes_passes_where_it_should():
    psnr = [28.0, 32.0, 36.0, 40.0]
    jpeg = row("jpeg", [1000, 2000, 4000, 8000], psnr)
    codec = row("half", [500, 1000, 2000, 4000], psnr, 10_000)
    found = passings(jpeg, codec)
    assert [one.level for one in found] == list(range(28, 41))
    by_level = {one.level: one for one in found}
    assert by_level[28].pictures == 21  # 10,000 / 500, and one more
    assert by_level[36].pictures == 6
    assert by_level[34].jpeg_bytes == pytest.approx(2000 * 2**0.5)
    assert all(one.pictures is None for one in passings(codec, row("more", [9e3, 1e4, 2e4, 3e4], psnr, 1)))
    assert passings(jpeg, row("two points", [1, 2], [30, 31], 1)) == []


def test_the_decoder_is_shared_by_each_of_the_published_set_sizes():
    rates = {"rows": [row("jpeg", [1], [30.0]), row("codec int8", [1000], [30.0], 64_000)]}
    series = codec_series(rates)
    assert [one.count for one in series] == list(COUNTS)
    assert [one.points[0].ratio * RAW for one in series] == pytest.approx([2000, 1250, 1062.5, 1015.625])


def test_q_is_the_published_score_over_the_span_of_all_points():
    series = [
        Series("a", (Point("q1", 1.0, (30.0, 32.0), (0.8, 0.9)),)),
        Series("b", (Point("q1", 1.0, (40.0, None), (0.9, 1.0)),)),
    ]
    span = span_db(series)
    assert span == (31.0, 40.0)
    assert q_of(series[0].points[0], span) == pytest.approx(q_score([30, 32], [0.8, 0.9], span))
    for point in (one.points[0] for one in series):
        low, high = q_bounds(point.mean_ssim)
        assert low <= q_of(dataclasses.replace(point, psnr_db=(35.5,)), span) <= high


@pytest.fixture
def earlier(tmp_path) -> Path:
    """A folder with records of real measurements that the project publishes, and no run of its own."""
    (tmp_path / "records").mkdir()
    shutil.copy(REPORTS / "small" / "quality.json", tmp_path / "records" / "small-quality.json")
    shutil.copy(REPORTS / "base" / "latency.json", tmp_path / "records" / "base-latency.json")
    return tmp_path


def test_records_of_earlier_measurements_fill_their_rows(earlier):
    rows = {one.figure: one for one in set_rows.rows_of(set_rows.gather(earlier))}
    assert rows["compression ratio of small, float"] == Row(
        "compression ratio of small, float", "1.43", "1.43 (small-quality)", "64 pictures share it"
    )
    assert rows["SSIM of small, int8"].ours == "0.9416 (small-quality)"
    assert rows["SSIM of small, int8"].published == "0.932"
    assert rows["decode, base float, to JPEG's"].ours == "23.6x (7.49 ms, base-latency)"
    assert rows["decode, base float, to JPEG's"].published == "28x / 28.1x / 18.9x"
    assert rows["decode, large int8, to JPEG's"].ours == set_rows.NOT_YET
    assert "transposed" in rows["decode, large float, to JPEG's"].remark
    assert rows["SSIM of xlarge, float"].ours == "-"


def test_the_figures_of_a_record_and_the_published_points_are_drawn(earlier):
    found = set_rows.gather(earlier)
    series = set_rows.series_of(found)
    assert {one.label for one in series} == {
        "small float, small-quality",
        "small int8, small-quality",
        "small int8-static, small-quality",
        "JPEG, small-quality",
    }
    assert len(series[-1].points) == 10
    points = {point["name"]: point for point in set_rows.published_points(found)}
    assert points["small int8"]["ratio"] == 0.43
    assert points["JPEG, best point"]["q"] == 0.99
    assert "large float" not in points  # its ratio follows from a size that is not there
    for text in (
        set_plots.q_svg(series, span_db(series), list(points.values())),
        set_plots.ssim_svg(series, list(points.values())),
    ):
        assert text.startswith("<svg")
        assert "published" in text
        assert "small int8-static" in text


def test_larger_shapes_give_their_published_points_a_ratio(earlier):
    (earlier / "shapes").mkdir()
    sizes = {"large": {"float": 68_306_066, "int8": 17_975_737}}
    (earlier / "shapes" / "sizes.json").write_text(json.dumps(sizes))
    points = {p["name"]: p for p in set_rows.published_points(set_rows.gather(earlier))}
    assert points["large float"]["ratio"] == pytest.approx((68_306_066 / 1024 + 256) / RAW)
    assert points["large float, plain"]["ssim"] == 0.8021


def test_a_row_without_a_reference_has_the_jpeg_of_its_own_record(earlier):
    (own,) = set_series(record.read(earlier / "records/small-quality.json", "quality"), ", x")[-1:]
    assert own.label == "JPEG, x"
    assert {len(point.ssim) for point in own.points} == {25}  # the sample, as published


@pytest.fixture(scope="module")
def short_run(tmp_path_factory):
    """(folder, rows, what was said) of a run with time for one epoch of training and its export."""
    out = tmp_path_factory.mktemp("run")
    said: list[str] = []
    rows = reproduce.run("set", None, out, 0.02, said.append)
    return out, rows, said


def test_a_run_out_of_time_says_so_and_leaves_a_table_and_a_page(short_run):
    out, rows, said = short_run
    assert any("the same command goes on" in line for line in said)
    table = (out / "table.md").read_text()
    assert "# The published system `set`" in table
    assert sum(line.startswith("| ") for line in table.splitlines()) == len(rows) + 2
    page = Page((out / "report.html").read_text())
    assert page.open == []
    assert "Published and ours" in page.text
    for one in rows:
        assert one.figure in page.text
    kept = record.read(out / "table.json", "reproduction")
    assert [Row(**entry) for entry in kept["rows"]] == rows


def test_the_same_command_goes_on_with_what_is_there(short_run):
    out, _, _ = short_run
    made = {path: path.stat().st_mtime_ns for path in (out / "bundles").rglob("*") if path.is_file()}
    weights = (out / "small" / "weights.safetensors").stat().st_mtime_ns
    assert made
    rows = reproduce_set.reproduce(None, out, 0.02, lambda line: None, [REPORTS / "small" / "quality.json"])
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert (out / "small" / "weights.safetensors").stat().st_mtime_ns == weights
    assert (out / "records" / "small-quality.json").is_file()
    assert any("1.43 (small-quality)" in one.ours for one in rows)


def test_a_run_on_other_pictures_is_not_gone_on_with(short_run, tmp_path):
    out, _, _ = short_run
    Image.fromarray(wheel_crops(1, 256).pixels[0]).save(tmp_path / "a.png")
    with pytest.raises(BenchError, match=r"was trained on photos in the wheels .* another --out"):
        reproduce_set.reproduce(tmp_path, out, 0.02, lambda line: None)


def test_an_unknown_system_is_refused(tmp_path):
    with pytest.raises(BenchError, match="no published system 'words'; known: set, perceptual"):
        reproduce.run("words", None, tmp_path, 1, lambda line: None)


def test_rates_of_a_codec_beside_jpeg_are_measured_once(codec, tmp_path, monkeypatch):
    crops = wheel_crops(2, 64)
    monkeypatch.setenv("DECANT_BUNDLES", str(codec.parent))
    monkeypatch.setattr(set_stages, "CODECS", (codec.name,))
    monkeypatch.setattr(set_stages, "CODEC_QUALITIES", (5, 40, 70, 95))
    pictures = PictureSet.of(crops.names, crops.pixels, crops.source)
    found = set_stages.rates_record(pictures, tmp_path / "rates.json", lambda line: None)
    jpeg, ours = found["rows"]
    assert [point["quality"] for point in jpeg["points"]] == list(range(10, 101, 10))
    assert ours["label"] == f"{codec.name} int16"
    names = [f"{codec.name}.dcnm", "tables.safetensors", "model.json", "bundle.json"]
    read = [path for path in codec.iterdir() if any(path.name.startswith(name) for name in names)]
    sizes = [path.stat().st_size for path in read if path.suffix not in (".xml", ".bin")]
    assert len(sizes) == len(names)
    assert ours["facts"]["decoder_bytes"] == sum(sizes)
    said: list[str] = []
    again = set_stages.rates_record(pictures, tmp_path / "rates.json", said.append)
    assert again == found
    assert said == []
    assert list(set_rows.passings_of(set_rows.gather(tmp_path))) == [f"{codec.name} int16"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits", "--record", "x.json"], "--record is not for digits"),
        (["set", "--features", "x.npz"], "--features is not for set"),
        (["words"], "is not one of"),
    ],
)
def test_options_of_another_system_are_wrong_usage(tmp_path, arguments, message):
    done = CliRunner().invoke(command, [*arguments, "--max-minutes", "1", "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_record_of_another_kind_is_refused(tmp_path):
    with pytest.raises(BenchError, match="no record of decant bench quality, latency or grid"):
        reproduce_set.reproduce(None, tmp_path, 1, lambda line: None, [ROOT / "pyproject.toml"])


def test_a_table_cell_cannot_break_its_table():
    text = reproduce.as_markdown([Row("a | b", "1", "2")])
    assert text.splitlines()[-1] == "| a / b | 1 | 2 |  |"


def test_the_commands_are_entry_points_that_load():
    entries = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][
        "decant.commands"
    ]
    for name in ("evaluate", "reproduce"):
        module, _, attribute = entries[name].partition(":")
        assert getattr(import_module(module), attribute).name == name


def test_a_mass_test_and_a_homogeneous_set_fill_their_rows(tmp_path):
    """The first from its record, on the page as curves; the second beside `small` as it was trained."""
    same = {"set_size": 32, "refused": None, "epochs": 9, "minutes": 1.0, "stopped_by": "minutes"}
    same |= {"decoder_bytes": 10**6, "ratio": 0.3}
    cells = [
        same | {"num_layers": n, "latent_dim": dim, "psnr_db": 20.0 + n, "ssim": 0.4 + 0.1 * n}
        for n in (1, 2)
        for dim in (16, 32)
    ]
    made = record.new("grid", {"options": {"minutes": 1.0}, "images": {}}, "decant bench grid")
    made["rows"] += [*cells, {"num_layers": 3, "latent_dim": 16, "set_size": 32, "refused": "no time"}]
    record.write(made, tmp_path / "grid.json")
    for name, ssim in (("small", 0.8), ("homogeneous", 0.6)):
        (tmp_path / name).mkdir()
        told = {"metrics": {"ssim": ssim}, "elapsed_s": 60.0, "epoch": 7, "stopped_by": "minutes"}
        (tmp_path / name / "checkpoint.json").write_text(json.dumps(told))
    reproduce_set._keep([tmp_path / "grid.json"], tmp_path / "records")
    rows = {one.figure: one for one in set_rows.rows_of(set_rows.gather(tmp_path))}
    told = rows["mass test: layers x latents x set size"].ours
    assert told.startswith("4 cells of 1 minutes: SSIM 0.5000 of 1 layers, 16 numbers, 32 pictures to 0.6000")
    homogeneous = rows["SSIM of small on a homogeneous set (64 drawings)"]
    assert homogeneous.ours == "0.8000 -> 0.6000 (-25 %)"
    (section,) = [s for s in reproduce_set.sections(tmp_path) if s.title.startswith("Mass test")]
    assert len(section.tables[0].rows) == 5
    assert "layers: 2" in section.plots[0].svg
    made["rows"] = made["rows"][-1:]
    record.write(made, tmp_path / "records" / "none-grid.json")
    empty = [s for s in reproduce_set.sections(tmp_path) if s.title == "Mass test: none-grid"]
    assert [(len(s.plots), list(s.notes)) for s in empty] == [(0, ["no cell was trained"])]


def test_the_homogeneous_set_is_64_different_drawings(tmp_path):
    set_stages.draw(tmp_path)
    paths = sorted(tmp_path.iterdir())
    assert len({path.read_bytes() for path in paths}) == set_stages.SET
    assert pictures.read_squares(tmp_path, set_stages.SIDE, 99).pixels.std() > 10
