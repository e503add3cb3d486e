"""The Pillow plugin: opening is lazy, saving keeps what Pillow users expect to be kept, and every failure is
one that they already catch.
"""

import copy
import gc
import io
import os
import pickle
import re
import socket
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundles
import decant.pillow
import numpy as np
import pytest
from decant import DecantError, Decoder, Encoder
from decant.formats import container
from PIL import ExifTags, Image, ImageCms, ImageOps, ImageSequence, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

DOCS = Path(__file__).parents[2] / "docs" / "pillow.md"
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF/></x:xmpmeta>'
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


EXIF = exif_of(6).tobytes()


@pytest.fixture(autouse=True)
def _tiny_is_found(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECANT_BUNDLES", str(tiny))
    monkeypatch.setattr(decant.pillow, "DEFAULT_MODEL", "tiny")


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    return bundles.crops(200)[5]


@pytest.fixture(scope="session")
def data(tiny: Path, picture: np.ndarray) -> bytes:
    """A file with all metadata."""
    image = Image.fromarray(picture)
    image.info.update(exif=EXIF, icc_profile=ICC, xmp=XMP)
    return Encoder(tiny).encode(image)


@pytest.fixture(scope="session")
def pixels(tiny: Path, data: bytes) -> np.ndarray:
    """What it decodes to."""
    return Decoder(tiny).decode(data)


@pytest.fixture
def path(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "photo.dcn").write_bytes(data)
    return tmp_path / "photo.dcn"


@pytest.fixture
def plain(picture: np.ndarray) -> Image.Image:
    return Image.fromarray(picture)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def saved(image: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "DCN", **options)
    return stream.getvalue()


def round_trip(image: Image.Image, **options: Any) -> Image.Image:
    return opened(saved(image, **options))


# Opening


def test_pillow_knows_the_format():
    assert Image.registered_extensions()[".dcn"] == "DCN"
    assert Image.MIME["DCN"] == "image/x-dcn"
    assert {"DCN"} <= set(Image.OPEN) & set(Image.SAVE) & set(Image.SAVE_ALL)


def test_open_from_anything_that_pillow_opens_from(path: Path, data: bytes, pixels: np.ndarray):
    with path.open("rb") as stream:
        for source in (path, str(path), os.fsencode(path), io.BytesIO(data), stream):
            with Image.open(source) as image:
                assert isinstance(image, decant.pillow.DcnImageFile)
                assert (image.format, image.mode, image.size) == ("DCN", "RGB", (16, 16))
                assert image.get_format_mimetype() == "image/x-dcn"
                assert np.array_equal(np.asarray(image), pixels)


def test_a_stream_that_cannot_seek(data: bytes, pixels: np.ndarray):
    here, there = socket.socketpair()
    with here, there:
        there.sendall(data)
        there.shutdown(socket.SHUT_WR)
        with here.makefile("rb", buffering=0) as stream, Image.open(stream) as image:
            assert np.array_equal(np.asarray(image), pixels)


def test_only_the_formats_asked_for(path: Path):
    with Image.open(path, formats=["DCN"]) as image:
        assert image.format == "DCN"
    with pytest.raises(UnidentifiedImageError):
        Image.open(path, formats=["PNG", "JPEG"])


class CountingStream(io.BytesIO):
    """Counts the bytes read from it."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        block = super().read(size)
        self.count += len(block)
        return block


def test_opening_reads_header_and_metadata_alone(data: bytes):
    file = replace(container.parse(data), latents=bytes(10_000_000))
    stream = CountingStream(container.write(file))
    image = Image.open(stream)
    assert image.info == {"model": "tiny", "exif": EXIF, "icc_profile": ICC, "xmp": XMP}
    assert stream.count < 300 + len(EXIF + ICC + XMP)


@pytest.mark.parametrize(
    ("grey", "alpha", "mode"),
    [(False, False, "RGB"), (False, True, "RGBA"), (True, False, "L"), (True, True, "LA")],
)
def test_the_header_tells_mode_size_and_quality(grey: bool, alpha: bool, mode: str):
    file = container.DcnFile(
        "lite", b"\x01" * 8, 640, 480, b"", quality=60, grey=grey, alpha=b"" if alpha else None
    )
    image = opened(container.write(file))
    assert (image.mode, image.size) == (mode, (640, 480))
    assert image.info == {"model": "lite", "quality": 60}


def test_opening_imports_no_numpy_and_no_runtime(path: Path):
    code = (
        "import sys, decant.pillow\nfrom PIL import Image\n"
        f"image = Image.open({str(path)!r})\nprint(image.size, image.info['model'], "
        "*[name for name in ('numpy', 'onnxruntime', 'openvino') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "(16, 16) tiny\n"


def test_without_the_import_pillow_does_not_know_the_format(path: Path):
    """There is no entry point that could do it (docs/pillow.md)."""
    code = f"import decant\nfrom PIL import Image\nImage.open({str(path)!r})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "UnidentifiedImageError" in run.stderr


def test_a_file_object_can_be_used_again(path: Path, pixels: np.ndarray):
    with path.open("rb") as stream:
        for _ in range(2):
            assert np.array_equal(np.asarray(Image.open(stream)), pixels)
        assert not stream.closed


def test_no_file_stays_open(path: Path, tmp_path: Path, data: bytes):
    (tmp_path / "cut.dcn").write_bytes(data[:-10])
    (tmp_path / "damaged.dcn").write_bytes(data[:45] + bytes([data[45] ^ 1]) + data[46:])
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(10):
        Image.open(path).load()
        Image.open(path).close()
        with Image.open(path):
            pass
        with pytest.raises(OSError, match=r"cut\.dcn: section 4"):
            Image.open(tmp_path / "cut.dcn")
        with Image.open(tmp_path / "damaged.dcn") as image, pytest.raises(OSError, match="checksum"):
            image.load()
    assert len(list(descriptors.iterdir())) == before


def test_a_loaded_picture_needs_its_file_no_more(path: Path, pixels: np.ndarray):
    image = Image.open(path)
    image.load()
    path.unlink()
    assert np.array_equal(np.asarray(image), pixels)


def test_nothing_of_a_picture_stays_behind(data: bytes, monkeypatch: pytest.MonkeyPatch):
    """Neither the image nor the decoder's array."""
    alive: list[weakref.ref[Any]] = []
    decode_file = Decoder.decode_file

    def watched(*arguments: Any) -> np.ndarray:
        found = decode_file(*arguments)
        alive.append(weakref.ref(found))
        return found

    monkeypatch.setattr(Decoder, "decode_file", watched)
    for _ in range(3):
        image = opened(data)
        image.load()
        alive.append(weakref.ref(image))
    del image
    gc.collect()
    assert len(alive) == 6
    assert not [ref for ref in alive if ref() is not None]


def test_the_decoder_stays_loaded(data: bytes, monkeypatch: pytest.MonkeyPatch):
    opened(data).load()
    monkeypatch.setattr(Decoder, "__init__", None)  # a second one would fail
    opened(data).load()


def test_options_of_the_decoder(tiny: Path, data: bytes, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DECANT_BUNDLES")
    monkeypatch.setitem(decant.pillow.DECODER_OPTIONS, "bundle_dir", str(tiny))
    monkeypatch.setitem(decant.pillow.DECODER_OPTIONS, "precision", "float")
    expected = Decoder(tiny, precision="float").decode(data)
    assert np.array_equal(np.asarray(opened(data)), expected)
    assert not np.array_equal(expected, pixels)


def test_many_threads_open_and_load(tiny: Path):
    encoder, decoder = Encoder(tiny), Decoder(tiny)
    files = [encoder.encode(crop) for crop in bundles.crops(200)[:12]]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda data: np.asarray(opened(data)), files * 4))
    for data, loaded in zip(files * 4, found, strict=True):
        assert np.array_equal(loaded, decoder.decode(data))


# Damaged and hostile files


def test_a_file_of_another_format_is_left_to_its_plugin(plain: Image.Image, tmp_path: Path):
    plain.save(tmp_path / "photo.jpg")
    with pytest.raises(SyntaxError, match="not a DCN file"):
        decant.pillow.DcnImageFile(str(tmp_path / "photo.jpg"))
    (tmp_path / "photo.jpg").rename(tmp_path / "named.dcn")
    with Image.open(tmp_path / "named.dcn") as image:
        assert image.format == "JPEG"


def test_every_cut_is_an_error_of_pillows(data: bytes):
    for length in (*range(200), *range(200, len(data), 37), len(data) - 1):
        with pytest.raises(UnidentifiedImageError):
            opened(data[:length])


def test_every_changed_byte_is_an_error_of_pillows(data: bytes):
    """All bytes are under a checksum: it is noticed at the latest when the pixels are asked for."""
    for at in (*range(200), *range(200, len(data), 37), len(data) - 1):
        changed = bytearray(data)
        changed[at] ^= 0x10
        with pytest.raises(OSError, match=r"^<stream>: |^cannot identify"):
            opened(bytes(changed)).load()


@pytest.mark.parametrize("length", [0, 1, 3, 4, 16, 90, 1000])
def test_garbage_behind_the_magic_bytes(length: int):
    garbage = np.random.default_rng(length).bytes(length)
    with pytest.raises(UnidentifiedImageError):
        opened(container.MAGIC + garbage)


def test_damage_is_named_and_keeps_our_error_as_cause(path: Path, data: bytes):
    path.write_bytes(data[:30])
    with pytest.raises(UnidentifiedImageError, match=r"photo\.dcn: section 1 at byte 29") as caught:
        Image.open(path)
    assert isinstance(caught.value.__cause__, DecantError)
    path.write_bytes(data[:4] + b"\x02" + data[5:])
    with pytest.raises(UnidentifiedImageError, match=r"photo\.dcn: format version 2 at byte 4"):
        Image.open(path)


def test_metadata_that_claims_gigabytes_takes_no_memory(data: bytes):
    at = data.index(b"\x81", len(data) - len(ICC + XMP) - 40)  # the ICC section
    hostile = data[: at + 1] + b"\xff\xff\xff\xff" + data[at + 5 :]
    with pytest.raises(UnidentifiedImageError, match="reaches to byte 42949"):
        opened(hostile)


def test_the_size_limit_is_pillows(data: bytes, monkeypatch: pytest.MonkeyPatch):
    """Between opening and loading; without a limit, the decoder says what it has to say."""
    file = container.parse(data)
    bomb = container.write(replace(file, width=65535, height=65535))
    with pytest.raises(Image.DecompressionBombError):
        opened(bomb)
    large = container.write(replace(file, width=10000, height=10000))
    with pytest.warns(Image.DecompressionBombWarning):
        opened(large)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(OSError, match="65535x65535 pixels; model tiny makes 16x16 only"):
        opened(bomb).load()


def test_a_file_of_a_model_that_is_not_here(data: bytes):
    stranger = container.write(replace(container.parse(data), name="other", model_id=b"\x07" * 8))
    image = opened(stranger)
    assert image.info["model"] == "other"
    with pytest.raises(OSError, match="model other with id 0707070707070707 is not here"):
        image.load()


def test_verify(path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch):
    """Checks every checksum, needs no bundle, and closes the file as Pillow's do."""
    monkeypatch.delenv("DECANT_BUNDLES")
    image = Image.open(path)
    image.verify()
    assert image.fp is None
    damaged = bytearray(data)
    damaged[45] ^= 1
    path.write_bytes(damaged)
    with Image.open(path) as image, pytest.raises(OSError, match=r"photo\.dcn: checksum of section 1"):
        image.verify()


# What Pillow does with a picture


def test_one_frame(path: Path):
    with Image.open(path) as image:
        assert (image.n_frames, image.is_animated, image.tell()) == (1, False, 0)
        image.seek(0)
        for frame in (1, -1):
            with pytest.raises(EOFError):
                image.seek(frame)
        assert len(list(ImageSequence.Iterator(image))) == 1


def test_draft_changes_nothing(path: Path):
    with Image.open(path) as image:
        assert image.draft("L", (4, 4)) is None
        assert (image.mode, image.size) == ("RGB", (16, 16))


def test_copies_crops_and_thumbnails(path: Path, pixels: np.ndarray):
    assert np.array_equal(np.asarray(Image.open(path).copy()), pixels)
    assert np.array_equal(np.asarray(copy.deepcopy(Image.open(path))), pixels)
    assert np.array_equal(np.asarray(Image.open(path).crop((2, 3, 9, 12))), pixels[3:12, 2:9])
    assert np.array_equal(
        np.asarray(Image.open(path).convert("L")), np.asarray(Image.fromarray(pixels).convert("L"))
    )
    image = Image.open(path)
    image.thumbnail((8, 8))
    assert image.size == (8, 8)
    image = Image.open(path)
    image.putpixel((0, 0), (1, 2, 3))
    assert image.getpixel((0, 0)) == (1, 2, 3)


def test_pickling_before_and_after_loading(path: Path, pixels: np.ndarray):
    image = Image.open(path)
    for _ in range(2):
        back = pickle.loads(pickle.dumps(image))
        assert np.array_equal(np.asarray(back), pixels)
        assert (back.mode, back.info) == (image.mode, image.info)


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


# A codec: any size, grey, alpha, qualities


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
    with pytest.raises(ValueError, match="give one of quality, target_bpp and target_psnr"):
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
