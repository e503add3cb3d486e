"""axe-core on every page, light and dark, at laptop and phone width; and no request to another machine.

axe-core comes from npm, or from the folder that DECANT_AXE names; without it that check is skipped.
"""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from browser_page import Page
from selenium.webdriver.common.by import By

SIZES = {"laptop": (1440, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core."""
    folder = Path(os.environ.get("DECANT_AXE", "") or tmp_path_factory.mktemp("npm"))
    script = folder / "node_modules" / "axe-core" / "axe.min.js"
    npm = shutil.which("npm")
    if not script.is_file() and npm is not None:
        command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--fetch-retries", "0"]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run([*command, "axe-core@4"], capture_output=True, check=False, timeout=60)
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
