"""``decant bench`` from the command line, on the tiny bundle."""

import json

import pytest
from click.testing import CliRunner
from decant.commands.cli import main
from decant_bench.common import record
from decant_bench.common.pictures import wheel_crops
from decant_bench.latency import cli as latency_cli
from decant_bench.latency import compare, compare_cli, ratios
from decant_bench.latency import measure as latency
from PIL import Image

FAST = ["--codecs", "jpeg-q90,png", "--limit", "3"]
ONCE = ["--threads", "1", "--runtime", "onnxruntime", "--rounds", "1", "--load-rounds", "1"]
ONCE += ["--fresh-rounds", "1", "--min-samples", "1", "--min-seconds", "0"]


def bench(*arguments):
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


@pytest.fixture
def photos(tmp_path, crops16):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, pixels in zip(crops16.names, crops16.pixels, strict=True):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def test_latency_prints_a_table_and_writes_a_record(tiny, photos, tmp_path):
    out = tmp_path / "out.json"
    run = bench("latency", tiny, "--images", photos, *FAST, *ONCE, "--json", out)
    assert run.exit_code == 0, run.output
    assert "tiny int8" in run.stdout
    assert "jpeg-q90" in run.stdout
    made = record.read(out, "latency")
    assert made["config"]["images"]["count"] == 3
    assert {row["subject"]["runtime"] for row in made["rows"]} == {"", "onnxruntime"}
    assert made["machine"]["cpu"] is None or isinstance(made["machine"]["cpu"], str)
    assert made["versions"]["onnxruntime"]


def test_a_run_with_every_variant_refused_fails(tiny, photos, tmp_path):
    out = tmp_path / "out.json"
    run = bench("latency", tiny, "--images", photos, *FAST, *ONCE, "--device", "npu", "--json", out)
    assert run.exit_code == 1
    assert record.read(out, "latency")["rows"]
    assert "variants could be measured; the first, tiny " in run.stderr
    assert "no NPU here" in run.stderr.splitlines()[-1]
    run = bench(
        "rd", "--bundle", tiny, "--images", photos, "--against", "jpeg", "--match", "0", "--out", tmp_path
    )
    assert run.exit_code == 1
    assert "none of 1 variants could be measured; the first, tiny" in run.stderr


def test_quality_prints_a_table_writes_a_record_and_draws(tiny, photos, tmp_path):
    out, plot = tmp_path / "out.json", tmp_path / "plot.svg"
    run = bench("quality", tiny, "--images", photos, *FAST, "--json", out, "--plot", plot)
    assert run.exit_code == 0, run.output
    assert "tiny int8" in run.stdout
    assert len(record.read(out, "quality")["rows"]) >= 4
    assert "<svg" in plot.read_text()


def test_a_codec_of_any_picture_size_is_measured_on_squares(codec, tmp_path):
    photo = wheel_crops(1, 512).pixels[0]
    (tmp_path / "photos").mkdir()
    Image.fromarray(photo).save(tmp_path / "photos/a.png")
    arguments = [codec, "--images", tmp_path / "photos", "--codecs", "png", "--runtime", "onnxruntime"]
    run = bench("quality", *arguments)
    assert run.exit_code == 0, run.output
    assert "1 images of 512x512" in run.stdout
    run = bench("latency", *arguments, *ONCE)
    assert run.exit_code == 0, run.output
    assert "codec int8" in run.stdout


def test_without_a_folder_the_pictures_come_from_the_wheels(tiny):
    run = bench("quality", tiny, *FAST)
    assert run.exit_code == 0, run.output
    assert "photos in the wheels" in run.stdout


def test_ready_files_are_used_for_a_bundle(tiny, photos, tmp_path):
    folder = tmp_path / "dcn"
    assert CliRunner().invoke(main, ["encode", str(photos), str(folder), "--model", str(tiny)]).exit_code == 0
    run = bench("quality", tiny, "--images", photos, "--archive", folder, "--codecs", "png")
    assert run.exit_code == 0, run.output
    (folder / "00001.dcn").unlink()
    run = bench("quality", tiny, "--images", photos, "--archive", folder, "--codecs", "png")
    assert run.exit_code == 1
    assert "00001.dcn: no such file" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["latency", "{tiny}", "--codecs", "gif"], "no codec 'gif'"),
        (["latency", "{tiny}", "--codecs", "jpeg-q101"], "quality 1 to 100 expected"),
        (["latency", "{tiny}", "--codecs", "png-q5"], "png has no quality"),
        (["latency", "{tiny}", "--threads", "0"], "numbers from 1 on expected"),
        (["latency", "{tiny}", "--threads", "one"], "no list of whole numbers"),
        (["latency", "{tiny}", "--runtime", "tensorrt"], "'tensorrt' is unknown"),
        (["quality"], "Missing argument"),
    ],
)
def test_wrong_usage_ends_with_code_2(tiny, arguments, message):
    run = bench(*(str(tiny) if argument == "{tiny}" else argument for argument in arguments))
    assert run.exit_code == 2
    assert message in run.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["latency", "no-such-bundle"], "model no-such-bundle is not here"),
        (["latency", "{tiny}", "--images", "/no/such/folder"], "/no/such/folder is not a folder"),
        (["quality", "{tiny}", "--images", "{broken}"], "not an image in a format that decant reads"),
        (["compare", "a.json", "b.json"], "a.json: cannot be read"),
    ],
)
def test_wrong_input_ends_in_one_line_with_code_1(tiny, tmp_path, arguments, message):
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    places = {"{tiny}": tiny, "{broken}": tmp_path}
    run = bench(*(places.get(argument, argument) for argument in arguments))
    assert run.exit_code == 1
    assert run.stderr.startswith("decant: ")
    assert message in run.stderr
    assert run.stderr.count("\n") == 1


def test_what_the_command_repeats_is_what_the_library_has():
    assert compare_cli.METRICS == compare.METRICS
    assert compare_cli.RATIO_METRICS == ratios.METRICS
    assert latency.Options().runtimes == latency_cli.RUNTIMES


def test_a_comparison_from_the_command_line(latency_record, tmp_path):
    record.write(latency_record, tmp_path / "a.json")
    run = bench("compare", tmp_path / "a.json", tmp_path / "a.json", "--metric", "load", "--json")
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert found["metric"] == "load"
    assert all(line["change"]["ratio"] == 1 for line in found["lines"])
