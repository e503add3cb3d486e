"""What the tests of the browser player share: the package as its Makefile builds it, files, and pixels."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import decant
import numpy as np
import pytest
from PIL import Image

WEB = Path(__file__).parents[2] / "runtime" / "web"
BUNDLES = Path(__file__).parents[2] / "artifacts" / "decant_bundles"
MODELS = ("nano", "lite", "full")
SIZES = ((1, 1), (17, 33), (80, 79))


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built package, the folder ``dist``. Skips where zig or make is missing."""
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("ziglang, the compiler for WebAssembly, is not installed here")
    if shutil.which("make") is None:
        pytest.skip("make is not installed here")
    folder = tmp_path_factory.mktemp("web") / "dist"
    # Compiled libraries of C are kept where zig keeps them, though tests move the user's cache.
    cache = {"ZIG_GLOBAL_CACHE_DIR": str(Path.home() / ".cache" / "zig")}
    command = ["make", "-s", "-C", str(WEB), f"BUILD={folder}", f"PYTHON={sys.executable}"]
    command += [f"MODELS={' '.join(MODELS)}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | cache)
    assert result.returncode == 0, result.stderr[-4000:]
    return folder


@pytest.fixture(scope="session")
def files() -> dict[str, bytes]:
    """Golden files of the codecs; odd sizes, grey and alpha of `nano`."""
    golden = [path for model in MODELS for path in sorted((BUNDLES / model / "golden").glob("*.dcn"))[:2]]
    made = {f"{path.parts[-3]}{path.name}": path.read_bytes() for path in golden}
    random = np.random.default_rng(5)
    for width, height in SIZES:
        shape = (height // 8 + 1, width // 8 + 1, 4)
        small = Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8))
        picture = small.resize((width, height), Image.Resampling.BICUBIC)
        made[f"{width}x{height}.dcn"] = decant.encode(picture.convert("RGB"), "nano")
        if width == 80:
            made["grey.dcn"] = decant.encode(picture.convert("L"), "nano")
            made["alpha.dcn"] = decant.encode(picture, "nano")
    return made


@pytest.fixture(scope="session")
def expected(files: dict[str, bytes]) -> dict[str, np.ndarray]:
    """Their pixels by the native runtime, RGBA."""
    return {name: rgba(decant.decode(data, runtime="native")) for name, data in files.items()}


def rgba(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).convert("RGBA"))
