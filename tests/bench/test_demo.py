"""The demo from pictures to page, with seconds of training and as few rounds as there can be."""

import dataclasses
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from decant.bundles.bundle import Bundle
from decant_bench.common import record
from decant_bench.common.pictures import wheel_pictures
from decant_bench.demo import __main__ as demo
from decant_bench.demo import models, photos
from decant_bench.demo.measure import LATENCY, Pace
from decant_bench.errors import BenchError
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
def finished(tmp_path_factory):
    """A demo on seven small pictures, in a folder that held something before."""
    place = tmp_path_factory.mktemp("demo")
    pictures, out = place / "pictures", place / "out"
    pictures.mkdir()
    for i, picture in enumerate(wheel_pictures(7).pictures):
        Image.fromarray(picture.pixels[:256, :272]).save(pictures / f"photo {i}.png")
    (out / "photos").mkdir(parents=True)
    (out / "photos" / "stale.png").write_bytes(b"of an earlier demo")
    (out / "mine.txt").write_text("not of a demo")
    page = demo.run(out, pictures, 0.06, "python -m decant_bench.demo --images pictures", QUICK)
    assert page == out / "report.html"
    return out


def test_it_leaves_both_bundles_in_their_precisions(finished):
    for name, precisions in ((models.NAME, {"float", "int8", "int16"}), (models.SET, {"float", "int8"})):
        bundle = Bundle.open(finished / "bundles" / name)
        bundle.verify()
        assert {graph.precision for graph in bundle.graphs if graph.role == "synthesis"} == precisions
    runtimes = {graph.runtime for graph in Bundle.open(finished / "bundles" / models.NAME).graphs}
    assert {"onnxruntime", "native"} <= runtimes


def test_it_measures_on_pictures_that_were_not_trained_on(finished):
    rates = record.read(finished / "rates.json", "rd")
    held = {picture["name"] for picture in rates["pictures"]}
    assert len(held) == photos.HELD
    trained = {int(path.stem) for path in (finished / "photos").glob("*.png")}
    assert len(trained) == 7 - photos.HELD
    assert held.isdisjoint({f"photo {number}.png" for number in trained})
    labels = [row["label"] for row in rates["rows"] if row["refused"] is None]
    assert labels[:2] == ["jpeg", "avif"]
    assert {label.split()[0] for label in labels[2:]} == {"nano", models.NAME}
    assert all(None not in point["ssimulacra2"] for row in rates["rows"] for point in row["points"])


def test_it_times_the_cold_start_of_every_decoder(finished):
    rows = record.read(finished / "times.json", "latency")["rows"]
    measured = [row for row in rows if row["refused"] is None]
    assert {row["subject"]["name"] for row in measured} == {"nano", models.NAME, "jpeg-q75", "avif-q60"}
    for row in measured:
        (cold,) = row["cold_process_ns"]
        assert cold > row["import_ns"][0] + row["fresh_load_ns"][0] + row["first_decode_ns"][0]


def test_its_page_fetches_nothing_and_shows_pictures_at_equal_bytes(finished):
    text = (finished / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert not [source for source in page.sources if not source.startswith(("data:", "#"))]
    assert not re.search(r"https?:|@import|fetch\(|XMLHttp", re.sub(r"data:image/[^\"]*", "", text))
    data = re.search(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    pictures = json.loads(data[1])
    assert len(pictures) == photos.HELD
    for picture in pictures:
        sizes = [int(panel["caption"].split()[0].replace(",", "")) for panel in picture["panels"][1:]]
        assert max(sizes) < 1.5 * np.median(sizes)
    for part in (
        "python -m decant_bench.demo --images pictures",
        "Set autoencoder",
        "published",
        "SSIMULACRA2",
    ):
        assert part.lower() in page.text.lower()


def test_it_cleans_up_after_an_earlier_demo_and_nothing_else(finished):
    assert not (finished / "photos" / "stale.png").exists()
    assert (finished / "mine.txt").read_text() == "not of a demo"


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
