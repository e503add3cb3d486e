"""``make -C runtime/libdcn``: libraries, dcndec and examples build without a warning and do what they say."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ctypes_dcn import BUNDLES
from decant import decode
from PIL import Image

ROOT = Path(__file__).parents[2]
GOLDEN = BUNDLES / "nano/golden/004.dcn"
NANO = BUNDLES / "nano/nano.dcnm"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of everything that make builds, with warnings as errors."""
    if shutil.which("make") is None or shutil.which("cc") is None:
        pytest.skip("make or a C compiler is not here")
    folder = tmp_path_factory.mktemp("libdcn")
    command = ["make", "-s", "-C", ROOT / "runtime/libdcn", f"BUILD={folder}", "WARN=-Werror"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not done.stderr
    return folder


def test_static_analysis_finds_what_is_wrong(tmp_path: Path):
    """What `make check` runs, on a file that leaks; the real ones take longer."""
    if shutil.which("make") is None or shutil.which("gcc") is None:
        pytest.skip("make or gcc is not here")
    sound = "#include <stdlib.h>\nvoid fill(int n);\nvoid fill(int n)\n{\n    int *p = malloc(4);\n"
    sound += "    if (p)\n        *p = n;\n    free(p);\n}\n"
    for text in (sound, sound.replace("    free(p);\n", "")):
        (tmp_path / "a.c").write_text(text)
        command = ["make", "-s", "-C", ROOT / "runtime/libdcn", "analyze", f"ANALYZED={tmp_path / 'a.c'}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "skipped" in done.stdout:
            pytest.skip(done.stdout)
        assert (done.returncode == 0) == (text == sound), done.stderr


def test_the_shared_library_is_small(built: Path):
    assert (built / "libdcn.so").stat().st_size <= 150_000


def run(*command: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([str(word) for word in command], capture_output=True, check=False)


def test_dcndec_writes_ppm_png_and_raw(built: Path, tmp_path: Path):
    expected = decode(GOLDEN.read_bytes())
    for ending in ("ppm", "png"):
        out = tmp_path / f"out.{ending}"
        assert run(built / "dcndec", "-m", NANO, GOLDEN, out).returncode == 0
        with Image.open(out) as image:
            assert np.array_equal(np.asarray(image), expected)
    done = run(built / "dcndec", "-m", NANO, "-f", "raw", "-r", "3,5,20,10", "-t", "2", GOLDEN)
    assert done.stdout == expected[5:15, 3:23].tobytes()


def test_dcndec_says_what_a_file_is_and_what_is_wrong(built: Path, tmp_path: Path):
    done = run(built / "dcndec", "--info", GOLDEN)
    assert done.stdout.startswith(b"64x64, quality ")
    assert b"model nano " in done.stdout
    cut = tmp_path / "cut.dcn"
    cut.write_bytes(GOLDEN.read_bytes()[:-7])
    for words, expected in (
        ((), 2),
        (("-x", "1", GOLDEN), 2),
        (("-m", NANO, cut), 1),
        (("-m", GOLDEN, GOLDEN), 1),
        (("-m", NANO, "-r", "60,0,9,9", GOLDEN), 1),
        (("-m", NANO, tmp_path / "missing.dcn"), 1),
    ):
        done = run(built / "dcndec", *words)
        assert (done.returncode, done.stdout) == (expected, b"")
        assert done.stderr.startswith((b"dcndec: ", b"usage: "))


def test_the_examples_run(built: Path):
    done = run(built / "thumbnail", NANO, GOLDEN)
    assert done.stdout.startswith(b"nano 64x64: #")
    pixels = decode(GOLDEN.read_bytes())[16:48, 16:48].reshape(-1, 3).astype(int).sum(axis=0) // 1024
    assert done.stdout.decode().split("#")[1].strip() == "".join(f"{value:02x}" for value in pixels)
    example = ROOT / "runtime/libdcn/examples/decode.py"
    done = run(sys.executable, example, built / "libdcn.so", NANO, GOLDEN)
    assert done.stdout.decode().strip() == f"64x64, mean {decode(GOLDEN.read_bytes()).mean():.3f}", (
        done.stderr
    )
