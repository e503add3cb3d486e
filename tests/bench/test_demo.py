"""The demo from pictures to report, with seconds of training and as few rounds as there can be."""

import dataclasses
import re

import pytest
from click.testing import CliRunner
from decant.bundles.bundle import Bundle
from decant_bench import demo
from decant_bench.common import record
from decant_train.data.wheel_photos import crops
from PIL import Image

QUICK = dataclasses.replace(
    demo.LATENCY,
    threads=(1,),
    runtimes=("onnxruntime",),
    codecs=("jpeg-q90", "png"),
    rounds=1,
    min_samples=1,
    min_seconds=0.0,
    visit_ms=1.0,
    load_rounds=1,
    batch_rounds=1,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A demo on ten pictures, in a folder that held something before."""
    place = tmp_path_factory.mktemp("demo")
    pictures, out = place / "pictures", place / "out"
    pictures.mkdir()
    for i, pixels in enumerate(crops(10, 256)):
        Image.fromarray(pixels).save(pictures / f"photo {i}.png")
    (out / "decoded").mkdir(parents=True)
    (out / "decoded" / "stale.png").write_bytes(b"of an earlier demo")
    (out / "mine.txt").write_text("not of a demo")
    report = demo.run(out, pictures, 0.05, "python -m decant_bench.demo --images pictures", QUICK)
    assert report == out / "report.html"
    return out


def test_it_leaves_a_bundle_an_archive_and_pictures(finished):
    bundle = Bundle.open(finished / "bundles" / "small")
    bundle.verify()
    assert {graph.role for graph in bundle.graphs} == {"synthesis", "analysis", "denoiser"}
    names = {f"photo {i}" for i in range(10)}
    assert {path.stem for path in (finished / "archive").glob("*.dcn")} == names
    assert {path.stem for path in (finished / "decoded").glob("*.png")} == names


def test_it_measures_with_and_without_the_denoiser(finished):
    for kind in ("latency", "quality"):
        rows = record.read(finished / f"{kind}.json", kind)["rows"]
        measured = [row for row in rows if row["refused"] is None and row["subject"]["kind"] == "model"]
        assert {row["subject"]["denoise"] for row in measured} == {False, True}
        assert {"float", "int8"} <= {row["subject"]["precision"] for row in measured}


def test_its_report_fetches_nothing_and_says_how_it_was_made(finished):
    page = (finished / "report.html").read_text()
    assert not re.search(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//""", page)
    assert page.count("data:image/") >= 3
    assert "python -m decant_bench.demo --images pictures" in page


def test_it_cleans_up_after_an_earlier_demo_and_nothing_else(finished):
    assert not (finished / "decoded" / "stale.png").exists()
    assert (finished / "mine.txt").read_text() == "not of a demo"


def test_a_step_that_fails_ends_it_with_one_line_and_code_1(tmp_path):
    run = CliRunner().invoke(demo.main, ["--images", str(tmp_path / "none"), "--out", str(tmp_path / "out")])
    assert run.exit_code == 1
    assert run.stderr.splitlines()[-1].startswith("decant: ")
    assert "none" in run.stderr.splitlines()[-1]
    assert not (tmp_path / "out" / "report.html").exists()
