"""The one-call functions, and arguments that end in errors of ours."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import bundles
import decant
import decant.pillow
import numpy as np
import pytest
from decant import Decoder, Encoder, FileInfo, FormatError, ImageError, Metadata, cache
from PIL import Image


@pytest.fixture(autouse=True)
def _codec_is_found(codec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECANT_BUNDLES", str(codec))


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    return bundles.crops(2, 48)[1][:32]


@pytest.fixture(scope="session")
def data(codec: Path, picture: np.ndarray) -> bytes:
    return Encoder(codec).encode(picture, effort=0)


def test_encode_and_decode_are_those_of_the_classes(codec: Path, picture: np.ndarray, data: bytes):
    assert decant.encode(picture, "codec", effort=0) == data
    assert decant.encode(picture, model=codec, quality=60, effort=0) == data
    pixels = decant.decode(data)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (32, 48, 3))
    assert np.array_equal(pixels, Decoder(codec).decode(data))


def test_open_takes_paths_files_and_bytes(tmp_path: Path, data: bytes):
    path = tmp_path / "a.dcn"
    path.write_bytes(data)
    expected = decant.decode(data)
    with path.open("rb") as stream:
        for source in (path, str(path), stream, io.BytesIO(data), data, bytearray(data), memoryview(data)):
            assert np.array_equal(decant.open(source), expected)


def test_save_takes_paths_and_files(tmp_path: Path, picture: np.ndarray, data: bytes):
    for target in (tmp_path / "a.dcn", str(tmp_path / "b.dcn")):
        decant.save(target, picture, "codec", effort=0)
        assert Path(target).read_bytes() == data
    stream = io.BytesIO()
    decant.save(stream, picture, "codec", effort=0)
    assert stream.getvalue() == data


def test_info_says_what_the_file_says(codec: Path, picture: np.ndarray, data: bytes, tmp_path: Path):
    found = decant.info(data)
    assert isinstance(found, FileInfo)
    assert (found.model, found.width, found.height, found.quality) == ("codec", 48, 32, 60)
    assert (found.mode, found.orientation, found.dpi, found.metadata) == ("RGB", 1, None, ())
    assert found.model_id == Decoder(codec).bundle.model_id[:16]
    assert found.bytes == len(data)
    assert found.bits_per_pixel == 8 * len(data) / (48 * 32)
    (tmp_path / "a.dcn").write_bytes(data)
    assert decant.info(tmp_path / "a.dcn").path == str(tmp_path / "a.dcn")
    with_metadata = decant.encode(picture, "codec", effort=0, metadata=Metadata(xmp=b"<x/>", icc=b"icc"))
    assert decant.info(with_metadata).metadata == ("icc", "xmp")
    with pytest.raises(FormatError, match="<bytes>: "):
        decant.info(data[:-1])


def test_one_cache_serves_every_door(picture: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    cache.clear()
    monkeypatch.setattr(decant.pillow, "DEFAULT_MODEL", "codec")
    data = decant.encode(picture, "codec", effort=0)
    decant.decode(data)
    for kind in (Encoder, Decoder):
        monkeypatch.setattr(kind, "__init__", None)  # a second one would fail
    stream = io.BytesIO()
    decant.save(stream, picture, "codec", effort=0)
    assert stream.getvalue() == data
    assert np.array_equal(decant.open(stream.getvalue()), np.asarray(Image.open(io.BytesIO(data))))
    Image.fromarray(picture).save(io.BytesIO(), "DCN", effort=0)


def test_importing_and_asking_for_info_imports_no_runtime(data: bytes, tmp_path: Path):
    (tmp_path / "a.dcn").write_bytes(data)
    code = (
        f"import sys, decant\nprint(decant.info({str(tmp_path / 'a.dcn')!r}).width)\n"
        "print(*[name for name in ('numpy', 'PIL', 'onnxruntime', 'openvino') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "48\n\n"


def test_every_public_name_is_there_and_documented():
    for name in decant.__all__:
        assert getattr(decant, name).__doc__, name


# Arguments


@pytest.mark.parametrize("value", [60.0, np.float32(60), np.int64(60)])
def test_a_whole_number_of_any_type_is_a_quality(picture: np.ndarray, data: bytes, value: Any):
    assert decant.encode(picture, "codec", value, effort=0.0) == data


@pytest.mark.parametrize("value", [True, False, "60", 60.5, 0, 101, float("nan"), float("inf"), [60]])
def test_other_qualities_are_refused(picture: np.ndarray, value: Any):
    with pytest.raises(ImageError, match=r"quality .*; a whole number from 1 to 100 expected"):
        decant.encode(picture, "codec", value)


@pytest.mark.parametrize("value", [True, "1", -1, 0, float("nan"), float("inf")])
def test_other_targets_are_refused(picture: np.ndarray, value: Any):
    for name in ("target_bpp", "target_psnr"):
        with pytest.raises(ImageError, match=f"{name} .*; a positive number expected"):
            decant.encode(picture, "codec", **{name: value})


@pytest.mark.parametrize("image", ["x.png", Path("x.png"), b"\x89PNG", io.BytesIO()])
def test_a_path_where_a_picture_belongs(image: Any):
    with pytest.raises(ImageError, match="image expected; open a file with PIL"):
        decant.encode(image, "codec")


@pytest.mark.parametrize("image", [3, None, [[1, 2]], {}])
def test_what_is_no_picture(image: Any):
    with pytest.raises(ImageError, match=r"given; a numpy array or a Pillow image expected$"):
        decant.encode(image, "codec")


@pytest.mark.parametrize("value", [3, "a.dcn", Path("a.dcn"), None, io.BytesIO()])
def test_what_are_no_bytes(codec: Path, value: Any):
    for decode in (decant.decode, Decoder(codec).decode):
        with pytest.raises(FormatError, match=r"given; the bytes of a \.dcn file expected \(decant\.open"):
            decode(value)
    with pytest.raises(FormatError, match="given; the bytes of"):
        Decoder(codec).decode_batch([value])


def test_what_cannot_be_opened(tmp_path: Path):
    for value in (3, None, [1]):
        with pytest.raises(FormatError, match="a path, an open binary file or the bytes"):
            decant.open(value)  # type: ignore[arg-type]
    with pytest.raises(FormatError, match="gives text; open the file in binary mode"):
        decant.open(io.StringIO("x"))  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"no\.dcn"):
        decant.open(tmp_path / "no.dcn")


@pytest.mark.parametrize("region", [3, (1, 2, 3), ("a", 0, 1, 1), (0.5, 0, 1, 1)])
def test_what_is_no_region(codec: Path, data: bytes, region: Any):
    with pytest.raises(ImageError, match=r"\(x, y, width, height\) in pixels expected"):
        Decoder(codec).decode_region(data, region)


# The Pillow plugin


def test_unknown_options_are_refused_by_name(picture: np.ndarray):
    image = Image.fromarray(picture)
    for options in ({"lossless": True}, {"optimize": True}, {"qualty": 3}):
        with pytest.raises(ValueError, match=f"no option {next(iter(options))}; known are model, quality"):
            image.save(io.BytesIO(), "DCN", model="codec", **options)


def test_loading_after_close(tmp_path: Path, data: bytes):
    (tmp_path / "a.dcn").write_bytes(data)
    for source in (tmp_path / "a.dcn", io.BytesIO(data)):
        image = Image.open(source)
        image.close()
        with pytest.raises(ValueError, match="Operation on closed image"):
            image.load()


def test_a_file_replaced_after_it_was_opened(tmp_path: Path, data: bytes, picture: np.ndarray):
    (tmp_path / "a.dcn").write_bytes(data)
    with Image.open(tmp_path / "a.dcn") as image:
        (tmp_path / "a.dcn").write_bytes(decant.encode(picture[:, :16], "codec", effort=0))
        with pytest.raises(OSError, match=r"a\.dcn: changed since it was opened"):
            image.load()
