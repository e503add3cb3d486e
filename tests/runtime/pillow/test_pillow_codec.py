"""The Pillow plugin with a codec: any size, grey, alpha, qualities."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bundles
import decant.pillow
import numpy as np
import pytest
from decant import Decoder, Encoder
from PIL import Image, ImageOps
from pillow_files import exif_of, opened, round_trip, saved

DOCS = Path(__file__).parents[3] / "docs" / "pillow.md"


@pytest.fixture
def coded(codec: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The codec's folder, where the plugin finds it."""
    monkeypatch.setenv("DECANT_BUNDLES", str(codec))
    monkeypatch.setattr(decant.pillow, "DEFAULT_MODEL", str(codec))
    return codec


@pytest.fixture(scope="session")
def cut_out() -> Image.Image:
    """RGBA, 70x45, with soft edges."""
    photo = Image.fromarray(bundles.crops(3, 70)[2]).crop((0, 0, 70, 45))
    x, y = np.meshgrid(np.linspace(-1, 1, 70), np.linspace(-1, 1, 45))
    photo.putalpha(Image.fromarray(np.clip(600 * (1 - np.hypot(x, y)), 0, 255).astype(np.uint8)))
    return photo


@pytest.mark.parametrize(
    ("mode", "kept"),
    [
        ("RGB", "RGB"),
        ("RGBA", "RGBA"),
        ("RGBX", "RGB"),
        ("RGBa", "RGBA"),
        ("L", "L"),
        ("LA", "LA"),
        ("La", "LA"),
        ("1", "L"),
        ("P", "RGBA"),  # quantizing a picture with alpha gives a palette with alpha
        ("PA", "RGBA"),
        ("YCbCr", "RGB"),
        ("HSV", "RGB"),
    ],
)
def test_modes_that_a_codec_keeps(coded: Path, cut_out: Image.Image, mode: str, kept: str):
    if mode == "La":
        image = cut_out.convert("LA").convert("La")
    else:
        image = cut_out.convert("RGB" if mode in ("YCbCr", "HSV") else "RGBA").convert(mode)
    data = saved(image, quality=70)
    again = opened(data)
    assert (again.mode, again.size) == (kept, (70, 45))
    pixels = Decoder(coded).decode(data)
    assert np.array_equal(np.asarray(again.convert("RGBA"))[:, :, : pixels.shape[2]], pixels)
    if "A" in kept:
        assert again.getchannel("A").tobytes() == image.convert(kept).getchannel("A").tobytes()
    assert round_trip(again, quality=70).mode == kept


@pytest.mark.parametrize(
    ("mode", "transparent", "kept"), [("RGB", (9, 8, 7), "RGBA"), ("L", 9, "LA"), ("P", 1, "RGBA")]
)
def test_one_transparent_colour_becomes_alpha(
    coded: Path, mode: str, transparent: Any, kept: str, tmp_path: Path
):
    image = Image.new(mode, (20, 10), transparent)
    image.paste(Image.new(mode, (10, 10), 0), (0, 0))
    if mode == "P":
        image.putpalette([200, 100, 50, 1, 2, 3])
    image.save(tmp_path / "a.png", transparency=transparent)
    with Image.open(tmp_path / "a.png") as source:
        again = round_trip(source)
    assert again.mode == kept
    assert again.getchannel("A").getcolors() == [(100, 0), (100, 255)]
    assert again.getchannel("A").getbbox() == (0, 0, 10, 10)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (130, 3), (64, 64), (65, 63)])
def test_any_size(coded: Path, size: tuple[int, int]):
    image = Image.fromarray(bundles.crops(3, 140)[1]).crop((0, 0, *size))
    for mode in ("RGB", "LA"):
        again = round_trip(image.convert(mode))
        again.load()
        assert (again.size, again.mode) == (size, mode)


def test_settings_are_the_encoders(coded: Path, cut_out: Image.Image):
    image = cut_out.convert("RGB")
    encoder = Encoder(coded)
    assert saved(image) == encoder.encode(image)
    assert round_trip(image).info["quality"] == 60
    for settings in (
        {"quality": 1},
        {"quality": 100, "effort": 0},
        {"target_bpp": 24.0},
        {"target_psnr": 5.0},
    ):
        assert saved(image, **settings) == encoder.encode(image, **settings)
    assert round_trip(image, quality=33).info["quality"] == 33
    with pytest.raises(
        ValueError, match="give one of quality, target_bpp, target_psnr and target_ssimulacra2"
    ):
        saved(image, quality=50, target_bpp=1.0)
    with pytest.raises(ValueError, match="target_psnr -1; a positive number expected"):
        saved(image, target_psnr=-1)
    with pytest.raises(ValueError, match="effort 10"):
        saved(image, effort=10)


def test_turning_upright(coded: Path, cut_out: Image.Image):
    image = round_trip(cut_out, exif=exif_of(6))
    assert image.size == (70, 45)
    upright = ImageOps.exif_transpose(image)
    assert upright.size == (45, 70)
    assert np.array_equal(np.asarray(upright), np.rot90(np.asarray(image), -1))


def test_threads_share_one_decoder_of_a_codec(coded: Path, cut_out: Image.Image):
    files = [saved(cut_out.rotate(angle), quality=80) for angle in (0, 90, 180, 270)]
    expected = [np.asarray(opened(data)) for data in files]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda data: np.asarray(opened(data)), files * 5))
    for one, other in zip(expected * 5, found, strict=True):
        assert np.array_equal(one, other)


def test_the_documented_example_runs(
    coded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    photo = Image.fromarray(bundles.crops(3, 240)[0]).crop((0, 0, 240, 160))
    photo.save("photo.jpg", exif=exif_of(6))
    example = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)[0]
    found: dict[str, Any] = {}
    exec(example, found)
    promised = re.findall(r"# (DCN RGB .*|lite 60)$", example, re.MULTILINE)
    assert len(promised) == 2
    name = found["image"].info["model"]
    assert capsys.readouterr().out.splitlines() == [line.replace("lite", name) for line in promised]
    assert (found["image"].size, found["upright"].size) == ((100, 67), (67, 100))
