"""Every page in headless Chromium, as a person uses it: drop, drag, keys, downloads, votes; axe-core on each.

Skipped with a reason where there is no Chromium with its driver, or no selenium. axe-core comes from npm, or
from the folder that DECANT_AXE names; without it that check is skipped.
"""

import base64
import io
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import png_of

pytest.importorskip("selenium", reason="selenium is not installed (extra dev)")

from decant_studio.app import create_app
from decant_studio.server import Server
from decant_studio.settings import Settings
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

SECONDS = 60
SIZES = {"laptop": (1440, 900), "phone": (390, 844)}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="no Chromium with chromedriver (Debian: chromium chromium-driver)",
)


class Page:
    """A tab of the browser at one studio."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver = driver
        self.address = address

    def open(self, path: str) -> None:
        self.driver.get(self.address + path.lstrip("/"))

    def __getitem__(self, element_id: str) -> Any:
        return self.driver.find_element(By.ID, element_id)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def until(self, holds: Callable[[], Any]) -> Any:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            try:
                if found := holds():
                    return found
            except WebDriverException:
                pass  # a page that is just being replaced
            time.sleep(0.05)
        problems = [one.text for one in self.driver.find_elements(By.CLASS_NAME, "problem") if one.text]
        raise AssertionError(f"it did not come; the page says {problems}")

    def give(self, element_id: str, *paths: Path) -> None:
        self[f"{element_id}-file"].send_keys("\n".join(map(str, paths)))

    def shown(self, element_id: str) -> Any:
        return self.until(lambda: self[element_id].is_displayed() and self[element_id])

    def bytes_at(self, address: str) -> bytes:
        """What the page itself gets from an address."""
        script = """const done = arguments[1];
            fetch(arguments[0]).then((r) => r.blob()).then((blob) => {
              const reader = new FileReader();
              reader.onload = () => done(reader.result.split(",")[1]);
              reader.readAsDataURL(blob);
            });"""
        return base64.b64decode(self.driver.execute_async_script(script, address))

    def link(self, within: str, text: str) -> str:
        links = self[within].find_elements(By.TAG_NAME, "a")
        return next(one.get_attribute("href") for one in links if one.text == text)

    def complaints(self) -> list[str]:
        """What the browser's console says: scripts that fail, and what the policy blocks."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


def pixels_of(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, trained_digits: Path) -> Iterator[str]:
    """The address of a running studio with the shipped bundles and digits."""
    data = tmp_path_factory.mktemp("studio")
    app = create_app(Settings(data_dir=data, workers=1, bundle_dir=trained_digits))
    server = Server("127.0.0.1", 0, app)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server.url
    server.shutdown()
    server.server_close()
    app.extensions["studio"].close()


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument("--window-size=1440,900")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    started.set_script_timeout(SECONDS)
    yield started
    started.quit()


@pytest.fixture
def page(driver: Any, studio: str) -> Page:
    driver.set_window_size(1440, 900)
    opened = Page(driver, studio)
    opened.complaints()
    return opened


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, photo: np.ndarray, digit: np.ndarray) -> Path:
    """A folder with photo.png, digit.png and set.png."""
    from decant_train.data import wheel_photos

    folder = tmp_path_factory.mktemp("pictures")
    Image.fromarray(photo).save(folder / "photo.png")
    Image.fromarray(digit).save(folder / "digit.png")
    Image.fromarray(wheel_photos.crops(64, 256)[40]).save(folder / "set.png")
    return folder


def test_a_picture_is_dropped_compared_and_restored(page: Page, files: Path, tmp_path: Path) -> None:
    page.open("/")
    page.give("picture", files / "photo.png")
    page.shown("result")
    rows = page.until(
        lambda: [row.text for row in page["figures"].find_elements(By.CSS_SELECTOR, "tbody tr")]
    )
    assert rows[0].startswith("decant lite ")
    assert rows[1].startswith("JPEG ")
    decoded = pixels_of(page.bytes_at(page.link("downloads", "Decoded, .png")))
    for name in (".dcn file", "Latents, .npy"):
        path = tmp_path / name.replace(" ", "-")
        path.write_bytes(page.bytes_at(page.link("downloads", name)))
        page.run("document.getElementById('restored').hidden = true")
        page.give("file", path)
        image = page.shown("restored").find_element(By.TAG_NAME, "img")
        page.until(lambda image=image: image.get_property("naturalWidth") == 192)
        assert np.array_equal(pixels_of(page.bytes_at(image.get_attribute("src"))), decoded)
    assert not page.complaints()


def test_the_line_moves_by_pointer_and_keys_and_the_view_zooms(page: Page, files: Path) -> None:
    page.open("/")
    page.give("picture", files / "photo.png")
    page.shown("result")
    stage = page.until(lambda: page.driver.find_element(By.CLASS_NAME, "split"))
    divider = stage.find_element(By.CLASS_NAME, "divider")

    def line() -> int:
        return int(divider.get_attribute("aria-valuenow"))

    def cut() -> str:
        return stage.find_element(By.CSS_SELECTOR, ".layer.right").value_of_css_property("clip-path")

    assert line() == 50
    width = stage.size["width"]
    ActionChains(page.driver).click_and_hold(divider).move_by_offset(-width // 4, 0).release().perform()
    assert 23 <= line() <= 27
    assert "25" in cut() or "24" in cut() or "26" in cut()
    divider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    moved = line()
    assert 25 <= moved <= 29
    tags = stage.find_element(By.CSS_SELECTOR, ".tag.left")
    for key, label in (("1", "Original"), ("2", "decant lite"), ("3", "JPEG")):
        stage.send_keys(key)
        assert tags.text.startswith(label)
        assert cut() == "none"
        assert not divider.is_displayed()
    stage.send_keys("3")
    assert divider.is_displayed()
    image = stage.find_element(By.TAG_NAME, "img")

    def scale() -> float:
        return float(page.run("return new DOMMatrix(getComputedStyle(arguments[0]).transform).a", image))

    before = scale()
    ActionChains(page.driver).scroll_from_origin(
        webdriver.common.actions.wheel_input.ScrollOrigin.from_element(stage), 0, -600
    ).perform()
    page.until(lambda: scale() > 1.5 * before)
    place = image.location["x"]
    ActionChains(page.driver).move_to_element_with_offset(stage, 0, 120).click_and_hold().move_by_offset(
        -60, 0
    ).release().perform()
    assert image.location["x"] < place  # a drag moves the picture when it is larger than the view
    assert line() == moved
    stage.send_keys("0")
    assert scale() == pytest.approx(before)
    for select, key in (("left", "decant-error"), ("right", "other-error")):
        choice = page.driver.find_element(By.CSS_SELECTOR, f'select[aria-label="Picture on the {select}"]')
        choice.find_element(By.CSS_SELECTOR, f'option[value="{key}"]').click()
    assert tags.text.startswith("8 × error of decant lite")
    assert not page.complaints()


def test_errors_are_said_in_words_and_the_page_goes_on(page: Page, files: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes((files / "photo.png").read_bytes()[:2000])
    page.open("/")
    page.give("picture", broken)
    said = page.shown("work-problem").text
    assert said.startswith("This file: ")
    assert said.endswith(".")
    page.give("picture", files / "photo.png")
    page.shown("result")
    assert not page["work-problem"].is_displayed()


@pytest.mark.parametrize(
    ("system", "picture", "numbers"), [("digits", "digit.png", 28), ("small", "set.png", 16)]
)
def test_a_vector_goes_out_and_comes_back(
    page: Page, files: Path, tmp_path: Path, system: str, picture: str, numbers: int
) -> None:
    page.open("/published")
    page["system"].find_element(By.CSS_SELECTOR, f'option[value="{system}"]').click()
    page.give("compress", files / picture)
    page.shown("compressed")
    data = page.bytes_at(page.link("vector-downloads", "Vector, .npy"))
    assert np.load(io.BytesIO(data), allow_pickle=False).shape == (numbers,)
    decoded = pixels_of(page.bytes_at(page["after"].get_attribute("src")))
    path = tmp_path / "vector.npy"
    path.write_bytes(data)
    page.give("decompress", path)
    image = page.shown("decompressed").find_element(By.TAG_NAME, "img")
    page.until(lambda: image.get_property("naturalWidth"))
    assert np.array_equal(pixels_of(page.bytes_at(image.get_attribute("src"))), decoded)
    assert not page.complaints()


def test_kmeans_with_k_shows_the_result_its_size_and_the_elbow(page: Page, files: Path) -> None:
    page.open("/published")
    page["k"].clear()
    page["k"].send_keys("3")
    page.give("kmeans", files / "photo.png")
    page.shown("quantized")
    data = page.bytes_at(page.link("kmeans-downloads", "Result, .png"))
    assert len(np.unique(pixels_of(data).reshape(-1, 3), axis=0)) == 3
    assert f"3 colours, {len(data):,} bytes" in page["kmeans-caption"].text
    assert len(page["palette"].find_elements(By.TAG_NAME, "span")) == 3
    assert len(page["elbow"].find_elements(By.CSS_SELECTOR, "svg circle")) == 12
    assert not page.complaints()


@pytest.fixture(scope="module")
def voted(driver: Any, studio: str, tmp_path_factory: pytest.TempPathFactory, photo: np.ndarray) -> str:
    """The path of a vote, made in the browser: 3 codecs and 8 pictures, so 24 pairs and 8 honeypots."""
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


def test_a_vote_of_30_pairs_is_resumed_and_ends_in_the_ranking(page: Page, voted: str) -> None:
    page.open(f"{voted}/ballot")
    page["distance"].send_keys("55")
    page.until(lambda: page["begin"].is_enabled())
    page["begin"].click()

    def choose() -> None:
        """As someone who looks: the side with the smaller squared error."""
        side = page.run(
            """const values = (id) => {
                 const image = document.getElementById(id);
                 const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
                 const context = canvas.getContext("2d");
                 context.drawImage(image, 0, 0);
                 return context.getImageData(0, 0, canvas.width, canvas.height).data;
               };
               const [left, original, right] = ["left", "original", "right"].map(values);
               const error = (one) => one.reduce((sum, value, i) => sum + (value - original[i]) ** 2, 0);
               return error(left) < error(right) ? "left" : "right";"""
        )
        if side == "left":
            page.driver.find_element(By.TAG_NAME, "body").send_keys(Keys.ARROW_LEFT)
        else:
            page["choose-right"].click()

    for number in range(1, 31):
        page.until(lambda n=number: page["where"].text == f"Pair {n} of 30" and page["trial"].is_displayed())
        if number == 12:  # the voter comes back later
            page.driver.refresh()
            page.until(lambda: page["begin"].text == "Resume: 19 pairs left")
            page["begin"].click()
            page.until(lambda: page["where"].text == "Pair 12 of 30" and page["trial"].is_displayed())
        page.until(lambda: page.run("return document.getElementById('content').dataset.ready") is not None)
        choose()
    page.until(lambda: page.driver.current_url.endswith("/ranking"))
    rows = page["ranking"].find_elements(By.CSS_SELECTOR, "tbody tr")
    assert {row.find_element(By.TAG_NAME, "th").text for row in rows} == {"decant nano", "JPEG", "WebP"}
    page.until(lambda: len(page["chart"].find_elements(By.CSS_SELECTOR, "svg circle")) == 3)
    table = page.bytes_at(
        page.driver.find_element(By.PARTIAL_LINK_TEXT, "Answers").get_attribute("href")
    ).decode()
    lines = table.splitlines()
    assert len(lines) == 31
    assert all(",55.0," in line for line in lines[1:])
    assert not page.complaints()


def test_an_exported_vote_works_as_a_static_page(page: Page, voted: str, tmp_path: Path) -> None:
    """A plain file server takes no answers; the page offers them as a file at the end."""
    import functools
    import http.server
    import json
    import zipfile

    path = f"{page.address}api/{voted}/export.zip"
    page.open("/vote")
    with zipfile.ZipFile(io.BytesIO(page.bytes_at(path))) as archive:
        archive.extractall(tmp_path)
    told = json.loads((tmp_path / "site" / "study.json").read_text())
    told |= {"pairs": told["pairs"][:2], "collect": ""}
    (tmp_path / "site" / "study.json").write_text(json.dumps(told))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            """Nothing."""

    handler = functools.partial(Quiet, directory=str(tmp_path / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        page.driver.get(f"http://127.0.0.1:{server.server_port}/")
        page.until(lambda: page["begin"].is_enabled())
        page["begin"].click()
        for number in (1, 2):
            page.until(lambda n=number: page["where"].text == f"Pair {n} of 2")
            page["choose-left"].click()
        page.shown("end")
        page.driver.execute_cdp_cmd(
            "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
        )
        page["after"].find_element(By.TAG_NAME, "a").click()
        path = page.until(lambda: next(tmp_path.glob("answers-*.json"), None))
        saved = json.loads(path.read_text())
        assert [one["kind"] for one in saved] == ["session", "answer", "answer"]
        assert not page.complaints()
        server.shutdown()


def test_reports_are_listed_and_this_machine_is_measured(page: Page) -> None:
    page.open("/reports")
    page["devices"].click()
    page.until(lambda: "onnxruntime" in page["machine"].text)
    page.driver.find_element(By.LINK_TEXT, "rd.md").click()
    page.until(lambda: page.driver.find_element(By.TAG_NAME, "h1").text == "Rate and distortion")
    page.open("/reports")
    page.driver.find_element(By.LINK_TEXT, "report.html").click()
    page.until(lambda: page.driver.find_element(By.TAG_NAME, "h1").text)
    assert page.run("return window.origin") == "null"


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core."""
    folder = Path(os.environ.get("DECANT_AXE", "") or tmp_path_factory.mktemp("npm"))
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    npm = shutil.which("npm")
    if not script.is_file() and npm is not None:
        command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "axe-core@4"]
        subprocess.run(command, capture_output=True, check=False, timeout=120)
    if not script.is_file():
        pytest.skip("axe-core is not here: npm cannot install it, and DECANT_AXE does not name its folder")
    return script.read_text()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_the_screen(
    page: Page, files: Path, voted: str, axe: str, size: str, theme: str
) -> None:
    page.driver.set_window_size(*SIZES[size])
    page.open("/reports")
    report = page.driver.find_element(By.LINK_TEXT, "rd.md").get_attribute("href").removeprefix(page.address)
    page.run("localStorage.setItem('studio-theme', arguments[0])", theme)
    for path in (
        "/",
        "/published",
        "/vote",
        voted,
        f"{voted}/ballot",
        f"{voted}/ranking",
        "/reports",
        report,
        "/no",
    ):
        page.open(path)
        if path == "/" and size == "laptop":
            page.give("picture", files / "photo.png")
            page.shown("result")
        if path.endswith("/ballot"):
            page.until(lambda: page["begin"].is_enabled())
            page["begin"].click()
            page.shown("trial")
        page.run(axe)
        found = page.driver.execute_async_script(
            "const done = arguments[0]; axe.run().then((found) => done(found.violations));"
        )
        serious = [
            f"{one['id']}: {[node['html'][:120] for node in one['nodes'][:2]]}"
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert not serious, (path, serious)
        assert page.run("return document.documentElement.scrollWidth <= innerWidth"), path


def test_nothing_is_asked_of_another_machine(page: Page, voted: str) -> None:
    for path in ("/", "/published", "/vote", f"{voted}/ballot", f"{voted}/ranking", "/reports"):
        page.open(path)
        page.until(lambda: page.run("return document.readyState === 'complete'"))
        names = page.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        assert names
        assert all(name.startswith(page.address) for name in names)
        assert not page.complaints()
