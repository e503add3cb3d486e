"""EXIF, ICC, XMP and the resolution, from every format, through every door, and out again."""

import io
import warnings
import zlib
from pathlib import Path
from typing import Any

import decant
import decant.pillow
import numpy as np
import pytest
from commands import decant as command
from decant.formats import exif as blocks
from decant.formats.orientation import turned
from decant.formats.png_colours import SRGB_CHROMATICITY, profile_of
from PIL import ExifTags, Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
TAKEN = "2020:01:01 00:00:00"
Exif, GPS = ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo


def camera_exif(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "Maker"
    exif.get_ifd(Exif)[ExifTags.Base.DateTimeOriginal] = TAKEN
    exif.get_ifd(GPS)[ExifTags.GPS.GPSLatitudeRef] = "N"
    return exif


def picture() -> Image.Image:
    levels = np.arange(24 * 40 * 3).reshape(24, 40, 3) * 37 % 251
    return Image.fromarray((levels // 16 + np.arange(40)[None, :, None] * 5).astype(np.uint8))


@pytest.fixture(autouse=True)
def _codec_is_found(codec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECANT_BUNDLES", str(codec))
    monkeypatch.setattr(decant.pillow, "DEFAULT_MODEL", "codec")


def encoded(path: Path, door: str) -> Image.Image:
    """The .dcn file that each door makes of a picture file, opened by the plugin."""
    out = path.with_suffix(".dcn")
    if door == "command":
        result = command("encode", path, out, "--model", "codec", "--effort", 0)
        assert result.exit_code == 0, result.output
    else:
        with Image.open(path) as image:
            if door == "api":
                decant.save(out, image, "codec", effort=0)
            else:
                image.save(out, effort=0)
    return Image.open(io.BytesIO(out.read_bytes()))


@pytest.mark.parametrize("door", ["command", "api", "plugin"])
class TestKept:
    def test_exif_of_jpeg(self, tmp_path: Path, door: str):
        picture().save(tmp_path / "a.jpg", exif=camera_exif(6), icc_profile=ICC, xmp=XMP)
        found = encoded(tmp_path / "a.jpg", door)
        assert found.getexif()[ExifTags.Base.Orientation] == 6
        assert found.getexif().get_ifd(Exif)[ExifTags.Base.DateTimeOriginal] == TAKEN
        assert (found.info["icc_profile"], found.info["xmp"]) == (ICC, XMP)

    def test_tags_of_tiff(self, tmp_path: Path, door: str):
        tags = camera_exif()
        tags[ExifTags.Base.ImageDescription] = "described"
        tags[ExifTags.Base.Copyright] = "\xa9 ours"
        picture().save(tmp_path / "a.tif", exif=tags.tobytes(), icc_profile=ICC, dpi=(240, 240))
        found = encoded(tmp_path / "a.tif", door)
        exif = found.getexif()
        assert exif[ExifTags.Base.ImageDescription] == "described"
        assert exif[ExifTags.Base.Make] == "Maker"
        assert exif.get_ifd(Exif)[ExifTags.Base.DateTimeOriginal] == TAKEN
        assert exif.get_ifd(GPS)[ExifTags.GPS.GPSLatitudeRef] == "N"
        assert ExifTags.Base.StripOffsets not in exif
        assert found.info["dpi"] == (240, 240)
        assert found.info["icc_profile"] == ICC

    def test_a_raw_profile_in_png(self, tmp_path: Path, door: str):
        block = camera_exif(6).tobytes()
        text = PngInfo()
        text.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n")
        picture().save(tmp_path / "a.png", pnginfo=text)
        assert encoded(tmp_path / "a.png", door).getexif()[ExifTags.Base.Orientation] == 6

    def test_xmp_of_png(self, tmp_path: Path, door: str):
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        picture().save(tmp_path / "a.png", pnginfo=text)
        assert encoded(tmp_path / "a.png", door).info["xmp"] == XMP

    @pytest.mark.parametrize("kind", ["png", "jpg", "tif", "bmp"])
    def test_the_resolution(self, tmp_path: Path, door: str, kind: str):
        picture().save(tmp_path / f"a.{kind}", dpi=(300, 150))
        found = encoded(tmp_path / f"a.{kind}", door)
        assert found.info["dpi"] == pytest.approx((300, 150), rel=1e-3)

    def test_the_resolution_joins_exif(self, tmp_path: Path, door: str):
        picture().save(tmp_path / "a.png", dpi=(300, 300), exif=camera_exif(6))
        found = encoded(tmp_path / "a.png", door)
        assert found.info["dpi"] == pytest.approx((300, 300), rel=1e-3)
        assert found.getexif()[ExifTags.Base.Orientation] == 6
        assert found.getexif().get_ifd(Exif)[ExifTags.Base.DateTimeOriginal] == TAKEN

    def test_colours_of_png_become_a_profile(self, tmp_path: Path, door: str):
        save_with_gamma(tmp_path / "a.png", 1.0)
        profile = encoded(tmp_path / "a.png", door).info["icc_profile"]
        assert profile == profile_of(1.0, None, grey=False)


def save_with_gamma(path: Path, gamma: float) -> None:
    stream = io.BytesIO()
    picture().save(stream, "PNG")
    data = stream.getvalue()
    chunk = b"gAMA" + round(gamma * 100000).to_bytes(4, "big")

    path.write_bytes(
        data[:33] + b"\x00\x00\x00\x04" + chunk + zlib.crc32(chunk).to_bytes(4, "big") + data[33:]
    )


def test_metadata_in_info_of_pictures_made_in_memory():
    image = picture()
    image.info["XML:com.adobe.xmp"] = XMP.decode()
    image.info["dpi"] = (96, 96)
    found = decant.info(decant.encode(image, "codec", effort=0))
    assert (found.metadata, found.dpi) == (("exif", "xmp"), (96, 96))


def test_72_dpi_and_nonsense_take_no_bytes():
    for dpi in ((72, 72), (0, 0), (float("nan"), 3), "72", (1, 2, 3)):
        image = picture()
        image.info["dpi"] = dpi
        assert decant.info(decant.encode(image, "codec", effort=0)).metadata == ()


def test_maker_notes_are_not_moved():
    image = picture()
    exif = camera_exif()
    exif.get_ifd(Exif)[ExifTags.Base.MakerNote] = b"offsets inside"
    image.info |= {"exif": exif.tobytes(), "dpi": (300, 300)}
    with pytest.warns(decant.MetadataWarning, match="resolution, 300x300 pixels per inch, is not kept"):
        data = decant.encode(image, "codec", effort=0)
    assert decant.info(data).sections["exif"] == len(exif.tobytes())


def test_a_damaged_raw_profile_is_said():
    image = picture()
    image.info["Raw profile type exif"] = "\nexif\n 4\nno hexadecimal\n"
    with pytest.warns(decant.MetadataWarning, match="EXIF is damaged and not kept"):
        decant.encode(image, "codec", effort=0)


# Profiles of gAMA and cHRM


def test_srgb_needs_no_profile():
    assert profile_of(0.45455, None, grey=False) is None
    assert profile_of(0.45455, SRGB_CHROMATICITY, grey=False) is None
    assert profile_of(None, SRGB_CHROMATICITY, grey=False) is None


def test_the_profile_of_srgb_primaries_has_those_of_the_srgb_profile():
    profile = profile_of(1.0, SRGB_CHROMATICITY, grey=False)
    assert profile is not None
    read, srgb = (ImageCms.ImageCmsProfile(io.BytesIO(data)).profile for data in (profile, ICC))
    for name in ("red_colorant", "green_colorant", "blue_colorant"):
        assert np.allclose(getattr(read, name)[0], getattr(srgb, name)[0], atol=2e-3)


@pytest.mark.parametrize(
    ("gamma", "places"),
    [
        (0.0, None),
        (1e9, None),
        (float("nan"), None),
        (None, (0.3,) * 8),
        (None, (0.3127, 0, *SRGB_CHROMATICITY[2:])),
        (None, (float("inf"),) * 8),
        (None, (0.3, 0.3)),
    ],
)
def test_numbers_that_describe_no_colours(gamma: float | None, places: Any):
    with pytest.raises(ValueError, match=r"gamma|chromaticity"):
        profile_of(gamma, places, grey=False)


def test_grey_gets_a_grey_profile():
    profile = profile_of(1.0, None, grey=True)
    assert profile is not None
    assert ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space == "GRAY"


# Writing pictures


@pytest.fixture
def coded(tmp_path: Path) -> Path:
    """A .dcn file with all metadata and orientation 6."""
    picture().save(tmp_path / "c.jpg", exif=camera_exif(6), dpi=(300, 300), icc_profile=ICC, xmp=XMP)
    encoded(tmp_path / "c.jpg", "command").close()
    return tmp_path / "c.dcn"


@pytest.mark.parametrize("suffix", [".tif", ".png", ".webp"])
def test_camera_exif_comes_out(coded: Path, suffix: str):
    target = coded.with_suffix(suffix)
    result = command("decode", coded, target)
    assert (result.exit_code, result.output) == (0, "")
    with Image.open(target) as image:
        exif = image.getexif()
        assert exif.get_ifd(Exif)[ExifTags.Base.DateTimeOriginal] == TAKEN
        assert exif.get_ifd(GPS)[ExifTags.GPS.GPSLatitudeRef] == "N"
        assert exif[ExifTags.Base.Orientation] == 6
        assert (image.info["icc_profile"], image.info["xmp"].strip()) == (ICC, XMP)
        if suffix != ".webp":
            assert image.info["dpi"] == pytest.approx((300, 300), rel=1e-3)
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(image)), decant.open(coded, upright=True))


def test_damaged_exif_does_not_keep_a_tiff_from_being_written(tmp_path: Path):
    data = decant.encode(picture(), "codec", effort=0, metadata=decant.Metadata(exif=b"garbage", xmp=XMP))
    (tmp_path / "a.dcn").write_bytes(data)
    result = command("decode", tmp_path / "a.dcn", tmp_path / "a.tif")
    assert result.exit_code == 0
    assert ".tif does not hold EXIF, which is damaged" in result.stderr
    with Image.open(tmp_path / "a.tif") as image:
        assert np.array_equal(ImageOps.exif_transpose(image).size, image.size)


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_is_pillows(orientation: int):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = picture()
    image.info["exif"] = exif.tobytes()
    expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(turned(np.asarray(image), orientation), expected)
    assert blocks.orientation_of(exif.tobytes()) == orientation
    assert blocks.orientation_of(blocks.turned_exif(exif.tobytes())) == 1


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".ppm", ".npy"])
def test_upright_turns_every_format(coded: Path, suffix: str):
    target = coded.with_suffix(suffix)
    assert command("decode", coded, target, "--upright", "--quiet").exit_code == 0
    expected = decant.decode(coded.read_bytes(), upright=True)
    assert expected.shape == (40, 24, 3)
    if suffix == ".npy":
        assert np.array_equal(np.load(target), expected)
        return
    with Image.open(target) as image:
        assert image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        assert np.array_equal(np.asarray(image), expected)


@pytest.mark.parametrize("suffix", [".ppm", ".npy"])
def test_what_a_format_cannot_hold_is_said_in_one_line(coded: Path, suffix: str, tmp_path: Path):
    result = command("decode", coded, coded.with_suffix(suffix))
    assert result.stderr.count("\n") == 1
    assert f"{suffix} does not hold orientation 6 (--upright turns the picture), EXIF, ICC" in result.stderr
    (tmp_path / "in").mkdir()
    coded.rename(tmp_path / "in" / "a.dcn")
    result = command("decode", tmp_path / "in", tmp_path / "out", "--format", suffix[1:])
    assert "1 without metadata that the format does not hold" in result.stderr


# EXIF blocks


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("prefix", [b"", blocks.PREFIX, 2 * blocks.PREFIX])
def test_only_the_orientation_changes(order: str, prefix: bytes):
    exif = camera_exif(8)
    exif.endian = order
    block = prefix + exif.tobytes()[len(blocks.PREFIX) :]
    after = blocks.turned_exif(block)
    assert (blocks.orientation_of(block), blocks.orientation_of(after)) == (8, 1)
    assert sum(one != other for one, other in zip(block, after, strict=True)) == 1


def test_damaged_blocks_have_no_orientation_and_stay_as_they_are():
    block = camera_exif(6).tobytes()
    rng = np.random.default_rng(1)
    damaged = [block[:length] for length in range(len(block))]
    damaged += [bytes(rng.integers(0, 256, 60, np.uint8)) for _ in range(50)]
    damaged += [b"II*\x00\xff\xff\xff\xff", b"MM\x00*\x00\x00\x00\x08\xff\xff"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for one in damaged:
            assert blocks.orientation_of(one) in (1, 6)
            assert len(blocks.turned_exif(one)) == len(one)
            blocks.dpi_of(one)


def test_xmp_says_the_orientation_where_exif_does_not():
    assert blocks.orientation_of(None, XMP) == 6
    assert blocks.orientation_of(camera_exif(3).tobytes(), XMP) == 3
    assert blocks.orientation_of(None, blocks.turned_xmp(XMP)) == 1
