"""``decant evaluate``: a page for bundles of one picture size and for codecs; its figures made again here."""

import base64
import csv
import io
import json
import re
from pathlib import Path

import bundles
import numpy as np
import pytest
from click.testing import CliRunner
from decant.commands.cli import main
from decant.decoder import Decoder
from decant.encoder import Encoder
from decant.errors import DecantError
from decant_bench.common import metrics, pages, record
from decant_bench.common.baselines import CODECS
from decant_bench.common.pages import Section
from decant_bench.common.pictures import Picture, PictureSet
from decant_bench.evaluate import measure as evaluate
from decant_bench.evaluate import report as evaluate_report
from decant_bench.evaluate import table as evaluate_table
from decant_bench.evaluate.cli import evaluate as command
from html_page import Page
from PIL import Image

COUNT = 14
ROOT = Path(__file__).parents[3]


def run(*arguments):
    """The command itself: how `decant` finds it is in pyproject.toml, which test_reproduce.py reads."""
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for index, pixels in enumerate(bundles.crops(200)[:COUNT]):
        Image.fromarray(pixels).save(folder / f"{index:02}.png")
    return folder


@pytest.fixture(scope="module")
def made(tiny, photos, tmp_path_factory):
    """(the page's text, the record) of the tiny bundle."""
    folder = tmp_path_factory.mktemp("out")
    done = run(tiny, "--images", photos, "--jpeg", "10,50,90", "--precision", "int8",
               "--json", folder / "r.json", "--out", folder / "r.html")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "tiny int8" in done.stdout
    return (folder / "r.html").read_text(), record.read(folder / "r.json", "evaluation")


def downloads(text: str) -> dict[str, str]:
    links = re.findall(r'download="([^"]+)" href="data:[^;]+;base64,([^"]+)"', text)
    return {name: base64.b64decode(data).decode() for name, data in links}


def test_the_figures_are_those_of_the_decoded_files(tiny, made):
    _, found = made
    (point,) = found["rows"][0]["points"]
    encoder, decoder = Encoder(tiny), Decoder(tiny, precision="int8", threads=1)
    assert len(found["pictures"]) == COUNT
    for index, pixels in enumerate(bundles.crops(200)[:COUNT]):
        data = encoder.encode(pixels)
        decoded = decoder.decode(data)
        assert point["bytes"][index] == len(data)
        assert point["psnr_db"][index] == pytest.approx(metrics.psnr(pixels, decoded))
        assert point["ssim"][index] == pytest.approx(metrics.ssim(pixels, decoded))
        assert point["ms_ssim"][index] is None
    assert point["mean"]["psnr_db"] == pytest.approx(np.mean(point["psnr_db"]))
    assert point["mean"]["ms_ssim"] is None
    assert [point["quality"] for point in found["rows"][1]["points"]] == [10, 50, 90]


def test_the_page_fetches_nothing_and_its_pictures_decode(made):
    text, _ = made
    page = Page(text)
    assert page.open == []
    assert {"script", "link", "iframe", "object", "base"}.isdisjoint(page.tags)
    assert all(source.startswith(("data:", "#")) for source in page.sources)
    images = [source for source in page.sources if source.startswith("data:image/")]
    assert len(images) == 3 * (6 + 10)
    for source in images:
        with Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))) as image:
            image.load()
            assert image.size == (bundles.SIDE, bundles.SIDE)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert text.count("<svg") == 2


def test_the_worst_ten_are_the_worst_in_order(made):
    text, found = made
    psnr = found["rows"][0]["points"][0]["psnr_db"]
    rows = evaluate_table.worst_rows(found)
    assert [float(row[3]) for row in rows] == [round(value, 2) for value in sorted(psnr)[:10]]
    shown = Page(text).text
    assert "The worst ten: tiny int8" in shown
    for row in rows:
        assert all(cell in shown for cell in row)


def test_the_downloads_hold_the_record(made):
    text, found = made
    files = downloads(text)
    assert json.loads(files["evaluation.json"]) == found
    lines = list(csv.DictReader(io.StringIO(files["pictures.csv"])))
    assert len(lines) == COUNT * 4
    point = found["rows"][0]["points"][0]
    assert [float(line["psnr_db"]) for line in lines[:COUNT]] == point["psnr_db"]
    means = list(csv.DictReader(io.StringIO(files["means.csv"])))
    assert [line["codec"] for line in means] == ["tiny int8", "jpeg", "jpeg", "jpeg"]
    assert float(means[0]["bytes"]) == point["mean"]["bytes"]


def test_a_codec_takes_whole_pictures_at_several_qualities(codec, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, (height, width) in {"a": (60, 90), "b": (48, 40)}.items():
        pixels = np.asarray(Image.fromarray(bundles.crops(4)[0]).resize((width, height)))
        Image.fromarray(pixels).save(folder / f"{name}.png")
    done = run(codec, "--images", folder, "--quality", "20,80", "--jpeg", "30,60,90",
               "--json", tmp_path / "r.json", "--out", tmp_path / "r.html")  # fmt: skip
    assert done.exit_code == 0, done.output
    found = record.read(tmp_path / "r.json", "evaluation")
    low, high = found["rows"][0]["points"]
    assert (low["quality"], high["quality"]) == (20, 80)
    assert low["mean"]["bytes"] < high["mean"]["bytes"]
    assert low["mean"]["psnr_db"] < high["mean"]["psnr_db"]
    assert [(p["width"], p["height"]) for p in found["pictures"]] == [(90, 60), (40, 48)]
    assert "q80" in Page((tmp_path / "r.html").read_text()).text  # the middle of two is the upper


def test_ready_files_serve_a_bundle_without_encoder(tiny_copy, photos, tmp_path):
    encoder = Encoder(tiny_copy)
    for path in photos.glob("*.png"):
        with Image.open(path) as image:
            (tmp_path / f"{path.stem}.dcn").write_bytes(encoder.encode(image))
    for path in tiny_copy.glob("analysis*"):
        path.unlink()  # its manifest still names it: only ready files can be used
    done = run(tiny_copy, "--images", photos, "--archive", tmp_path, "--jpeg", "50",
               "--out", tmp_path / "r.html")  # fmt: skip
    assert done.exit_code == 0, done.output


def test_exact_pictures_have_no_psnr_and_are_counted():
    pictures = PictureSet(
        tuple(Picture(f"{i}", pixels) for i, pixels in enumerate(bundles.crops(3))), "photos"
    )
    png = CODECS["png"]
    facts = dict.fromkeys(("name", "version", "family", "runtime", "runtime_version"), "png")
    facts |= {"requested_device": "cpu", "device": "cpu", "model_id": "0" * 64, "decoder_bytes": 0}
    coder = evaluate.Coder(
        "png", (None,), lambda i, picture, quality: png.encode(picture.pixels, None), png.decode, facts
    )
    options = evaluate.Options(jpeg=(50,))
    found = evaluate.measure([coder, evaluate.jpeg_coder((50,))], pictures, options, command="test")
    assert found["rows"][0]["points"][0]["psnr_db"] == [None] * 3
    assert found["rows"][0]["points"][0]["mean"]["ssim"] == 1
    assert evaluate_table.mean_rows(found)[0][-1] == "3"
    assert "exact" in Page(evaluate_report.render(found, coder, pictures)).text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{tiny}", "--quality", "50"], 1, "has no qualities"),
        (["{codec}", "--archive", "{tiny}"], 1, "encodes pictures itself; leave --archive out"),
        (["{codec}", "--quality", "101"], 2, "1 to 100 expected"),
        (["no-such-bundle"], 1, "no-such-bundle is not here"),
        (["{tiny}", "--images", "/no/such/folder"], 1, "is not a folder"),
    ],
)
def test_wrong_input_is_said(tiny, codec, tmp_path, arguments, code, message):
    places = {"{tiny}": tiny, "{codec}": codec}
    given = [str(places.get(argument, argument)) for argument in arguments]
    done = run(*given, "--limit", "2", "--out", tmp_path / "r.html")
    if code == 2:
        assert done.exit_code == 2
    else:  # DecantError, which the group turns into one line
        assert isinstance(done.exception, DecantError)
    assert message in done.stderr + str(done.exception)
    assert not (tmp_path / "r.html").exists()


def test_large_pictures_show_their_middle():
    pixels = np.zeros((800, 40, 3), np.uint8)
    pixels[16:784] = 200
    shown = pages.compared("a", pixels, pixels, "b")
    with Image.open(io.BytesIO(base64.b64decode(shown["decoded"].split(",")[1]))) as image:
        assert image.size == (40, 768)
        assert np.asarray(image).min() > 190
    assert "middle of 40x800" in shown["caption"]


def test_text_from_outside_stays_text():
    hostile = '<script>alert(1)</script>"'
    section = Section(hostile, notes=[hostile], tables=[pages.Table((hostile,), [(hostile,)])],
                      downloads=[pages.download("a.csv", hostile, hostile)])  # fmt: skip
    page = Page(pages.sections_page(hostile, hostile, [section], facts=[(hostile, hostile)]))
    assert "script" not in page.tags
    assert hostile in page.text


def test_the_example_of_the_documentation_runs(tmp_path, monkeypatch):
    bundles.build(tmp_path / "bundles" / "small", name="small", openvino=False)
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/evaluate.md").read_text(), re.DOTALL)
    exec(example, {})
    assert Page((tmp_path / "small.html").read_text()).open == []


def test_the_bundle_is_found_by_name_through_the_command_line(tiny, photos, tmp_path):
    """In the group, where errors become one line."""
    if "evaluate" not in main.list_commands(None):  # type: ignore[arg-type]
        pytest.skip("installed before the command was there: pip install -e . again")
    arguments = ["evaluate", "tiny", "--bundle-dir", str(tiny), "--images", str(photos), "--limit", "2"]
    done = CliRunner().invoke(main, [*arguments, "--jpeg", "50", "--out", str(tmp_path / "r.html")])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(main, [*arguments, "--quality", "5", "--out", str(tmp_path / "r.html")])
    assert done.exit_code == 1
    assert done.stderr.startswith("decant: ")
    assert done.stderr.count("\n") == 1
