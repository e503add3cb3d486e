"""Rate and distortion on parts of real photographs: points, BD-rates, times at one rate, what is written."""

import csv
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from click.testing import CliRunner
from decant import Decoder, Encoder
from decant.bundles.bundle import Bundle
from decant.commands.cli import main
from decant_bench.common import metrics, record
from decant_bench.common.baselines import setting
from decant_bench.common.codecs import PillowCodec
from decant_bench.common.contenders import LADDERS, CodecEntry, bundle_contender, codec_contender
from decant_bench.common.matched import at_bytes, at_rate
from decant_bench.common.pictures import Picture, PictureSet, read_pictures, wheel_pictures
from decant_bench.errors import BenchError
from decant_bench.rate_distortion import curves as rd_curves
from decant_bench.rate_distortion import measure as rd
from decant_bench.rate_distortion import plots as rd_plots
from decant_bench.rate_distortion import report as rd_report
from decant_bench.rate_distortion import table as rd_table
from decant_bench.rate_distortion.bd_rate import curve
from decant_bench.rate_distortion.side_by_side import Panel, draw, panels
from PIL import Image

QUALITIES = (5, 20, 45, 70, 90)
OPTIONS = rd.Options(
    against=("jpeg", "jpeg-opt", "webp"),
    qualities=QUALITIES,
    psnr_range=(30.0, 34.0),
    match_bpp=1.0,
    rounds=1,
    encode_rounds=1,
)


@pytest.fixture(scope="module")
def pictures() -> PictureSet:
    """Two parts of photographs, of different sizes, large enough for MS-SSIM."""
    whole = {picture.name: picture.pixels for picture in wheel_pictures().pictures}
    parts = (
        Picture("a.png", np.ascontiguousarray(whole["astronaut.png"][:176, 100:300])),
        Picture("b.png", np.ascontiguousarray(whole["coffee.png"][100:300, 200:370])),
    )
    return PictureSet(parts, "parts")


@pytest.fixture(scope="module")
def measured(pictures):
    contenders, refused = rd.enter([], OPTIONS)
    return rd.measure(contenders, pictures, OPTIONS, refused=refused, command="decant bench rd")


def row_of(measured, label):
    return next(row for row in measured["rows"] if row["label"] == label)


def test_points_are_those_of_real_files(measured, pictures):
    point = row_of(measured, "webp")["points"][2]
    assert point["quality"] == 45
    for index, picture in enumerate(pictures.pictures):
        data = setting("webp-q45").encode(picture.pixels)
        decoded = setting("webp-q45").decoder()(data)
        assert point["bytes"][index] == len(data)
        assert point["bits_per_pixel"][index] == 8 * len(data) / (decoded.size / 3)
        assert point["psnr_db"][index] == metrics.psnr(picture.pixels, decoded)
        assert point["ms_ssim"][index] == metrics.ms_ssim(picture.pixels, decoded)
    assert point["mean"]["psnr_db"] == np.mean(point["psnr_db"])
    assert point["mean"]["bits_per_pixel"] == np.mean(point["bits_per_pixel"])


def test_the_headline_is_the_bd_rate_of_the_averaged_curves(measured):
    assert row_of(measured, "jpeg")["bd_rate"]["psnr"]["average"] == 0
    # Optimised JPEG holds the same pixels in fewer bytes at every quality.
    jpeg, optimised = row_of(measured, "jpeg"), row_of(measured, "jpeg-opt")
    shares = []
    for a, b in zip(jpeg["points"], optimised["points"], strict=True):
        assert a["psnr_db"] == b["psnr_db"]
        shares.append(b["mean"]["bits_per_pixel"] / a["mean"]["bits_per_pixel"] - 1)
    found = optimised["bd_rate"]["psnr"]["average"]
    assert min(shares) < found < max(shares) < 0
    assert optimised["bd_rate"]["ms_ssim"]["average"] == pytest.approx(found, abs=0.03)
    assert row_of(measured, "webp")["bd_rate"]["psnr"]["average"] < -0.1
    assert measured["bd_rate_matrix"]["jpeg-opt"]["jpeg"] == found
    assert measured["bd_rate_matrix"]["jpeg"]["jpeg-opt"] == pytest.approx(1 / (1 + found) - 1)


def test_bd_rates_of_single_pictures_and_their_mean(measured):
    single = row_of(measured, "jpeg-opt")["bd_rate"]["pictures"]
    assert single["count"] == 2
    assert single["mean"] == np.mean(single["bd_rate"])
    assert all(30 <= low < high <= 34 for low, high in single["span_db"])


def test_a_curve_that_does_not_reach_the_range_has_no_bd_rate_and_says_why(measured):
    other = json.loads(json.dumps(measured))
    rd_curves.add_bd_rates(other, "jpeg", (28.0, 60.0), (30.0, 85.0))
    found = row_of(other, "webp")["bd_rate"]
    assert found["psnr"]["average"] is None
    assert "28 to 60 expected" in found["psnr"]["why"]
    assert found["pictures"]["bd_rate"] == [None, None]
    other["config"]["options"]["psnr_range"] = [28.0, 60.0]
    assert "28 to 60 expected" in rd_table.as_text(other)
    # A little beyond the range, what both reach is given beside the reason.
    top = row_of(other, "webp")["points"][-1]["mean"]["psnr_db"]
    rd_curves.add_bd_rates(other, "jpeg", (30.0, top + 0.1), (30.0, 85.0))
    found = row_of(other, "webp")["bd_rate"]["psnr"]
    assert found["average"] is None
    assert found["span_db"] == [30.0, min(top, row_of(other, "jpeg")["points"][-1]["mean"]["psnr_db"])]
    assert f"({100 * found['shared']:+.1f} % over 30.00 to " in rd_table.as_text(other)


def test_the_file_nearest_to_a_rate_is_found(pictures):
    contender = codec_contender("webp")
    picture = pictures.pictures[0]
    sizes = [len(setting(f"webp-q{quality}").encode(picture.pixels)) for quality in range(1, 101)]
    wanted = picture.pixel_count / 8  # bytes of one bit per pixel
    for known in ({}, {20: sizes[19], 80: sizes[79]}):
        coded = at_rate(contender, picture, 1.0, known)
        assert abs(len(coded.data) - wanted) == min(abs(size - wanted) for size in sizes)
        assert len(coded.data) == sizes[coded.quality - 1]
    wanted = sizes[39]
    assert at_bytes(contender, picture, wanted).data == setting("webp-q40").encode(picture.pixels)
    assert len(at_bytes(contender, picture, wanted + 1).data) == min(s for s in sizes if s > wanted)
    assert at_rate(contender, picture, 1e-3).quality == 1
    assert at_rate(contender, picture, 100.0).quality == 100


def test_all_are_timed_at_one_rate_and_jpeg_q75_at_its_own(measured):
    rows = {row["label"]: row for row in measured["matched"]["rows"]}
    assert list(rows) == ["jpeg", "jpeg-opt", "webp", "jpeg-q75"]
    for label in ("jpeg", "jpeg-opt", "webp"):
        assert rows[label]["mean"]["bits_per_pixel"] == pytest.approx(1.0, rel=0.05)
        assert all(len(taken) >= 2 for taken in rows[label]["encode_ns"])
    assert rows["jpeg-q75"]["quality"] == [75, 75]
    assert all(len(taken) >= 2 for row in rows.values() for taken in row["decode_ns"]["1"])


def test_decoders_with_threads_are_timed_with_each_number(pictures):
    options = rd.Options(
        against=("jpeg", "avif"), qualities=QUALITIES, psnr_range=(30, 34), rounds=1, encode_rounds=1
    )
    found = rd.measure(rd.enter([], options)[0], pictures, options)
    rows = {row["label"]: row for row in found["matched"]["rows"]}
    assert list(rows["avif"]["decode_ns"]) == ["1", "2"]
    assert list(rows["jpeg"]["decode_ns"]) == ["1"]
    table = {(row[0], row[1]): row for row in rd_table.time_rows(found)}
    assert table["avif", "2"][rd_table.TIME_HEADERS.index("to AVIF")] == "1.00x"
    assert table["jpeg-q75", "1"][rd_table.TIME_HEADERS.index("to JPEG\nq75")] == "1.00x"


def test_a_codec_without_loss_has_no_bd_rate_and_no_infinity_in_the_record(pictures, tmp_path):
    lossless = PillowCodec("webp-lossless", ".webp", "WEBP", (1, 100), "", save_options=(("lossless", True),))
    contenders = [codec_contender("jpeg", QUALITIES), CodecEntry(lossless, (10, 50), "webp-lossless")]
    options = rd.Options(psnr_range=(30, 34), match_bpp=1.0, rounds=1, encode_rounds=1)
    found = rd.measure(contenders, pictures, options)
    assert row_of(found, "webp-lossless")["points"][0]["mean"]["psnr_db"] is None
    assert "0 points" in row_of(found, "webp-lossless")["bd_rate"]["psnr"]["why"]
    assert "exact" in rd_table.as_text(found)
    record.write(found, tmp_path / "rd.json")


def test_a_bundle_that_cannot_take_the_pictures_is_a_row_that_says_why(tiny, pictures):
    contenders, refused = rd.enter([Bundle.open(tiny)], OPTIONS)
    assert [one.label for one in contenders][-1].startswith("tiny ")
    found = rd.measure(contenders, pictures, OPTIONS, refused=refused)
    row = found["rows"][-1]
    assert "no quality" in row["refused"]
    assert row["points"] == []
    assert row["label"] not in found["bd_rate_matrix"]
    assert (row["label"], row["refused"]) in rd_table.missing(found)


def test_precisions_of_a_bundle_share_its_files_and_have_rows_of_their_own(tiny, tiny_copy):
    options = rd.Options(precisions=("int8", "float", "int4"))
    contenders, refused = rd.enter([Bundle.open(tiny)], options)
    labels = [one.label for one in contenders]
    assert labels == [*rd.AGAINST, "tiny int8", "tiny float"]
    assert contenders[-1].files == contenders[-2].files
    assert refused[0]["label"] == "tiny int4"
    assert "no graph synthesis int4" in refused[0]["refused"]
    assert bundle_contender(Bundle.open(tiny), "float", "openvino").facts["runtime"] == "openvino"
    # Two states of one bundle are told apart by their folders.
    again = tiny_copy.rename(tiny_copy.with_name("later"))
    contenders, _ = rd.enter([Bundle.open(tiny), Bundle.open(again)], rd.Options(precisions=("int8",)))
    assert [one.label for one in contenders][-2:] == ["tiny int8", "later int8"]
    with pytest.raises(BenchError, match="tiny int8 is asked for twice"):
        rd.enter([Bundle.open(tiny), Bundle.open(tiny)], rd.Options(precisions=("int8",)))


def test_a_codec_bundle_in_two_precisions(codec, pictures, tmp_path):
    options = replace(OPTIONS, against=("jpeg",), precisions=("int8", "float"), effort=0)
    contenders, refused = rd.enter([Bundle.open(codec)], options)
    assert refused == []
    found = rd.measure(contenders, pictures, options)
    name = Bundle.open(codec).name
    int8, whole = row_of(found, f"{name} int8"), row_of(found, f"{name} float")
    for a, b, quality in zip(int8["points"], whole["points"], QUALITIES, strict=True):
        assert a["bytes"] == b["bytes"]
        assert a["psnr_db"] != b["psnr_db"]
        data = Encoder(codec).encode(pictures.pictures[1].pixels, quality, effort=0)
        decoded = Decoder(codec, precision="float", threads=1).decode(data)
        assert b["bytes"][1] == len(data)
        assert b["psnr_db"][1] == metrics.psnr(pictures.pictures[1].pixels, decoded)
    times = {row["label"]: row for row in found["matched"]["rows"]}
    assert times[f"{name} int8"]["bytes"] == times[f"{name} float"]["bytes"]
    assert list(times[f"{name} int8"]["decode_ns"]) == ["1", "2"]
    rd_report.write(found, contenders, pictures, tmp_path, rd_report.Show("a"))
    assert (tmp_path / "side_by_side.png").exists()


def test_the_anchor_must_be_there(pictures):
    options = rd.Options(against=("webp",), qualities=QUALITIES)
    with pytest.raises(BenchError, match="the anchor 'jpeg' was not measured"):
        rd.measure(rd.enter([], options)[0], pictures, options)


def test_the_codecs_ladders_lie_within_their_qualities():
    for name in LADDERS:
        if name != "bundle":
            codec = codec_contender(name)
            low, high = codec.codec.qualities
            assert low <= min(codec.qualities) < max(codec.qualities) <= high
            assert len(codec.qualities) >= 8
    with pytest.raises(BenchError, match="no codec 'png' with a quality"):
        codec_contender("png")


def test_tables_hold_every_point(measured):
    points = list(csv.DictReader(rd_table.points_csv(measured).splitlines()))
    assert len(points) == 3 * 5 * 2
    last = points[-1]
    assert (last["picture"], last["codec"], last["quality"]) == ("b.png", "webp", "90")
    assert float(last["psnr_db"]) == row_of(measured, "webp")["points"][-1]["psnr_db"][1]
    single = list(csv.DictReader(rd_table.pictures_csv(measured).splitlines()))
    assert [float(line["bd_rate"]) for line in single][:2] == [0, 0]
    text = rd_table.as_markdown(measured)
    assert "decant bench rd" in text
    assert f"pillow {measured['versions']['pillow']}" in text
    assert f"{100 * row_of(measured, 'webp')['bd_rate']['psnr']['average']:+.1f} %" in text


def test_labels_keep_apart_and_in_order():
    assert rd_plots.spread([1.0, 2.0, 3.0], 0.5) == [1.0, 2.0, 3.0]
    assert rd_plots.spread([2.1, 1.0, 2.0], 0.5) == pytest.approx([2.3, 1.0, 1.8])
    places = rd_plots.spread([5.0, 5.0, 5.1, 5.4, 9.0], 1.0)
    assert all(b - a >= 1 - 1e-9 for a, b in pairwise(places))


def test_every_curve_is_named_in_the_figure(measured):
    for metric in ("psnr_db", "ms_ssim"):
        figure = rd_plots.draw(measured, metric)
        (axes,) = figure.axes
        assert {text.get_text() for text in axes.texts} == {"jpeg", "jpeg-opt", "webp"}


def test_side_by_side_is_one_detail_at_equal_bytes(pictures):
    picture = pictures.named("a")
    shown = panels(picture, codec_contender("jpeg"), codec_contender("webp"), 0.8)
    sizes = [int(panel.label.split(":")[1].split("bytes")[0].replace(",", "")) for panel in shown[1:]]
    assert sizes[1] <= sizes[0] <= 1.06 * sizes[1]
    assert f"{metrics.psnr(picture.pixels, shown[2].pixels):.2f} dB" in shown[2].label
    with pytest.raises(BenchError, match=r"no picture 'z'; there are a\.png, b\.png"):
        pictures.named("z")


def test_a_detail_is_enlarged_twice_pixel_by_pixel():
    ramp = np.zeros((200, 300, 3), np.uint8)
    ramp[..., 0] = np.arange(300) % 256
    sheet = np.asarray(draw([Panel("x", ramp), Panel("y", ramp)], (299, 0)))
    assert sheet.shape == (2 * 192 + 30, 4 * 192 + 8, 3)
    expected = ramp[:192, 108:].repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(sheet[30:, : 2 * 192], expected)


class Blurred:
    """A feature distance: the squared error of the pictures' means over 4x4 pixels."""

    name = "distance of means"

    def __call__(self, original: np.ndarray, decoded: np.ndarray) -> float:
        means = [
            picture[: len(picture) // 4 * 4, : picture.shape[1] // 4 * 4]
            .reshape(len(picture) // 4, 4, -1, 4, 3)
            .mean((1, 3))
            for picture in (original, decoded)
        ]
        return float(np.square(means[0] - means[1]).mean() / 255**2)


def test_a_feature_distance_is_measured_and_compared_beside(pictures, measured):
    contenders, _ = rd.enter([], OPTIONS)
    found = rd.measure(contenders[:2], pictures, replace(OPTIONS, match_bpp=0), distance=Blurred())
    jpeg = row_of(found, "jpeg")
    point = jpeg["points"][1]
    codec = codec_contender("jpeg", QUALITIES).codec
    decoded = [codec.decode(codec.encode(p.pixels, 20), 1) for p in pictures.pictures]
    expected = [Blurred()(p.pixels, other) for p, other in zip(pictures.pictures, decoded, strict=True)]
    assert point["feature_distance"] == expected
    assert point["mean"]["feature_distance"] == pytest.approx(np.mean(expected))
    assert jpeg["bd_rate"]["features"]["average"] == pytest.approx(0)
    optimised = row_of(found, "jpeg-opt")["bd_rate"]
    assert optimised["features"]["average"] == pytest.approx(optimised["ms_ssim"]["average"], abs=0.01)
    assert "distance of means" in rd_table.as_markdown(found)
    assert "features" in rd_table.bd_table(found).headers[-1]
    assert "feature_distance" in {metric for metric in rd_plots.TITLES if rd_plots.draw(found, metric)}
    # Nobody asked: no column, no figure.
    assert "features" not in row_of(measured, "jpeg")["bd_rate"]
    assert not any("features" in header for header in rd_table.bd_table(measured).headers)
    assert rd_plots.draw(measured, "feature_distance") is None


def test_the_command_writes_a_folder(pictures, tmp_path):
    (tmp_path / "in").mkdir()
    for picture in pictures.pictures:
        Image.fromarray(picture.pixels).save(tmp_path / "in" / picture.name)
    arguments = ["bench", "rd", "--images", tmp_path / "in", "--out", tmp_path / "out"]
    arguments += ["--against", "jpeg,webp", "--qualities", "5,20,45,70,90", "--psnr-range", "30,34"]
    arguments += ["--rounds", "1", "--encode-rounds", "1", "--show", "b.png", "--show-at", "60,60"]
    run = CliRunner().invoke(main, list(map(str, arguments)))
    assert run.exit_code == 0, run.output
    assert "averaged curve" in run.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "rd.json",
        "rd.md",
        "points.csv",
        "pictures.csv",
        "rd_ssimulacra2.png",
        "rd_ssimulacra2.svg",
        "rd_psnr_db.png",
        "rd_psnr_db.svg",
        "rd_ms_ssim.png",
        "rd_ms_ssim.svg",
        "side_by_side.png",
    }
    made = record.read(tmp_path / "out/rd.json", "rd")
    assert made["config"]["images"]["sizes"] == ["170x200", "200x176"]
    with Image.open(tmp_path / "out/side_by_side.png") as sheet:
        assert sheet.size == (3 * 2 * 170 + 2 * 8, 2 * 170 + 30)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--psnr-range", "38,28"], 2, "the larger number last"),
        (["--psnr-range", "38"], 2, "no pair of numbers"),
        (["--against", "png"], 1, "no codec 'png' with a quality"),
        (["--images", "/no/such/folder"], 1, "/no/such/folder is not a folder"),
        (["--show", "nothing.png"], 1, "no picture 'nothing.png'"),
        (["--bundle", "no-such-bundle"], 1, "model no-such-bundle is not here"),
    ],
)
def test_wrong_input_ends_in_one_line(tmp_path, arguments, code, message):
    run = CliRunner().invoke(main, ["bench", "rd", "--limit", "1", "--out", str(tmp_path), *arguments])
    assert run.exit_code == code
    assert message in run.stderr


def test_pictures_of_other_kinds_are_refused(tmp_path):
    Image.new("RGBA", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(Exception, match=r"a\.png: mode RGBA; 8-bit RGB or grey"):
        read_pictures(tmp_path)
    Image.new("L", (8, 4), 7).save(tmp_path / "a.png")
    (picture,) = read_pictures(tmp_path).pictures
    assert picture.pixels.shape == (4, 8, 3)


def test_curves_name_values_outside_them():
    made = curve("x", (1, 2, 3, 4), (30, 31, 32, 33))
    with pytest.raises(ValueError, match="x: 34 dB; 30 to 33 expected"):
        made.rate_at(34)
    with pytest.raises(ValueError, match="x: 5 bits per pixel; 1 to 4 expected"):
        made.value_at(5)
