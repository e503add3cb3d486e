"""One table of image modes for the command line, ``decant.encode`` and the Pillow plugin."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bundles
import decant
import decant.pillow
import numpy as np
import pytest
from commands import decant as command
from commands import refusal
from decant import Encoder, ImageError
from decant.formats import container
from decant.formats.input_images import read
from PIL import Image, ImageCms


@pytest.fixture
def encoder(codec: Path) -> Encoder:
    return Encoder(codec)


@pytest.fixture(scope="session")
def cut_out() -> Image.Image:
    """RGBA, 32x20, with soft edges."""
    photo = Image.fromarray(bundles.crops(3, 40)[2]).crop((0, 0, 32, 20))
    alpha = np.linspace(0, 255, 32).astype(np.uint8)[None].repeat(20, 0)
    photo.putalpha(Image.fromarray(alpha))
    return photo


def image_of(mode: str, cut_out: Image.Image) -> Image.Image:
    if mode == "La":
        return cut_out.convert("LA").convert("La")
    return cut_out.convert("RGB" if mode in ("YCbCr", "HSV", "RGBX") else "RGBA").convert(mode)


def by_plugin(image: Image.Image, codec: Path, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "DCN", model=str(codec), **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("mode", "grey", "alpha"),
    [
        ("1", True, False),
        ("L", True, False),
        ("LA", True, True),
        ("La", True, True),
        ("RGB", False, False),
        ("RGBX", False, False),
        ("YCbCr", False, False),
        ("HSV", False, False),
        ("RGBA", False, True),
        ("RGBa", False, True),
        ("P", False, True),
        ("PA", False, True),
    ],
)
def test_each_mode_is_encoded_alike_by_the_api_and_the_plugin(
    codec: Path, cut_out: Image.Image, mode: str, grey: bool, alpha: bool
):
    image = image_of(mode, cut_out)
    data = decant.encode(image, codec, effort=0)
    file = container.parse(data)
    assert (file.grey, file.alpha is not None) == (grey, alpha)
    assert by_plugin(image, codec, effort=0) == data
    if alpha:
        kept = decant.decode(data, bundle_dir=codec)[:, :, 3]
        assert np.array_equal(kept, np.asarray(image.convert("LA" if grey else "RGBA").getchannel("A")))


def test_a_palette_with_alpha_keeps_it_by_the_command_too(codec: Path, tmp_path: Path):
    image = Image.new("RGBA", (32, 32), (255, 0, 0, 0)).quantize()
    decant.save(tmp_path / "q.dcn", image, codec, effort=0)
    assert decant.open(tmp_path / "q.dcn", bundle_dir=codec).shape == (32, 32, 4)
    image.save(tmp_path / "q.png")
    assert command("encode", tmp_path / "q.png", tmp_path / "c.dcn", "--model", codec).exit_code == 0
    assert decant.info(tmp_path / "c.dcn").mode == "RGBA"


@pytest.mark.parametrize(
    ("shape", "mode"), [((), "L"), ((1,), "L"), ((2,), "LA"), ((3,), "RGB"), ((4,), "RGBA")]
)
def test_arrays_of_one_to_four_channels(codec: Path, shape: tuple[int, ...], mode: str):
    array = np.random.default_rng(0).integers(0, 256, (20, 32, *shape), np.uint8)
    data = decant.encode(array, codec, effort=0)
    assert decant.info(data).mode == mode
    if "A" in mode:
        assert np.array_equal(decant.decode(data, bundle_dir=codec)[:, :, 3], array[:, :, -1])


def bmp_565() -> bytes:
    """16 x 4 pixels of pure red, as Windows writes 5-6-5 bits."""
    pixels = np.full((4, 16), 0xF800, "<u2").tobytes()
    masks = b"".join(value.to_bytes(4, "little") for value in (0xF800, 0x07E0, 0x001F))
    head = b"".join(value.to_bytes(4, "little") for value in (40, 16, 4)) + b"\x01\x00\x10\x00"
    head += b"".join(value.to_bytes(4, "little") for value in (3, len(pixels), 2835, 2835, 0, 0))
    size = 14 + len(head) + len(masks)
    return (
        b"BM"
        + (size + len(pixels)).to_bytes(4, "little")
        + bytes(4)
        + size.to_bytes(4, "little")
        + (head + masks + pixels)
    )


def test_bmp_of_5_6_5_bits_is_8_bits(encoder: Encoder):
    with Image.open(io.BytesIO(bmp_565())) as image:
        data = encoder.encode(image, effort=0)
    assert data == encoder.encode(np.full((4, 16, 3), (255, 0, 0), np.uint8), effort=0)


# Colours and depths that are converted on request


@pytest.mark.parametrize(
    ("mode", "option"), [("CMYK", "--to-srgb"), ("LAB", "--to-srgb"), ("I;16", "--depth 8")]
)
def test_refusals_name_the_option_at_every_door(codec: Path, tmp_path: Path, mode: str, option: str):
    image = Image.new(mode, (16, 16))
    with pytest.raises(ImageError, match=option):
        decant.encode(image, codec)
    with pytest.raises(OSError, match=option):
        by_plugin(image, codec)
    image.save(tmp_path / "a.tif")
    assert option in refusal("encode", tmp_path / "a.tif", tmp_path / "a.dcn", "--model", codec)


def test_16_bits_are_rounded(codec: Path, tmp_path: Path):
    levels = np.arange(0, 65536, 128, dtype=np.uint16).reshape(16, 32)
    expected = np.rint(levels / 257).astype(np.uint8)
    image = Image.fromarray(levels)
    data = decant.encode(image, codec, effort=0, depth=8)
    assert data == decant.encode(expected, codec, effort=0)
    assert by_plugin(image, codec, effort=0, depth=8) == data
    image.save(tmp_path / "a.png")
    options = ("--model", codec, "--effort", 0, "--depth", 8)
    assert command("encode", tmp_path / "a.png", tmp_path / "a.dcn", *options).exit_code == 0
    assert (tmp_path / "a.dcn").read_bytes() == data
    wide = Image.fromarray(levels.astype(np.int32) * 4)
    with pytest.raises(ImageError, match="mode I with values from 0 to 261632"):
        decant.encode(wide, codec, depth=8)
    with pytest.raises(ImageError, match="depth 10; 8 or None expected"):
        decant.encode(image, codec, depth=10)


def test_a_transparent_level_of_16_bits_becomes_alpha(codec: Path, tmp_path: Path):
    levels = np.full((8, 8), 40000, np.uint16)
    levels[2:5] = 40001
    Image.fromarray(levels).save(tmp_path / "a.png", transparency=40001)
    with Image.open(tmp_path / "a.png") as image:
        pixels = decant.decode(decant.encode(image, codec, depth=8), bundle_dir=codec)
    assert np.array_equal(pixels[:, :, 3] == 0, levels == 40001)


def profile_of(gamma: float) -> bytes:
    from decant.formats.png_colours import SRGB_CHROMATICITY, profile_of

    profile = profile_of(gamma, SRGB_CHROMATICITY, grey=False)
    assert profile is not None
    return profile


def test_colours_are_converted_by_the_profile(codec: Path):
    """Linear light of 0.2158 is sRGB level 128."""
    image = Image.new("RGBA", (16, 16), (55, 55, 55, 9))
    image.info["icc_profile"] = profile_of(1.0)
    for encode in (decant.encode, by_plugin):
        convert: Callable[..., bytes] = encode
        file = container.parse(convert(image, codec, effort=0, to_srgb=True))
        assert file.icc is None
        assert file.alpha == bytes([0, 9])
    picture, _ = read(image, "a.png", 1000, to_srgb=True)
    assert np.abs(picture.pixels.astype(int) - 128).max() <= 1


@pytest.mark.parametrize("mode", ["CMYK", "LAB"])
def test_other_colour_spaces_become_srgb(codec: Path, tmp_path: Path, mode: str):
    red = Image.new("RGB", (16, 16), (200, 40, 30))
    if mode == "LAB":
        profiles = [ImageCms.createProfile(space) for space in ("sRGB", "LAB")]
        image = ImageCms.profileToProfile(red, *profiles, outputMode="LAB")
    else:
        image = red.convert("CMYK")
    image.save(tmp_path / "a.tif")
    options = ("--model", codec, "--quality", 95, "--to-srgb")
    assert command("encode", tmp_path / "a.tif", tmp_path / "a.dcn", *options).exit_code == 0
    pixels = decant.open(tmp_path / "a.dcn", bundle_dir=codec)
    assert np.abs(pixels.mean((0, 1)) - (200, 40, 30)).max() < 12


def test_a_profile_of_another_colour_space_is_ignored_with_a_warning(codec: Path):
    image = Image.new("L", (16, 16), 90)
    image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with pytest.warns(decant.MetadataWarning, match=r"ICC profile \(RGB\) does not fit mode L"):
        data = decant.encode(image, codec, effort=0, to_srgb=True)
    assert data == decant.encode(np.full((16, 16), 90, np.uint8), codec, effort=0)


# Input formats


def test_postscript_is_refused_whatever_its_name(
    codec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Ghostscript is never started: no process is."""
    Image.new("RGB", (16, 16)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    monkeypatch.setattr("subprocess.Popen", None)
    message = refusal("encode", tmp_path / "a.png", tmp_path / "a.dcn", "--model", codec)
    assert "not an image in a format that decant reads (AVIF, BMP" in message
    with (
        Image.open(tmp_path / "a.png") as image,
        pytest.raises(ImageError, match="EPS files with another"),
    ):
        decant.encode(image, codec)
