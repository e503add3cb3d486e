"""The page Published systems: vectors of digits and of the set and back, K-means with k."""

import io

import decant
import numpy as np
import pytest
from conftest import png_of
from decant_bench.common import metrics, palettes
from PIL import Image


def pixels_of(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def round_trip(browser, query: str, data: bytes, vector_shape: tuple[int, ...]):
    """Compress, and decompress both files; the vector and the job."""
    job = browser.job(f"/api/compress?{query}", data)
    assert job["state"] == "done", job
    vector = np.load(io.BytesIO(browser.file(job, "latents.npy")), allow_pickle=False)
    assert vector.shape == vector_shape
    assert vector.dtype == np.float32
    decoded = pixels_of(browser.file(job, "decoded.png"))
    for name in ("latents.npy", "file.dcn"):
        back = browser.job(f"/api/decompress?{query}", browser.file(job, name))
        assert back["state"] == "done", back
        assert np.array_equal(pixels_of(browser.file(back, "picture.png")), decoded)
    return vector, job


def test_the_page_offers_the_shipped_set(browser) -> None:
    page = browser.get("/published")
    assert page.status_code == 200
    assert "set: small, 256×256" in page.text
    assert "decant reproduce digits" in page.text


def test_a_picture_of_the_set_is_found_through_the_decoder_alone(browser) -> None:
    """The shipped bundle has no encoder. The vector found gives what the set's own file gives, or nearly."""
    from decant_train.data import wheel_photos

    picture = wheel_photos.crops(64, 256)[40]
    _, job = round_trip(browser, "system=small", png_of(picture), (16,))
    known = decant.open("artifacts/sets/small/00040.dcn")
    assert job["figures"]["psnr_db"] > metrics.psnr(picture, known) - 0.2
    assert job["figures"]["bytes"] == 32
    assert "searched" in job["figures"]["notes"][0]


def test_a_bundle_with_an_encoder_encodes(make_browser, tiny, photo_png) -> None:
    browser = make_browser(bundle_dir=tiny.parent)
    _, job = round_trip(browser, "system=tiny", photo_png, (24,))
    assert job["figures"]["psnr_db"] > 20


def test_digits_go_through_28_numbers(make_browser, trained_digits, digit) -> None:
    browser = make_browser(bundle_dir=trained_digits)
    assert "digits: digits, 28×28" in browser.get("/published").text
    vector, job = round_trip(browser, "system=digits", png_of(digit), (28,))
    assert job["figures"]["psnr_db"] > 10
    assert (vector >= 0).all()
    assert (vector <= 1).all()
    _, denoised = round_trip(browser, "system=digits&denoise=1", png_of(digit), (28,))
    assert browser.file(denoised, "decoded.png") != browser.file(job, "decoded.png")
    paper, _ = round_trip(browser, "system=digits", png_of(255 - digit), (28,))
    assert np.array_equal(paper, vector)  # dark on light is inverted


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros(17, np.float32), "(16,)"),
        (np.full(16, np.nan, np.float32), "not finite"),
        (np.zeros(16, "U3"), "(16,)"),
        (np.zeros(16, complex), "(16,)"),
    ],
)
def test_vectors_that_do_not_fit_are_refused_in_words(browser, array, words) -> None:
    job = browser.job("/api/decompress?system=small", npy(array))
    assert (job["state"], job["status"]) == ("failed", 400)
    assert words in job["error"]


def test_whole_numbers_and_a_batch_of_one_are_taken(browser) -> None:
    job = browser.job("/api/decompress?system=small", npy(np.zeros((1, 16), np.int8)))
    assert job["state"] == "done", job


def test_kmeans_gives_k_colours_their_size_and_the_elbow(browser, photo, photo_png) -> None:
    job = browser.job("/api/kmeans?k=5", photo_png)
    assert job["state"] == "done", job
    figures, data = job["figures"], browser.file(job, "kmeans.png")
    result = pixels_of(data)
    palette, indices = palettes.kmeans(photo, 5)
    assert np.array_equal(result, palette[indices])
    assert len(np.unique(result.reshape(-1, 3), axis=0)) == 5
    assert (figures["bytes"], figures["colours"]) == (len(data), 5)
    assert figures["psnr_db"] == pytest.approx(metrics.psnr(photo, result))
    inertia = figures["elbow"]["inertia"]
    assert inertia[0] == max(inertia)
    assert inertia[-1] < inertia[0] / 5
    assert 2 <= figures["elbow"]["bend"] <= 6


def test_kmeans_of_a_picture_with_fewer_colours_is_exact(browser) -> None:
    flat = np.zeros((20, 30, 3), np.uint8)
    flat[:, 10:] = (200, 10, 90)
    job = browser.job("/api/kmeans?k=256", png_of(flat))
    assert job["figures"]["psnr_db"] is None
    assert job["figures"]["colours"] == 2
    assert np.array_equal(pixels_of(browser.file(job, "kmeans.png")), flat)


@pytest.mark.parametrize("query", ["k=0", "k=257", "k=2.5", "k=many"])
def test_k_out_of_range_is_refused(browser, photo_png, query) -> None:
    answer = browser.post(f"/api/kmeans?{query}", photo_png)
    assert answer.status_code == 400
    assert "from 1 to 256" in answer.json["error"]
