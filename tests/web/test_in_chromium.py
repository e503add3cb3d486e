"""The demo page in headless Chromium under a strict policy: native pixels, and nothing in the console."""

import importlib.util
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import decant
import numpy as np
import pytest
from PIL import Image

WEB = Path(__file__).parents[2] / "runtime" / "web"
PIXELS = """const [address, done] = arguments;
    const image = document.querySelector(`img[data-decant="${address}"]`);
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    done([canvas.width, canvas.height, [...context.getImageData(0, 0, canvas.width, canvas.height).data]]);"""
DECODE = """const [addresses, done] = arguments;
    const { decode, DecodeError } = await import("/index.js");
    const answers = addresses.map(async (address) => {
      try {
        const { width, height, data } = await decode(await fetch(address));
        return [width, height, [...data]];
      } catch (error) {
        return error instanceof DecodeError ? error.code : `other: ${error}`;
      }
    });
    done(await Promise.all(answers));"""


def _served() -> Any:
    spec = importlib.util.spec_from_file_location("serve", WEB / "tools" / "serve.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFUSALS = """const [address, done] = arguments;
    const { Player } = await import("/index.js");
    const player = new Player({ workers: 1, mostWaiting: 1 });
    const bytes = await (await fetch(address)).arrayBuffer();
    const region = { x: 3, y: 5, width: 8, height: 4 };
    const abort = new AbortController();
    const code = (error) => (error.name === "DecodeError" ? error.code : error.name);
    const said = (promise) => promise.then(({ width, height }) => [width, height], code);
    const first = [
      player.decode(bytes, { region }),
      player.decode(bytes, { signal: abort.signal }),
      player.decode(bytes),
    ].map(said);
    await said(player.decode(bytes)); // the queue is full by now
    abort.abort();
    const answers = await Promise.all(first);
    answers.push(await said(player.decode(bytes, { region: { ...region, x: 79 } })));
    answers.push(await said(player.decode(bytes.slice(0, 9))));
    answers.push(await said(player.decode(bytes, { mostPixels: 100 })), await said(player.decode("text")));
    const waits = said(player.decode(bytes));
    player.close();
    done([...answers, await waits, await said(player.decode(bytes)), bytes.byteLength]);"""


@pytest.fixture(scope="session")
def driver() -> Iterator[Any]:
    from browser_page import started

    browser = started()
    yield browser
    browser.quit()


@pytest.fixture(scope="session")
def site(
    driver: Any,
    package: Path,
    files: dict[str, bytes],
    expected: dict[str, np.ndarray],
    tmp_path_factory: Any,
) -> Path:
    """The package with the demo page and pictures of its own: the files of the tests."""
    demo = package / "demo"
    shutil.copytree(WEB / "demo", demo)
    photo = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(expected["nano000.dcn"][..., :3]).resize((160, 96)).save(photo)
    command = [sys.executable, str(WEB / "tools" / "pictures.py"), str(demo), str(photo)]
    subprocess.run(command, check=True, capture_output=True)
    for name, data in files.items():
        (package / name).write_bytes(data)
    (package / "broken.dcn").write_bytes(files["80x79.dcn"][:-40])
    return package


@pytest.fixture(params=[False, True], ids=["plain", "isolated"])
def page(driver: Any, site: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    from browser_page import Page

    module = _served()
    asked: list[str] = []

    class Noted(module._Handler):  # type: ignore[misc, name-defined]
        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

    module._Handler = Noted
    server = module.server(site, isolated=request.param)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    opened = Page(driver, f"http://127.0.0.1:{server.server_address[1]}/")
    opened.asked = asked
    opened.complaints()
    opened.open("/demo/")
    opened.until(lambda: opened.run("return document.body.dataset.ready"))
    assert opened.run("return crossOriginIsolated") is request.param
    yield opened
    driver.get("about:blank")
    server.shutdown()
    server.server_close()


def _array(answer: Any) -> np.ndarray:
    width, height, values = answer
    return np.array(values, np.uint8).reshape(height, width, 4)


def _async(page: Any, script: str, *arguments: Any) -> Any:
    return page.driver.execute_async_script(
        f"(async (...arguments) => {{{script}}})(...arguments)", *arguments
    )


def test_pixels_and_bench(
    page: Any, files: dict[str, bytes], expected: dict[str, np.ndarray], site: Path
) -> None:
    names = sorted(files)
    answers = _async(page, DECODE, [f"/{name}" for name in (*names, "broken.dcn")])
    assert answers.pop() == "bad-file"
    for name, answer in zip(names, answers, strict=True):
        seen = expected[name][..., 3:] > 0
        assert np.array_equal(_array(answer) * seen, expected[name] * seen), name

    state = "return document.querySelector('img[data-decant]').dataset.decantState"
    page.until(lambda: page.run(state) in ("done", "failed"))
    assert page.run(state) == "done"
    picture = json.loads((site / "demo" / "pictures.json").read_text())["pictures"][0]
    native = decant.decode((site / "demo" / f"{picture['name']}.dcn").read_bytes(), runtime="native")
    assert np.array_equal(_array(_async(page, PIXELS, f"{picture['name']}.dcn"))[..., :3], native)

    page["rounds"].clear()
    page["rounds"].send_keys("2")
    page["start"].click()
    page.until(lambda: page["status"].text not in ("", "Picture 1 of 1"))
    assert page["status"].text == "Done"
    rows = page.run("return [...document.querySelectorAll('#bench tbody tr')].map((r) => r.innerText)")
    assert [row.split("\t")[2] for row in rows] == ["decant nano", "AVIF", "JPEG"]
    assert all(float(row.split("\t")[4].split()[0]) > 0 for row in rows)
    assert page.complaints() == []


def test_images_wait_for_the_view_and_fail_alone(page: Any) -> None:
    page.run(
        """const add = (id, file) => {
          const image = document.createElement("img");
          image.id = id;
          image.dataset.decant = `/${file}.dcn`;
          if (id === "broken") image.dataset.decantFallback = "picture0.jpg";
          document.body.append(image);
        };
        window.failures = [];
        document.addEventListener("decant-error", ({ target, detail }) => {
          failures.push([target.id, detail.code]);
        });
        for (const id of ["broken", "far"]) {
          const space = document.createElement("div");
          space.style.height = id === "far" ? "9000px" : "0";
          document.body.append(space);
          add(id, id === "far" ? "17x33" : id);
        }
        document.getElementById("broken").scrollIntoView();"""
    )
    state = "return document.getElementById(arguments[0]).dataset.decantState"
    page.until(lambda: page.run(state, "broken") == "failed")
    assert page.run("return failures") == [["broken", "bad-file"]]
    page.until(lambda: page.run("return document.getElementById('broken').naturalWidth") > 0)
    assert page.run(state, "far") == "waiting"
    assert "/17x33.dcn" not in page.asked
    page.run("document.getElementById('far').scrollIntoView()")
    page.until(lambda: page.run(state, "far") == "done")
    assert page.run("const { far } = window; return [far.naturalWidth, far.naturalHeight]") == [17, 33]
    assert page.complaints() == []


def test_a_model_is_fetched_once(page: Any, files: dict[str, bytes]) -> None:
    for _ in range(2):
        answers = _async(page, DECODE, [f"/{name}" for name in files] * 2)
        assert all(isinstance(answer, list) for answer in answers)
        page.open("/demo/")
    assert sum("nano.dcnm" in path for path in page.asked) <= 1
    assert sum("decant.wasm" in path for path in page.asked) >= 1


def test_the_queue_is_bounded_and_its_errors_have_codes(page: Any, files: dict[str, bytes]) -> None:
    answers = _async(page, REFUSALS, "/80x79.dcn")
    assert answers[:3] == [[8, 4], "AbortError", "queue-full"]
    assert answers[3:7] == ["bad-argument", "bad-file", "too-large", "bad-argument"]
    assert answers[7:] == ["closed", "closed", len(files["80x79.dcn"])]
