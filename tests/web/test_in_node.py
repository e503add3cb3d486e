"""The player's decoder in node: the pixels of the native runtime, and errors for hostile files."""

import gzip
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import decant
import decant.pillow
import numpy as np
import pytest
from PIL import Image

HERE = Path(__file__).parent
WEB = HERE.parents[1] / "runtime" / "web"


@pytest.fixture(scope="session")
def node() -> str:
    found = shutil.which("node")
    if not found:
        pytest.skip("node is not installed here")
    return found


def _decoded(node: str, package: Path, folder: Path) -> dict[str, dict[str, Any]]:
    command = [node, str(HERE / "decode_all.mjs"), str(package), str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr[-2000:]
    first, *lines = (json.loads(line) for line in result.stdout.splitlines())
    assert first == {"kernels": "wasm"}
    return {line.pop("name"): line for line in lines}


def test_pixels_are_those_of_the_native_runtime(
    node: str, package: Path, files: dict[str, bytes], expected: dict[str, np.ndarray], tmp_path: Path
) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    said = _decoded(node, package, tmp_path)
    assert said.keys() == files.keys()
    for name, pixels in expected.items():
        assert said[name] == {"width": pixels.shape[1], "height": pixels.shape[0]}
        found = np.fromfile(tmp_path / f"{name}.rgba", np.uint8).reshape(pixels.shape)
        seen = pixels[..., 3:] > 0  # colours under alpha 0 are unspecified
        assert np.array_equal(found[..., 3], pixels[..., 3])
        assert np.array_equal(found * seen, pixels * seen), name


def test_pictures_are_turned_upright_as_pillow_turns_them(node: str, package: Path, tmp_path: Path) -> None:
    picture = Image.effect_mandelbrot((24, 17), (-2, -1.5, 1, 1.5), 90).convert("RGB")
    expected = {}
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        name = f"turned{orientation}.dcn"
        picture.save(tmp_path / name, model="nano", exif=exif)
        expected[name] = decant.decode((tmp_path / name).read_bytes(), runtime="native", upright=True)
    said = _decoded(node, package, tmp_path)
    for name, pixels in expected.items():
        assert said[name] == {"width": pixels.shape[1], "height": pixels.shape[0]}, name
        found = np.fromfile(tmp_path / f"{name}.rgba", np.uint8).reshape(*pixels.shape[:2], 4)
        assert np.array_equal(found[..., :3], pixels), name


def test_hostile_files_are_errors_and_the_decoder_goes_on(
    node: str, package: Path, files: dict[str, bytes], tmp_path: Path
) -> None:
    good = files["80x79.dcn"]
    random = np.random.default_rng(3)
    for i in range(40):
        damaged = bytearray(good)
        damaged[random.integers(len(good))] ^= 1 << int(random.integers(8))
        (tmp_path / f"flip{i:02}.dcn").write_bytes(damaged)
    for i, end in enumerate(range(0, len(good), 97)):
        (tmp_path / f"cut{i:03}.dcn").write_bytes(good[:end])
    (tmp_path / "zzz.dcn").write_bytes(good)
    said = _decoded(node, package, tmp_path)
    assert said.pop("zzz.dcn") == {"width": 80, "height": 79}
    assert len(said) > 45
    for name, line in said.items():
        assert line["code"] in {"bad-file", "no-model", "too-large"}, (name, line)
        assert line["message"]
        assert "decoder stopped" not in line["message"]  # no trap


def test_npm_packs_the_package_and_node_finds_its_parts(node: str, package: Path) -> None:
    npm = shutil.which("npm")
    if not npm:
        pytest.skip("npm is not installed here")
    folder = package.parent
    shutil.copy(WEB / "package.json", folder)
    command = [npm, "pack", "--dry-run", "--json", "--offline"]
    said = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=60).stdout
    packed = {file["path"] for file in json.loads(said)[0]["files"]}
    built = {path.relative_to(folder).as_posix() for path in package.glob("*.*")}
    assert packed >= {"package.json", "dist/decant.wasm", "dist/models/nano.dcnm", "dist/index.d.ts"} | (
        built - {path for path in built if path.endswith(".dcn")}
    )
    script = "const { Decoder } = await import('decant-player/decoder'); console.log(Decoder.name);"
    command = [node, "--input-type=module", "-e", script]
    assert subprocess.check_output(command, cwd=folder, text=True, timeout=60) == "Decoder\n"


def test_the_module_imports_nothing_and_is_small(package: Path) -> None:
    wasm = (package / "decant.wasm").read_bytes()
    assert len(gzip.compress(wasm, 9)) <= 120_000
    assert b"wasi_snapshot" not in wasm
