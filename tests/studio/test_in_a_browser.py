"""Every page in headless Chromium, as a person uses it: drop, drag, keys, downloads, votes.

Skipped with a reason where there is no Chromium with its driver, or no selenium.
"""

import functools
import http.server
import io
import json
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_page import Page, pixels_of
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys


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


def test_two_fingers_zoom(page: Page, files: Path) -> None:
    page.open("/")
    page.give("picture", files / "photo.png")
    page.shown("result")
    stage = page.until(lambda: page.driver.find_element(By.CLASS_NAME, "split"))
    page.run("arguments[0].scrollIntoView({block: 'center'})", stage)
    box = page.run(
        "const box = arguments[0].getBoundingClientRect(); return [box.x, box.y, box.width]", stage
    )
    x, y = box[0] + box[2] / 2, box[1] + 100

    def scale() -> float:
        image = stage.find_element(By.TAG_NAME, "img")
        return float(page.run("return new DOMMatrix(getComputedStyle(arguments[0]).transform).a", image))

    def touch(kind: str, *places: float) -> None:
        points = [{"x": place, "y": y, "id": index} for index, place in enumerate(places)]
        page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    before = scale()
    touch("touchStart", x - 30, x + 30)
    for apart in (40, 50, 60, 90):
        touch("touchMove", x - apart, x + apart)
    touch("touchEnd")
    page.until(lambda: 2.5 * before < scale() < 3.5 * before)
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
