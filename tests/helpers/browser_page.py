"""A tab of headless Chromium, for the tests of the studio."""

import base64
import io
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (extra dev)")
from selenium.common.exceptions import WebDriverException  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402

SECONDS = 60
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
MISSING = "no Chromium with chromedriver (Debian: chromium chromium-driver)"


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


def started() -> Any:
    """A browser of 1440x900 pixels; skips where there is none."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip(MISSING)
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument("--window-size=1440,900")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(SECONDS)
    return driver
