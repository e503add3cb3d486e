"""The report as a page: complete, self-contained, and made from real measurements."""

import base64
import io
import json
import re
from pathlib import Path

import bundles
import numpy as np
import pytest
from decant.bundles.bundle import Bundle
from decant.decoder import Decoder
from decant.encoder import Encoder
from decant_bench.common import metrics, plots
from decant_bench.common.images import ImageSet
from decant_bench.common.pages import GAIN
from decant_bench.evaluate import quality, quality_table
from decant_bench.latency import table as latency_table
from decant_bench.report import render, write_report
from decant_train.data.wheel_photos import crops
from html_page import Page
from PIL import Image

LOG = [
    {"epoch": 1, "step": 4, "loss": 0.1067, "learning_rate": 0.003, "elapsed_s": 2.8},
    {"epoch": 2, "step": 8, "loss": 0.0933, "learning_rate": 0.003, "elapsed_s": 4.4},
    {"epoch": 3, "step": 12, "loss": 0.0884, "elapsed_s": 6.3, "psnr": 19.25, "ssim": 0.4625},
]


@pytest.fixture(scope="module")
def record(tiny):
    images = ImageSet(
        tuple(f"{i:02}.png" for i in range(8)), bundles.crops(200)[:8], "photos of scikit-image"
    )
    options = quality.Options(codecs=("jpeg-q10", "jpeg-q50", "jpeg-q90"), sample=3)
    return quality.measure([Bundle.open(tiny)], images, options, command="decant bench quality tiny")


@pytest.fixture(scope="module")
def pictures(tiny):
    encoder, decoder = Encoder(tiny), Decoder(tiny)
    return [
        (f"photo {i}", picture, decoder.decode(encoder.encode(picture)))
        for i, picture in enumerate(bundles.crops(200)[:3])
    ]


@pytest.fixture(scope="module")
def text(record, pictures, latency_record):
    return render(
        title="A report",
        command="make demo",
        training={"rows": LOG, "metrics": {"psnr": 19.25, "ssim": 0.4625}},
        pictures=pictures,
        latency=latency_record,
        quality=record,
    )


def test_nothing_is_fetched_from_anywhere(text):
    page = Page(text)
    assert page.sources
    for source in page.sources:
        assert source.startswith(("data:image/", "#"))
    assert {"script", "link", "iframe", "object", "base"}.isdisjoint(page.tags)
    assert not re.search(r"https?:|//[a-z]|@import", re.sub(r"data:image/[^\"]*", "", text))
    assert re.findall(r"url\((?!#)", text) == []


def test_every_tag_is_closed(text):
    assert Page(text).open == []


def test_references_within_the_page_lead_to_one_place_each(text):
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    targets = {source[1:] for source in Page(text).sources if source.startswith("#")}
    assert targets | set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)


def test_the_page_says_how_it_was_made(text, record):
    shown = Page(text).text
    for part in ("A report", "make demo", "decant bench quality tiny", record["versions"]["onnxruntime"]):
        assert part in shown
    assert str(record["machine"]["cores"]) in shown


def test_pictures_stand_beside_their_error_and_figures(text, pictures):
    images = [source for source in Page(text).sources if source.startswith("data:")]
    assert len(images) == 3 * len(pictures)
    name, original, decoded = pictures[1]
    shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))) for uri in images[3:6]]
    wanted = (original, decoded, metrics.error_picture(original, decoded, GAIN))
    for found, pixels in zip(shown, wanted, strict=True):
        assert found.shape == pixels.shape
        assert metrics.psnr(pixels, found) > 30
    page = Page(text).text
    figures = f"{metrics.psnr(original, decoded):.2f} dB, SSIM {metrics.ssim(original, decoded):.4f}"
    assert f"{name}: {figures}" in page
    assert f"difference times {GAIN}" in page


def test_quality_rows_and_the_published_ones_are_there(text, record):
    shown = Page(text).text
    for row in quality_table.quality_rows(record):
        assert all(cell in shown for cell in row)
    assert "small int8" in shown
    assert "Q > 0.99" in shown


def test_latency_rows_and_the_published_ratios_are_there(text, latency_record):
    shown = Page(text).text
    found = latency_table.figures(latency_record)
    assert len(found) >= 10
    for row in [*latency_table.decode_rows(found), *latency_table.load_rows(found)]:
        assert all(cell in shown for cell in row)
    assert "published: small float" in shown
    assert "decant bench latency tiny" in shown


def test_the_training_log_becomes_curves_and_its_last_figures(text):
    shown = Page(text).text
    assert "PSNR, dB" in shown
    assert "0.4625" in shown
    assert plots.training_svg([{"epoch": 1}]) is None


def test_ink_follows_the_colour_scheme(text):
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        assert "currentColor" in svg
        assert not re.search(r"#000000|#ffffff|\bblack\b|\bwhite\b", svg)


def test_text_from_outside_stays_text(record, pictures):
    hostile = "<script>alert(1)</script>"
    _, original, decoded = pictures[0]
    marked = json.loads(json.dumps(record))
    marked["rows"][0]["label"] = hostile
    page = Page(
        render(title=hostile, command=hostile, pictures=[(hostile, original, decoded)], quality=marked)
    )
    assert "script" not in page.tags
    assert hostile in page.text


def test_sections_without_data_are_left_out():
    shown = Page(render(title="Empty", command="none")).text
    assert "Empty" in shown
    for heading in ("Pictures", "Quality", "Latency", "Training", "How this was measured"):
        assert heading not in shown


def test_the_file_appears_whole_and_is_that_page(tmp_path: Path, pictures):
    path = write_report(tmp_path / "new" / "report.html", title="A", command="b", pictures=pictures)
    assert path.read_text(encoding="utf-8") == render(title="A", command="b", pictures=pictures)
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_a_noisy_error_picture_is_written_too():
    noise = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), np.uint8)
    assert "data:image/jpeg" in render(title="A", command="b", pictures=[("noise", *noise)])


def test_pictures_that_do_not_match_leave_no_file(tmp_path: Path):
    picture = crops(1, 64)[0]
    with pytest.raises(ValueError, match="cannot be compared"):
        write_report(
            tmp_path / "report.html", title="A", command="b", pictures=[("x", picture, picture[:32])]
        )
    assert list(tmp_path.iterdir()) == []
