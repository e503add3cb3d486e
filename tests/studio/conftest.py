"""What the studio's tests share: pictures, and a studio with the shipped bundles."""

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flask", reason="the extra `web` is not installed")

from decant_studio.app import create_app
from decant_studio.reports.shelf import own_reports
from decant_studio.security import BODY_KIND, TOKEN_HEADER
from decant_studio.server import Server
from decant_studio.settings import Settings
from PIL import Image

SECONDS = 120


def png_of(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """A real photograph of 192x160 pixels."""
    import skimage.data

    return np.ascontiguousarray(skimage.data.chelsea()[40:200, 90:282])


@pytest.fixture(scope="session")
def photo_png(photo: np.ndarray) -> bytes:
    return png_of(photo)


class Browser:
    """A test client that sends what the pages send: bodies with the token, and jobs to their end."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.client = app.test_client()
        self.token = app.config["STUDIO_TOKEN"]

    def get(self, address: str, **options: Any) -> Any:
        return self.client.get(address, **options)

    def post(self, address: str, data: bytes, **headers: str) -> Any:
        sent = {TOKEN_HEADER: self.token, "Content-Type": BODY_KIND} | headers
        return self.client.post(address, data=data, headers=sent)

    def job(self, address: str, data: bytes = b"-") -> dict[str, Any]:
        """Begin a job, wait for its end, and give its state."""
        answer = self.post(address, data)
        assert answer.status_code == 202, answer.text
        return self.ended(answer.json["id"])

    def ended(self, job_id: str) -> dict[str, Any]:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            state: dict[str, Any] = self.get(f"/api/jobs/{job_id}").json
            if state["state"] in ("done", "failed"):
                return state
            time.sleep(0.02)
        raise AssertionError(f"the job has not ended: {state}")

    def file(self, job: dict[str, Any], name: str) -> bytes:
        answer = self.get(f"/api/jobs/{job['id']}/{name}")
        assert answer.status_code == 200
        return answer.data


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A studio with the shipped bundles, one worker, and folders of its own."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("studio"), workers=1)
    app = create_app(settings)
    yield Browser(app)
    app.extensions["studio"].close()


@pytest.fixture
def make_browser(tmp_path: Path) -> Iterator[Any]:
    """Studios with other settings: ``make_browser(pixels=...)``."""
    apps = []

    def make(**settings: Any) -> Browser:
        chosen = {"data_dir": tmp_path / "data", "workers": 1} | settings
        apps.append(create_app(Settings(**chosen)))
        return Browser(apps[-1])

    yield make
    for app in apps:
        app.extensions["studio"].close()


@pytest.fixture(scope="session")
def trained_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the bundle ``digits``, trained for seconds on the digits of scikit-learn."""
    from decant_export import export
    from decant_reproduce.digits import stages
    from decant_train.data import mnist, wheel_digits

    folder = tmp_path_factory.mktemp("digits")
    data = wheel_digits.write(folder / "data", training=400, test=40)
    stages.train(folder / "digits", data, 0.04)
    stages.train_denoiser(folder / "denoiser", folder / "digits", data, 0.02)
    export(
        folder / "digits",
        folder / "bundles" / "digits",
        name="digits",
        precisions=("float",),
        runtimes=("onnxruntime",),
        images=stages.rgb(mnist.load(data).images[:64]),
        denoiser=folder / "denoiser",
        latent_coding="uint8",
    )
    return folder / "bundles"


@pytest.fixture(scope="session")
def digit(trained_digits: Path) -> np.ndarray:
    """One of its test digits, grey uint8 (28, 28)."""
    from decant_train.data import mnist

    pixels: np.ndarray = mnist.load(trained_digits.parent / "data", "test").images[3]
    return pixels


@pytest.fixture(scope="session")
def studio(driver: Any, tmp_path_factory: pytest.TempPathFactory, trained_digits: Path) -> Iterator[str]:
    """The address of a running studio with the shipped bundles and digits."""
    data = tmp_path_factory.mktemp("studio")
    shown = tmp_path_factory.mktemp("reports")
    (shown / "report.html").write_text("<!doctype html><title>A report</title><h1>A report</h1>")
    folders = (shown, *own_reports())
    app = create_app(Settings(data_dir=data, workers=1, bundle_dir=trained_digits, reports=folders))
    server = Server("127.0.0.1", 0, app)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server.url
    server.shutdown()
    server.server_close()
    app.extensions["studio"].close()


@pytest.fixture(scope="session")
def driver() -> Iterator[Any]:
    """One headless Chromium for all tests; skips where there is none."""
    from browser_page import started

    browser = started()
    yield browser
    browser.quit()


@pytest.fixture
def page(driver: Any, studio: str) -> Any:
    """A tab at that studio, 1440x900, with an empty console."""
    from browser_page import Page

    driver.set_window_size(1440, 900)
    opened = Page(driver, studio)
    opened.complaints()
    return opened


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, photo: np.ndarray, digit: np.ndarray) -> Path:
    """A folder with photo.png, digit.png and set.png."""
    from decant_train.data import wheel_photos

    folder = tmp_path_factory.mktemp("pictures")
    Image.fromarray(photo).save(folder / "photo.png")
    Image.fromarray(digit).save(folder / "digit.png")
    Image.fromarray(wheel_photos.crops(64, 256)[40]).save(folder / "set.png")
    return folder


@pytest.fixture(scope="session")
def voted(driver: Any, studio: str, tmp_path_factory: pytest.TempPathFactory, photo: np.ndarray) -> str:
    """The path of a vote, made in the browser: 3 codecs and 8 pictures, so 24 pairs and 8 honeypots."""
    from browser_page import Page
    from selenium.webdriver.common.by import By

    folder = tmp_path_factory.mktemp("vote")
    paths = []
    for index in range(8):
        part = np.roll(photo, 17 * index, axis=1)[:96, :96]
        paths.append(folder / f"{index}.png")
        paths[-1].write_bytes(png_of(np.ascontiguousarray(part)))
    page = Page(driver, studio)
    page.open("/vote")
    page["title"].clear()
    page["title"].send_keys("Cats")
    page["bpp"].clear()
    page["bpp"].send_keys("1.5")
    page["most"].clear()
    page["most"].send_keys("30")
    wanted = {"decant nano", "JPEG", "WebP"}
    for box in driver.find_elements(By.NAME, "codec"):
        if box.is_selected() != (box.get_attribute("value") in wanted):
            box.click()
    driver.find_element(By.CSS_SELECTOR, '#new button[type="submit"]').click()
    page.until(lambda: page["pictures-file"])
    page.give("pictures", *paths)
    page.until(lambda: page["counts"].text.startswith("8 pictures, 32 pairs (8 of them honeypots)"))
    return str(driver.current_url.removeprefix(studio))
