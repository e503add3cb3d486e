"""The files of runtime/desktop: the type is recognised, and the commands that they name make pictures."""

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import decant
import numpy as np
import pytest
from PIL import Image

PAGE = Path(__file__).parents[2] / "docs" / "pillow.md"
DESKTOP = Path(__file__).parents[2] / "runtime" / "desktop"


@pytest.fixture
def coded(tmp_path: Path) -> Path:
    """A picture of 60x40 pixels that lies on its side, in a folder with a space."""
    folder = tmp_path / "my pictures"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.effect_mandelbrot((60, 40), (-2, -1.5, 1, 1.5), 90).convert("RGB")
    path = folder / "fractal.dcn"
    path.write_bytes(decant.encode(image, "nano", metadata=decant.Metadata(exif=exif.tobytes())))
    return path


def _environment(folder: Path) -> dict[str, str]:
    """Where ``decant`` is this checkout's."""
    program = folder / "bin" / "decant"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m decant.commands.cli "$@"\n')
    program.chmod(0o755)
    return os.environ | {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.skipif(not shutil.which("sh"), reason="there is no sh here")
def test_the_thumbnailer_makes_an_upright_png(coded: Path, tmp_path: Path) -> None:
    entry = configparser.ConfigParser(interpolation=None)
    entry.read(DESKTOP / "decant.thumbnailer")
    values = entry["Thumbnailer Entry"]
    out = tmp_path / "a thumbnail"  # file managers give names without a suffix
    names = {"%s": "32", "%i": str(coded), "%o": str(out)}
    command = [names.get(word, word) for word in shlex.split(values["Exec"])]
    subprocess.run(command, check=True, env=_environment(tmp_path), timeout=60)
    with Image.open(out) as image:
        assert (image.format, image.size) == ("PNG", (21, 32))


@pytest.mark.skipif(not shutil.which("sh"), reason="there is no sh here")
def test_the_delegate_decodes(coded: Path, tmp_path: Path) -> None:
    (delegate,) = ElementTree.parse(DESKTOP / "delegates.xml").getroot()
    out = tmp_path / "magick-1234"
    command = delegate.attrib["command"].replace("%i", str(coded)).replace("%o", str(out))
    subprocess.run(["sh", "-c", command], check=True, env=_environment(tmp_path), timeout=60)
    with Image.open(out) as image:
        assert np.array_equal(np.asarray(image), decant.open(coded))


def test_files_are_recognised_by_name_and_by_content(coded: Path, tmp_path: Path) -> None:
    if not shutil.which("update-mime-database") or not shutil.which("gio"):
        pytest.skip("update-mime-database or gio is not installed here")
    packages = tmp_path / "share" / "mime" / "packages"
    packages.mkdir(parents=True)
    shutil.copy(DESKTOP / "decant.xml", packages)
    subprocess.run(["update-mime-database", str(packages.parent)], check=True, timeout=60)
    unnamed = shutil.copy(coded, tmp_path / "unnamed")
    environment = os.environ | {"XDG_DATA_HOME": str(tmp_path / "share")}
    for path in (coded, unnamed):
        command = ["gio", "info", "-a", "standard::content-type", str(path)]
        said = subprocess.run(
            command, check=True, env=environment, capture_output=True, text=True, timeout=60
        )
        assert "standard::content-type: image/x-dcn" in said.stdout


def test_imageio_reads_through_pillow(coded: Path) -> None:
    import decant.pillow

    imageio = pytest.importorskip("imageio.v3", reason="imageio is not installed")
    assert np.array_equal(imageio.imread(coded, plugin="pillow"), decant.open(coded))


def test_numcodecs_codes_chunks_of_one_picture(coded: Path) -> None:
    numcodecs = pytest.importorskip("numcodecs", reason="numcodecs is not installed")
    codec = numcodecs.get_codec({"id": "decant", "model": "nano", "quality": 40})
    assert codec.get_config() == {"id": "decant", "model": "nano", "quality": 40}
    pixels = decant.open(coded)
    data = codec.encode(pixels[None])
    assert data == decant.encode(pixels, "nano", 40)
    out = np.empty((1, *pixels.shape), np.uint8)
    codec.decode(data, out=out)
    assert np.array_equal(out[0], decant.decode(data))
    assert np.array_equal(codec.decode(data), out[0])
    for wrong in (pixels.astype(np.float32), pixels[..., 0], np.stack([pixels, pixels])):
        with pytest.raises(ValueError, match="decant codes uint8 chunks"):
            codec.encode(wrong)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves the file open
def test_webdataset_decodes_with_the_function_of_the_guide(coded: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    (recipe,) = re.findall(r"```python\n(import decant, webdataset.*?)```", PAGE.read_text(), re.DOTALL)
    with webdataset.TarWriter(str(tmp_path / "train-000.tar")) as tar:
        tar.write({"__key__": "0", "dcn": coded.read_bytes(), "txt": "a fractal"})
    names: dict[str, object] = {}
    exec(recipe.replace("train-000.tar", str(tmp_path / "train-000.tar")), names)
    (sample,) = names["samples"]  # type: ignore[attr-defined]
    assert np.array_equal(sample["dcn"], decant.open(coded))
    assert sample["txt"] == "a fractal"
