"""The demo from pictures to page, with seconds of training and as few rounds as there can be."""

import dataclasses
import json
import os
import re

import pytest
from click.testing import CliRunner
from decant.bundles.bundle import Bundle, find_bundle
from decant_bench.common.pictures import wheel_pictures
from decant_bench.demo import __main__ as demo
from decant_bench.demo import measure, models, photos
from decant_bench.demo.measure import LATENCY, Pace
from decant_bench.demo.report import Demo, decode_ms, render
from decant_bench.errors import BenchError
from decant_bench.evaluate import quality
from html_page import Page
from PIL import Image

QUICK_LATENCY = dataclasses.replace(
    LATENCY,
    runtimes=("native", "onnxruntime"),
    rounds=1,
    min_samples=1,
    min_seconds=0.0,
    load_rounds=1,
    fresh_rounds=1,
)
QUICK = Pace(
    qualities=(10, 35, 60, 90),
    peer_qualities=(10, 35, 60, 90),
    rounds=1,
    export_pictures=8,
    shipped=("nano",),
    latency=QUICK_LATENCY,
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of seven small photographs."""
    folder = tmp_path_factory.mktemp("demo") / "pictures"
    folder.mkdir()
    for i, picture in enumerate(wheel_pictures(7).pictures):
        Image.fromarray(picture.pixels[:208, :224]).save(folder / f"photo {i}.png")
    return folder


@pytest.fixture(scope="module")
def held(pictures):
    return photos.split(pictures, pictures.parent / "training").held


@pytest.fixture(scope="module")
def rates(held, codec):
    bundles = [Bundle.open(codec), find_bundle("nano")]
    return measure.rates(bundles, held, QUICK, "make demo", lambda line: None)


@pytest.fixture(scope="module")
def times(held, codec):
    squares = photos.squares(held)
    return measure.times(
        [Bundle.open(codec)], find_bundle("nano"), squares, QUICK, "make demo", lambda line: None
    )


@pytest.fixture(scope="module")
def text(rates, times, held, tiny, crops16):
    """The page: `nano` in the place of what is trained, a tiny bundle in that of the set autoencoder."""
    looks = quality.measure(
        [Bundle.open(tiny)], crops16, quality.Options(codecs=("jpeg-q50", "jpeg-q90")), command="make demo"
    )
    shown = [rates.equal_bytes(one, index) for index, one in enumerate(held.pictures)]
    parts = {"rates": rates.record, "times": times, "quality": looks, "pictures": shown}
    log = [{"step": 120, "loss": 0.1}]
    return render(Demo(command="make demo", fresh="nano", minutes=2.1, codec_log=log, set_log=[], **parts))


def test_what_is_measured_was_not_trained_on(held, pictures):
    assert len(held) == photos.HELD
    trained = {int(path.stem) for path in (pictures.parent / "training").glob("*.png")}
    assert len(trained) == 7 - photos.HELD
    assert set(held.names).isdisjoint({f"photo {number}.png" for number in trained})


def test_every_codec_has_ssimulacra2_and_a_time_at_equal_bytes(rates):
    labels = [row["label"] for row in rates.record["rows"]]
    assert labels[:2] == ["jpeg", "avif"]
    assert [label.split()[0] for label in labels[2:]] == ["codec", "nano"]
    assert all(None not in point["ssimulacra2"] for row in rates.record["rows"] for point in row["points"])
    assert set(labels) <= decode_ms(rates.record).keys()


def test_the_cold_start_of_every_decoder_is_timed(times):
    measured = [row for row in times["rows"] if row["refused"] is None]
    assert {row["subject"]["name"] for row in measured} == {"codec", "nano", "jpeg-q75", "avif-q60"}
    assert {row["subject"]["precision"] for row in measured} >= {"float", "int8", "int16"}
    for row in measured:
        (cold,) = row["cold_process_ns"]
        assert cold > row["import_ns"][0] + row["fresh_load_ns"][0] + row["first_decode_ns"][0]


def test_the_page_fetches_nothing(text):
    page = Page(text)
    assert page.open == []
    assert not [source for source in page.sources if not source.startswith(("data:", "#"))]
    assert not re.search(r"https?:|@import|fetch\(|XMLHttp", re.sub(r"data:image/[^\"]*", "", text))
    assert "prefers-color-scheme: dark" in text


def test_the_split_view_has_every_codec_at_about_equal_bytes(text, rates):
    data = re.search(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    pictures = json.loads(data[1])
    assert len(pictures) == photos.HELD
    for picture in pictures:
        labels = [panel["label"] for panel in picture["panels"]]
        assert labels == ["original", "JPEG", "AVIF", "decant codec", "decant nano"]
        assert all(panel["source"].startswith("data:image/jpeg") for panel in picture["panels"])
        assert picture["width"] == 224


def test_the_page_says_what_was_measured_and_how(text, rates):
    shown = Page(text).text
    for part in ("make demo", "SSIMULACRA2", "tune iq", "cold start", "published", "120 steps", "Q > 0.99"):
        assert part.lower() in shown.lower()


def test_text_from_outside_stays_text(rates, times, tiny, crops16):
    looks = quality.measure([Bundle.open(tiny)], crops16, quality.Options(codecs=("jpeg-q50", "jpeg-q90")))
    hostile = "<script>alert(1)</script>"
    page = Page(render(Demo(hostile, hostile, [], rates.record, times, looks, 1.0, [], [{"epoch": hostile}])))
    assert page.tags.count("script") == 2  # the two of the page itself
    assert hostile in page.text


@pytest.mark.skipif("DECANT_TEST_DEMO" not in os.environ, reason="minutes: set DECANT_TEST_DEMO=1 to run it")
def test_the_whole_demo(pictures, tmp_path):
    """Training, export, measurement and page, with seconds of training, in a folder that held something."""
    out = tmp_path / "out"
    (out / "photos").mkdir(parents=True)
    (out / "photos" / "stale.png").write_bytes(b"of an earlier demo")
    (out / "mine.txt").write_text("not of a demo")
    page = demo.run(out, pictures, 0.06, "make demo", QUICK)
    for name, precisions in ((models.NAME, {"float", "int8", "int16"}), (models.SET, {"float", "int8"})):
        bundle = Bundle.open(out / "bundles" / name)
        bundle.verify()
        assert {graph.precision for graph in bundle.graphs if graph.role == "synthesis"} == precisions
    assert models.NAME in Page(page.read_text()).text
    assert not (out / "photos" / "stale.png").exists()
    assert (out / "mine.txt").read_text() == "not of a demo"


def test_too_few_pictures_are_refused(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "one.png")
    with pytest.raises(BenchError, match=f"{photos.HELD + 1} or more"):
        photos.split(tmp_path, tmp_path / "out")


def test_a_step_that_fails_ends_it_with_one_line_and_code_1(tmp_path):
    run = CliRunner().invoke(demo.main, ["--images", str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    assert run.exit_code == 1
    assert run.stderr.splitlines()[-1].startswith("decant: ")
    assert "none" in run.stderr.splitlines()[-1]
    assert not (tmp_path / "out" / "report.html").exists()
