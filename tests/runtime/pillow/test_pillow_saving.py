"""Saving `.dcn` files with Pillow, and their metadata."""

import io
from pathlib import Path
from typing import Any

import decant.pillow
import numpy as np
import pytest
from decant import DecantError, Encoder
from PIL import ExifTags, Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo
from pillow_files import EXIF, ICC, XMP, exif_of, opened, round_trip, saved

DOCS = Path(__file__).parents[3] / "docs" / "pillow.md"


# Metadata


def test_exif_orientation_is_left_to_the_user(path: Path, pixels: np.ndarray):
    image = Image.open(path)
    assert image.getexif()[ExifTags.Base.Orientation] == 6
    assert np.array_equal(np.asarray(image), pixels)
    upright = ImageOps.exif_transpose(image)
    assert np.array_equal(np.asarray(upright), np.rot90(pixels, -1))
    assert ExifTags.Base.Orientation not in upright.getexif()


def test_the_colour_profile_is_readable(path: Path):
    with Image.open(path) as image:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    assert "sRGB" in ImageCms.getProfileDescription(profile)


def test_metadata_is_kept_from_one_save_to_the_next(data: bytes):
    again = round_trip(opened(data))
    assert again.info == {"model": "tiny", "exif": EXIF, "icc_profile": ICC, "xmp": XMP}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_metadata_goes_through_other_formats_and_back(data: bytes, kind: str):
    stream = io.BytesIO()
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())  # PNG has no other place for it
    opened(data).save(stream, kind, exif=EXIF, icc_profile=ICC, xmp=XMP, pnginfo=text)
    again = round_trip(Image.open(stream))
    assert again.getexif()[ExifTags.Base.Orientation] == 6
    assert (again.info["icc_profile"], again.info["xmp"]) == (ICC, XMP)


@pytest.mark.parametrize("key", ["exif", "icc_profile", "xmp"])
@pytest.mark.parametrize("nothing", [None, b""])
def test_metadata_is_left_out_on_request(data: bytes, key: str, nothing: bytes | None):
    again = round_trip(opened(data), **{key: nothing})
    assert set(again.info) == {"model", "exif", "icc_profile", "xmp"} - {key}


def test_metadata_given_as_arguments(plain: Image.Image):
    for exif in (exif_of(3), exif_of(3).tobytes(), bytearray(exif_of(3).tobytes())):
        assert round_trip(plain, exif=exif).info == {"model": "tiny", "exif": exif_of(3).tobytes()}
    for xmp in (XMP, XMP.decode()):
        assert round_trip(plain, xmp=xmp).info == {"model": "tiny", "xmp": XMP}
    assert round_trip(plain, icc_profile=ICC).info == {"model": "tiny", "icc_profile": ICC}


@pytest.mark.parametrize(("key", "value"), [("exif", "text"), ("icc_profile", 5), ("xmp", ["x"])])
def test_metadata_of_a_wrong_type(plain: Image.Image, key: str, value: Any):
    with pytest.raises(TypeError, match=f"{key} of type {type(value).__name__}; bytes expected"):
        saved(plain, **{key: value})


# Saving


def test_saving_gives_the_bytes_of_the_encoder(tiny: Path, plain: Image.Image, tmp_path: Path):
    expected = Encoder(tiny).encode(plain)
    assert saved(plain) == saved(plain, model="tiny") == saved(plain, model=str(tiny)) == expected
    for name in ("a.dcn", "b.DCN"):
        plain.save(tmp_path / name)
        assert (tmp_path / name).read_bytes() == expected
    with (tmp_path / "c").open("wb") as stream:
        stream.write(b"before")
        plain.save(stream, format="dcn")
    assert (tmp_path / "c").read_bytes() == b"before" + expected


def test_saving_changes_nothing_in_the_picture(data: bytes):
    image = opened(data)
    image.load()
    before = dict(image.info), image.tobytes(), image.mode
    saved(image, exif=None, xmp=b"other")
    assert (image.info, image.tobytes(), image.mode) == before


def test_saving_over_the_file_that_is_open(path: Path, data: bytes, pixels: np.ndarray):
    image = Image.open(path)
    image.save(path)
    assert path.read_bytes() == saved(Image.fromarray(pixels), exif=EXIF, icc_profile=ICC, xmp=XMP)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBX", "YCbCr", "HSV"])
def test_modes_that_are_converted(plain: Image.Image, mode: str):
    image = plain.convert(mode)
    assert saved(image) == saved(image.convert("RGB"))


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "I", "I;16", "F"])
def test_modes_that_are_refused(mode: str, tmp_path: Path):
    with pytest.raises(OSError, match=f"cannot write mode {mode} as DCN"):
        Image.new(mode, (16, 16)).save(tmp_path / "a.dcn")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_a_model_without_alpha_refuses_it(mode: str):
    with pytest.raises(ValueError, match=r"alpha|transparency|mode"):
        saved(Image.new(mode, (16, 16)))


@pytest.mark.parametrize("value", [0, 101, -1, "60", 60.5, True, b"60"])
def test_quality_out_of_range(plain: Image.Image, value: Any):
    with pytest.raises(ValueError, match=r"quality .*; a whole number from 1 to 100 expected"):
        saved(plain, quality=value)


@pytest.mark.parametrize("value", [-1, 10, "1", 1.5, False])
def test_effort_out_of_range(plain: Image.Image, value: Any):
    with pytest.raises(ValueError, match=r"effort .*; a whole number from 0 to 9 expected"):
        saved(plain, effort=value)


def test_what_the_model_does_not_take_is_an_error_about_the_arguments(plain: Image.Image, tmp_path: Path):
    with pytest.raises(ValueError, match="tiny has no quality setting") as caught:
        plain.save(tmp_path / "a.dcn", quality=60)
    assert isinstance(caught.value.__cause__, DecantError)
    with pytest.raises(ValueError, match=r"17x16 pixels; model tiny takes 16x16 only"):
        plain.resize((17, 16)).save(tmp_path / "a.dcn")
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_not_here(plain: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(OSError, match="model other is not here"):
        plain.save(tmp_path / "a.dcn", model="other")
    monkeypatch.delenv("DECANT_BUNDLES")
    with pytest.raises(OSError, match="model tiny is not here"):
        plain.save(tmp_path / "a.dcn")
    assert not list(tmp_path.iterdir())


def test_options_of_the_encoder(tiny: Path, plain: Image.Image, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DECANT_BUNDLES")
    monkeypatch.setitem(decant.pillow.ENCODER_OPTIONS, "bundle_dir", str(tiny))
    monkeypatch.setitem(decant.pillow.ENCODER_OPTIONS, "runtime", "openvino")
    assert saved(plain) == Encoder(tiny, runtime="openvino").encode(plain)


def test_several_frames_are_refused_and_one_is_saved(plain: Image.Image):
    assert saved(plain, save_all=True) == saved(plain)
    with pytest.raises(ValueError, match="a DCN file holds one picture"):
        saved(plain, save_all=True, append_images=[plain])
    stream = io.BytesIO()
    plain.save(stream, "GIF", save_all=True, append_images=[plain.rotate(90), plain.rotate(180)])
    with Image.open(stream) as animation:
        assert animation.n_frames == 3
        with pytest.raises(ValueError, match="a DCN file holds one picture"):
            saved(animation, save_all=True)
        animation.seek(1)
        assert saved(animation) == saved(animation.convert("RGB"))
