"""Uploads that mean harm, or are broken: each ends in a 4xx with a sentence and leaves no file.

Each row of ATTACKS has its reason beside it.
"""

import io
import os
import pickle
import struct
import tempfile
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import decant
import numpy as np
import pytest
from conftest import Browser, png_of
from decant.formats import container
from decant_studio.jobs.worker import TOO_LARGE
from PIL import Image


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_file(width: int, height: int, *chunks: bytes, rows: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def npy_file(header: str, data: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def dcn_file(width: int, height: int, latents: bytes = b"\0" * 64) -> bytes:
    return container.write(
        container.DcnFile("lite", bytes.fromhex("ffa735ad7d5057b2"), width, height, latents, 60)
    )


def tiff_of_pages() -> bytes:
    pages = [Image.new("L", (8, 8), i) for i in range(300)]
    stream = io.BytesIO()
    pages[0].save(stream, "TIFF", save_all=True, append_images=pages[1:])
    return stream.getvalue()[:-900]


def pickled() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], object), allow_pickle=True)
    return stream.getvalue()


DCN = decant.encode(np.full((16, 16, 3), 90, np.uint8), "nano", 50, effort=0)
GOOD = png_of(np.random.default_rng(0).integers(0, 255, (48, 48, 3), np.uint8))
COMPARE, RESTORE = "/api/compare?effort=0", "/api/restore"
DECOMPRESS, KMEANS = "/api/decompress?system=small", "/api/kmeans?k=4"

# (what, address, body)
ATTACKS: list[tuple[str, str, Callable[[], bytes]]] = [
    ("text, no picture", COMPARE, lambda: b"hello" * 100),
    ("a page with a script", COMPARE, lambda: b"<script>1</script>"),
    ("SVG, which can hold scripts and entities", COMPARE, lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>'),
    ("PostScript, which Pillow hands to another program", COMPARE, lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n"),
    ("a program", COMPARE, lambda: b"\x7fELF" + bytes(500)),
    ("an archive", COMPARE, lambda: b"PK\x03\x04" + bytes(500)),
    ("3.6 thousand megapixels in 90 bytes", COMPARE, lambda: png_file(60_000, 60_000)),
    ("sides beyond what Pillow can say", COMPARE, lambda: png_file(2**31 - 1, 2**31 - 1)),
    ("25 megapixels of zeros in 75 kB", COMPARE, lambda: png_file(5000, 5000, rows=bytes(5000 * 15_001))),
    ("the same for K-means", KMEANS, lambda: png_file(5000, 5000, rows=bytes(5000 * 15_001))),
    (
        "a colour profile of 200 MB in 200 kB",
        COMPARE,
        lambda: png_file(40_000, 40_000, chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(200 << 20), 1))),
    ),
    (
        "300 texts of 1 MB each in 1 kB each",
        COMPARE,
        lambda: png_file(8, 8, *[chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 20)))] * 300),
    ),
    ("a PNG cut in the middle", COMPARE, lambda: GOOD[: len(GOOD) // 2]),
    ("a PNG with a damaged stream", COMPARE, lambda: GOOD[:80] + bytes(200) + GOOD[280:]),
    ("a GIF of one byte more than its header", COMPARE, lambda: b"GIF89a\xff\xff\xff\xff\0"),
    ("a TIFF that is cut in its list of pages", COMPARE, tiff_of_pages),
    ("a .dcn file where a picture belongs", COMPARE, lambda: dcn_file(16, 16)),
    ("a .dcn file of 4 thousand megapixels", RESTORE, lambda: dcn_file(65_535, 65_535)),
    ("a .dcn file without latents", RESTORE, lambda: dcn_file(64, 64, b"")),
    ("a .dcn file cut in its header", RESTORE, lambda: dcn_file(64, 64)[:20]),
    ("a .dcn file with a wrong checksum", RESTORE, lambda: dcn_file(64, 64)[:-1] + b"\0"),
    (
        "a .dcn file of a model that is not here",
        RESTORE,
        lambda: container.write(container.DcnFile("nothing", bytes(8), 8, 8, b"x", 1)),
    ),
    ("a picture where a .dcn file belongs", RESTORE, lambda: GOOD),
    ("a pickle in a .npy file", RESTORE, pickled),
    ("a pickle in a .npy file, as a vector", DECOMPRESS, pickled),
    ("a bare pickle", DECOMPRESS, lambda: pickle.dumps({"a": 1})),
    (
        "8 TB said in 100 bytes",
        DECOMPRESS,
        lambda: npy_file("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}"),
    ),
    (
        "negative sides",
        DECOMPRESS,
        lambda: npy_file("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 16)}", bytes(128)),
    ),
    ("a header of 9,000 brackets", DECOMPRESS, lambda: npy_file("(" * 9000)),
    ("a header that is an expression", DECOMPRESS, lambda: npy_file("__import__('os').system('true')")),
    ("a header longer than the file", DECOMPRESS, lambda: b"\x93NUMPY\x01\x00\xff\xff{}"),
    ("a version that is none", DECOMPRESS, lambda: b"\x93NUMPY\x09\x00\x10\x00" + bytes(16)),
    (
        "zero-sized records",
        RESTORE,
        lambda: npy_file("{'descr': [], 'fortran_order': False, 'shape': (5,)}"),
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory):
    """A folder for temporary files, for this process and the workers it starts."""
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TMPDIR", "TEMP", "TMP"):
            patch.setenv(name, str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder


@pytest.fixture(scope="module")
def attacked(folders: Path, tmp_path_factory: pytest.TempPathFactory):
    from decant_studio.app import create_app
    from decant_studio.settings import Settings

    app = create_app(Settings(data_dir=tmp_path_factory.mktemp("data"), workers=1))
    yield Browser(app)
    app.extensions["studio"].close()


@pytest.mark.parametrize(("what", "address", "body"), ATTACKS, ids=[attack[0] for attack in ATTACKS])
def test_an_attack_ends_in_a_sentence(attacked, folders, what, address, body) -> None:
    begun = attacked.post(address, body())
    assert begun.status_code == 202
    job = attacked.ended(begun.json["id"])
    answer = attacked.get(f"/api/jobs/{job['id']}")
    assert job["state"] == "failed"
    assert 400 <= answer.status_code < 500
    said = answer.json["error"]
    assert said[0].isupper()
    assert said.endswith((".", "!"))
    assert "Traceback" not in said
    assert str(Path.home()) not in said
    assert not list(folders.iterdir())
    assert attacked.get("/").status_code == 200


def test_the_studio_works_after_all_attacks(attacked, folders) -> None:
    job = attacked.job(COMPARE, GOOD)
    assert job["state"] == "done", job
    assert not list(folders.iterdir())


def test_names_of_other_sites_and_pages_are_refused(browser) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost:80:90", ""):
        assert browser.client.get("/", headers={"Host": host}).status_code == 421
    for host in ("localhost:1", "127.0.0.1", "[::1]:8765"):
        assert browser.client.get("/", headers={"Host": host}).status_code == 200
    for origin in ("https://evil.example", "null", "http://localhost.evil.example"):
        answer = browser.post(KMEANS, GOOD, Origin=origin)
        assert (answer.status_code, answer.json["error"][-1]) == (403, ".")
    for token in ("", "x", browser.token[:-1], browser.token + "x", "ü"):
        assert browser.client.post(KMEANS, data=GOOD, headers={"X-Studio-Token": token}).status_code == 403


@pytest.mark.parametrize(
    "address",
    ["/api/compare", "/api/restore", "/api/compress", "/api/decompress", "/api/kmeans", "/api/devices",
     "/api/latency", "/api/vote/studies", "/api/vote/x/pictures", "/api/vote/x/delete", "/api/vote/x/collect",
     "/api/vote/x/import"],
)  # fmt: skip
def test_every_change_needs_the_token(browser, address) -> None:
    answer = browser.client.post(address, data=b"x", headers={"Content-Type": "application/octet-stream"})
    assert answer.status_code == 403
    assert browser.client.get(address).status_code in (404, 405)


def test_every_route_has_strict_headers(browser) -> None:
    for rule in browser.app.url_map.iter_rules():
        address = rule.rule
        for argument in rule.arguments:
            address = address.replace(f"<{argument}>", "nothing").replace(f"<path:{argument}>", "studio.css")
        with browser.get(address) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.status_code < 500
    assert "http" not in browser.get("/").text.replace("http-equiv", "")


def test_bodies_are_bounded(make_browser) -> None:
    browser = make_browser(upload_bytes=1000)
    answer = browser.post("/api/kmeans", bytes(1001))
    assert (answer.status_code, answer.json["error"][-1]) == (413, ".")
    assert browser.post("/api/kmeans", b"").status_code in (400, 411)
    assert browser.post("/api/kmeans", b"x", **{"Content-Type": "image/png"}).status_code == 415
    assert browser.post("/api/kmeans?k=" + "9" * 300, b"x").status_code == 400


def test_a_picture_beyond_the_pixel_limit_is_refused(make_browser) -> None:
    browser = make_browser(pixels=48 * 48 - 1)
    job = browser.job(COMPARE, GOOD)
    assert job["status"] == 400
    assert "48x48" in job["error"]


def test_work_that_takes_too_long_is_stopped_and_the_next_goes_on(make_browser) -> None:
    browser = make_browser(job_seconds=0.05)
    job = browser.job(COMPARE, GOOD)
    assert (job["state"], job["status"]) == ("failed", 408)
    assert "0.05 seconds" in job["error"]
    pool = browser.app.extensions["studio"]
    object.__setattr__(pool._settings, "job_seconds", 100.0)
    assert browser.job(COMPARE, GOOD)["state"] == "done"


def test_a_worker_that_dies_is_replaced(make_browser) -> None:
    browser = make_browser()
    assert browser.job(RESTORE, DCN)["state"] == "done"
    process = browser.app.extensions["studio"]._workers[0]._process
    begun = browser.post(COMPARE, GOOD)
    process.kill()
    job = browser.ended(begun.json["id"])
    assert (job["state"], job["status"]) == ("failed", 422)
    assert job["error"].startswith("The worker ended unexpectedly")
    assert browser.job(RESTORE, DCN)["state"] == "done"
    process.wait(timeout=10)


def test_a_worker_has_no_more_memory_than_allowed(make_browser) -> None:
    browser = make_browser(memory_bytes=300 << 20)
    large = png_of(np.zeros((3000, 3000, 3), np.uint8))
    job = browser.job("/api/compare?effort=0", large)
    assert job["state"] == "failed"
    assert (job["status"], job["error"]) == (413, TOO_LARGE)
    assert browser.job(RESTORE, DCN)["state"] == "done"


def test_twenty_at_once_are_served_or_told_to_wait(make_browser) -> None:
    browser = make_browser(waiting=4)
    answers = []

    def upload() -> None:
        answers.append(Browser(browser.app).post(RESTORE, DCN))

    threads = [threading.Thread(target=upload) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = sorted(answer.status_code for answer in answers)
    assert set(statuses) == {202, 429}
    assert statuses.count(202) >= 5
    for answer in answers:
        if answer.status_code == 429:
            assert answer.json["error"].endswith("try again.")
        else:
            assert browser.ended(answer.json["id"])["state"] == "done"
    assert browser.job(RESTORE, DCN)["state"] == "done"


def test_results_are_kept_in_bounded_memory(make_browser) -> None:
    browser = make_browser(kept_bytes=100, kept_jobs=3)
    jobs = [browser.job(RESTORE, DCN) for _ in range(4)]
    pool = browser.app.extensions["studio"]
    sizes = [job.result.size for job in pool._jobs.values()]
    assert len(sizes) < 4
    assert sum(sizes[:-1]) <= 100
    assert browser.get(f"/api/jobs/{jobs[0]['id']}").status_code == 404
    assert browser.get(f"/api/jobs/{jobs[-1]['id']}/picture.png").status_code == 200
    assert all(not job.arguments for job in pool._jobs.values())


def test_files_of_a_result_have_no_paths(browser) -> None:
    job = browser.job("/api/devices", b"x")
    for name in ("../file.dcn", "..%2Ffile.dcn", "/etc/passwd", "%00", "nothing"):
        assert browser.get(f"/api/jobs/{job['id']}/{name}").status_code in (404, 308)
        assert browser.get(f"/static/{name}").status_code in (404, 308)


def test_no_file_of_the_studio_is_left(attacked, folders) -> None:
    assert attacked.job("/api/compress?system=small", GOOD)["state"] == "done"
    assert os.listdir(folders) == []
