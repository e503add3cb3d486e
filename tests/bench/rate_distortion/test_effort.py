"""Time to encode against BD-rate: a bundle's efforts beside those of the field, on parts of photographs."""

import io
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from decant import Encoder
from decant.bundles.bundle import Bundle, find_bundle
from decant.commands.cli import main
from decant_bench.common import record
from decant_bench.common.pictures import Picture, PictureSet, wheel_pictures
from decant_bench.rate_distortion import effort, effort_report
from decant_bench.rate_distortion.effort import FIELD, Options
from imagecodecs import jpegxl_encode
from PIL import Image

QUALITIES = (5, 20, 45, 70, 90)
OPTIONS = Options(
    efforts=(1, 0), field=("webp",), qualities=QUALITIES, psnr_range=(28.0, 36.0), match_bpp=1.0, rounds=1
)


@pytest.fixture(scope="module")
def pictures() -> PictureSet:
    """Five parts of photographs of two sizes: more than a visit takes."""
    whole = {picture.name: picture.pixels for picture in wheel_pictures(3).pictures}
    astronaut, coffee = whole["astronaut.png"], whole["coffee.png"]
    parts = [astronaut[:176, x : x + 176] for x in (0, 100, 200, 300)] + [coffee[100:300, 200:376]]
    return PictureSet(tuple(Picture(f"{i}.png", np.ascontiguousarray(p)) for i, p in enumerate(parts)), "")


@pytest.fixture(scope="module")
def codec() -> Bundle:
    """A shipped one: a codec that is not trained ends where others begin."""
    return find_bundle("nano")


@pytest.fixture(scope="module")
def measured(codec, pictures):
    return effort.measure(codec, pictures, OPTIONS, command="decant bench effort")


def test_a_row_an_effort_quickest_first(measured, codec):
    name = codec.name
    assert [(row["family"], row["setting"]) for row in measured["efforts"]] == [
        ("jpeg", None),
        (f"{name} effort", 0),
        (f"{name} effort", 1),
        ("webp method", 0),
        ("webp method", 4),
        ("webp method", 6),
    ]
    for row in measured["efforts"]:
        assert row["encode_ms"] > 0
        assert row["refused"] is None


def test_each_effort_has_files_of_its_own(measured, codec, pictures):
    rows = {row["label"]: row for row in measured["rows"]}
    name = codec.name
    for number in (0, 1):
        row = next(row for label, row in rows.items() if label.startswith(f"{name} effort {number}"))
        data = Encoder(codec, threads=1).encode(pictures.pictures[4].pixels, 45, effort=number)
        assert row["points"][2]["bytes"][4] == len(data)
    stream = io.BytesIO()
    Image.fromarray(pictures.pictures[4].pixels).save(stream, "WEBP", quality=45, method=0)
    assert rows["webp method 0"]["points"][2]["bytes"][4] == len(stream.getvalue())


def test_all_bd_rates_are_over_one_range_and_chain(measured):
    rows = {row["label"]: row for row in measured["efforts"]}
    assert rows["jpeg"]["bd_rate"] == 0
    low, high = measured["shared_db"]["psnr_db"]
    assert 28 <= low < high <= 36
    first = rows["webp method 0"]
    assert first["to_quickest"] == 0
    for method in (4, 6):
        row = rows[f"webp method {method}"]
        assert row["to_quickest"] < 0
        assert (1 + first["bd_rate"]) * (1 + row["to_quickest"]) == pytest.approx(1 + row["bd_rate"])


def test_curves_that_share_too_little_have_no_figures_but_times(codec, pictures):
    options = replace(OPTIONS, efforts=(0,), psnr_range=(60.0, 70.0))
    found = effort.measure(codec, PictureSet(pictures.pictures[4:], ""), options)
    assert found["shared_db"] == {"psnr_db": None, "ms_ssim": None}
    assert {row["bd_rate"] for row in found["efforts"]} == {None}
    assert all(row["encode_ms"] for row in found["efforts"])
    assert effort_report.draw(found) is None
    assert "70 dB: too little" in effort_report.as_text(found)
    assert "webp method 0: from " in effort_report.as_text(found)


def test_samples_know_their_picture(pictures):
    counts = [picture.pixel_count / 1e6 for picture in pictures.pictures]
    found = effort.samples_of([[1, 2, 3, 4] * 2, [5, 6, 7, 8]], pictures)
    expected = [*zip((1, 2, 3, 4) * 2, counts[:4] * 2, strict=True)]
    assert found == [*expected, *zip((5, 6, 7, 8), (counts[4], *counts[:3]), strict=True)]


def test_the_fields_encoders_take_their_settings(pictures):
    pixels = pictures.pictures[4].pixels
    for number in FIELD["jxl"].settings:
        made = FIELD["jxl"].encoder(number).encode(pixels, 50)
        assert made == bytes(jpegxl_encode(pixels, level=50, effort=number, numthreads=1))
    sizes = [len(FIELD["avif"].encoder(speed).encode(pixels, 50)) for speed in (10, 4)]
    assert sizes[0] != sizes[1]
    labels = [one.contender(n, ()).label for one in FIELD.values() for n in one.settings]
    assert len(set(labels)) == 10
    assert FIELD["avif"].contender(8, ()).codec.description == "AVIF 4:2:0, speed 8 (Pillow)"


def test_the_command_writes_table_record_and_figure(codec, pictures, tmp_path):
    (tmp_path / "in").mkdir()
    for picture in pictures.pictures[3:]:
        Image.fromarray(picture.pixels).save(tmp_path / "in" / picture.name)
    arguments = ["bench", "effort", "--images", tmp_path / "in", "--bundle", codec.path, "--efforts", "0"]
    arguments += ["--against", "webp,jxl", "--qualities", "5,20,45,70,90", "--rounds", "1"]
    arguments += ["--psnr-range", "28,36", "--out", tmp_path / "out"]
    run = CliRunner().invoke(main, list(map(str, arguments)))
    assert run.exit_code == 0, run.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"effort.json", "effort.md", "effort.svg"}
    found = record.read(tmp_path / "out/effort.json", "effort")
    assert f"pillow {found['versions']['pillow']}" in (tmp_path / "out/effort.md").read_text()
    drawn = (tmp_path / "out/effort.svg").read_text()
    for family in ("effort", "webp method", "jxl effort", "ms per megapixel"):
        assert family in drawn


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--efforts", "0,10"], "numbers up to 9 expected"),
        (["--efforts", "-1"], "numbers from 0 on expected"),
        (["--against", "png"], "'png' has no efforts here; known: avif, jxl, webp"),
    ],
)
def test_wrong_usage_ends_in_one_line(tmp_path, arguments, message):
    run = CliRunner().invoke(main, ["bench", "effort", "--bundle", "x", "--out", str(tmp_path), *arguments])
    assert run.exit_code == 2
    assert message in run.stderr
