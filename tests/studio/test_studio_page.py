"""The page Studio: compare at equal bytes, download, restore."""

import io

import decant
import numpy as np
import pytest
from decant.ssimulacra2 import ssimulacra2
from decant_bench.common import metrics
from PIL import Image


def pixels_of(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def test_the_page_offers_the_shipped_codecs(browser) -> None:
    page = browser.get("/")
    assert page.status_code == 200
    for word in ("lite", "full", "nano", "JPEG", "WebP", "AVIF"):
        assert f">{word}</option>" in page.text
    assert ">small</option>" not in page.text  # it decodes only


@pytest.fixture(scope="module")
def compared(browser, photo_png):
    job = browser.job("/api/compare?model=lite&mode=quality&value=50&effort=0&peer=jpeg", photo_png)
    assert job["state"] == "done", job
    return job


def test_a_picture_is_compared_at_equal_bytes(browser, compared, photo) -> None:
    figures = compared["figures"]
    ours, theirs = figures["codecs"]["decant"], figures["codecs"]["other"]
    assert (figures["width"], figures["height"]) == (192, 160)
    assert ours["bytes"] <= theirs["bytes"] <= 1.1 * ours["bytes"]
    assert ours["bits_per_pixel"] == pytest.approx(8 * ours["bytes"] / photo[..., 0].size)
    data = browser.file(compared, "file.dcn")
    assert len(data) == ours["bytes"]
    decoded = pixels_of(browser.file(compared, "decant.png"))
    assert np.array_equal(decoded, decant.decode(data))
    assert ours["psnr_db"] == pytest.approx(metrics.psnr(photo, decoded))
    assert ours["ssim"] == pytest.approx(metrics.ssim(photo, decoded))
    assert np.array_equal(pixels_of(browser.file(compared, "original.png")), photo)
    other = pixels_of(browser.file(compared, "other"))
    assert np.array_equal(other, pixels_of(browser.file(compared, "other.png")))
    error = pixels_of(browser.file(compared, "decant-error.png"))
    assert np.array_equal(error, metrics.error_picture(photo, decoded, figures["gain"]))


def test_ssimulacra2_is_that_of_the_runtime(browser, compared, photo) -> None:
    expected = ssimulacra2(photo, pixels_of(browser.file(compared, "decant.png")))
    assert compared["figures"]["codecs"]["decant"]["ssimulacra2"] == pytest.approx(expected)


def test_the_file_and_its_latents_give_the_same_picture_back(browser, compared) -> None:
    decoded = browser.file(compared, "decant.png")
    for name in ("file.dcn", "latents.npy"):
        job = browser.job("/api/restore", browser.file(compared, name))
        assert job["state"] == "done", job
        assert np.array_equal(pixels_of(browser.file(job, "picture.png")), pixels_of(decoded))
        assert job["figures"]["bytes"] == compared["figures"]["codecs"]["decant"]["bytes"]


def test_latents_are_a_record_that_numpy_reads_without_pickles(browser, compared) -> None:
    record = np.load(io.BytesIO(browser.file(compared, "latents.npy")), allow_pickle=False)
    assert record["latents"].shape == (256, 10, 12)
    assert record["model"].item() == b"lite"
    assert record["quality"] == 50


def test_changed_latents_change_the_picture(browser, compared) -> None:
    record = np.load(io.BytesIO(browser.file(compared, "latents.npy")))
    record["latents"][:, :5] = 0
    stream = io.BytesIO()
    np.save(stream, record)
    job = browser.job("/api/restore", stream.getvalue())
    before = pixels_of(browser.file(compared, "decant.png")).astype(int)
    after = pixels_of(browser.file(job, "picture.png"))
    assert np.abs(before[:64] - after[:64]).mean() > 3
    assert np.abs(before[112:] - after[112:]).mean() < 3


@pytest.mark.parametrize("peer", ["webp", "avif"])
def test_targets_hold_and_other_codecs_are_offered(browser, photo_png, peer) -> None:
    job = browser.job(f"/api/compare?mode=bpp&value=0.8&effort=0&peer={peer}", photo_png)
    assert job["state"] == "done", job
    codecs = job["figures"]["codecs"]
    assert codecs["decant"]["bits_per_pixel"] <= 0.8
    assert codecs["other"]["bytes"] >= codecs["decant"]["bytes"]


def test_a_grey_picture_with_transparency_is_flattened_and_said(browser, photo) -> None:
    image = Image.fromarray(photo).convert("LA").resize((48, 40))
    image.putalpha(128)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    job = browser.job("/api/compare?effort=0", stream.getvalue())
    assert job["state"] == "done", job
    assert "Transparency was placed on white." in job["figures"]["notes"]


def test_the_pixels_are_turned_upright(browser, photo) -> None:
    image, stream = Image.fromarray(photo), io.BytesIO()
    exif = image.getexif()
    exif[274] = 6
    image.save(stream, "JPEG", exif=exif)
    job = browser.job("/api/compare?effort=0", stream.getvalue())
    assert (job["figures"]["width"], job["figures"]["height"]) == (160, 192)


@pytest.mark.parametrize(
    "query",
    ["model=none", "mode=size", "value=0", "value=1e999", "value=x", "value=2.5", "effort=10", "peer=png"],
)
def test_settings_out_of_range_are_refused_in_words(browser, photo_png, query) -> None:
    answer = browser.post(f"/api/compare?{query}", photo_png)
    assert answer.status_code == 400
    assert answer.json["error"].endswith(".")
