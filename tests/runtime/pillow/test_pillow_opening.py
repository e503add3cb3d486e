"""Opening `.dcn` files with Pillow: what is read when, damaged files, and what Pillow does with a picture."""

import copy
import gc
import io
import os
import pickle
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
from PIL import Image, ImageSequence, UnidentifiedImageError
from pillow_files import EXIF, ICC, XMP, opened

DOCS = Path(__file__).parents[3] / "docs" / "pillow.md"


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
    with pytest.raises(OSError, match="65535x65535 pixels; model tiny decodes to 16x16 only"):
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
