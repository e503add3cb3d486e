"""Encoding: the latents of the analysis graph, metadata kept, and pictures that a model does not take."""

import io
from pathlib import Path

import bundles
import numpy as np
import pytest
from decant import Encoder, ImageError, SizeLimitError
from decant.bundles.bundle import Bundle
from decant.formats import container
from PIL import Image


@pytest.fixture(scope="session")
def encoder(tiny: Path) -> Encoder:
    return Encoder(str(tiny))


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    return bundles.crops(200)[5]


def test_the_latents_are_those_of_the_graph(tiny: Path, encoder: Encoder, picture: np.ndarray):
    file = container.parse(encoder.encode(picture))
    expected = bundles.run_onnx((tiny / "analysis.float.onnx").read_bytes(), picture[None])[0]
    assert file.latents == expected.astype("<f2").tobytes()
    assert (file.name, file.width, file.height, file.quality) == ("tiny", 16, 16, 0)
    assert Bundle.open(tiny).model_id.startswith(file.model_id.hex())


def test_encoding_is_deterministic_and_takes_views(encoder: Encoder, picture: np.ndarray):
    assert (
        encoder.encode(picture)
        == encoder.encode(picture.copy())
        == encoder.encode(np.asfortranarray(picture))
    )
    assert encoder.encode(picture[::-1, ::-1]) != encoder.encode(picture)


def test_both_runtimes_encode(tiny: Path, encoder: Encoder, picture: np.ndarray):
    other = Encoder(str(tiny), runtime="openvino")
    assert (encoder.runtime, other.runtime, other.precision) == ("onnxruntime", "openvino", "float")
    one, two = (container.parse(e.encode(picture)).latents for e in (encoder, other))
    assert np.allclose(np.frombuffer(one, "<f2"), np.frombuffer(two, "<f2"), atol=0.01)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBX", "YCbCr", "HSV"])
def test_modes_that_become_rgb(encoder: Encoder, picture: np.ndarray, mode: str):
    image = Image.fromarray(picture).convert(mode)
    assert encoder.encode(image) == encoder.encode(np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_a_model_without_alpha_refuses_it(encoder: Encoder, mode: str):
    with pytest.raises(ImageError, match="has transparency, which this model does not take"):
        encoder.encode(Image.new(mode, (16, 16)))


@pytest.mark.parametrize(
    ("mode", "advice"),
    [("CMYK", "--to-srgb"), ("LAB", "--to-srgb"), ("I", "--depth 8"), ("I;16", "--depth 8"), ("F", "scale")],
)
def test_modes_that_would_lose_something_are_refused(encoder: Encoder, mode: str, advice: str):
    with pytest.raises(ImageError, match=f"mode {mode}.*{advice}"):
        encoder.encode(Image.new(mode, (16, 16)))


def test_a_palette_with_transparency_is_refused(encoder: Encoder, picture: np.ndarray):
    stream = io.BytesIO()
    Image.fromarray(picture).quantize(16).save(stream, "PNG", transparency=3)
    with Image.open(stream) as image, pytest.raises(ImageError, match="has transparency"):
        encoder.encode(image)


def test_16_bit_rgb_is_refused_though_pillow_calls_it_rgb(encoder: Encoder):
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\x00" + bytes(16 * 6) for _ in range(16))
    header = struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    with Image.open(io.BytesIO(png)) as image:
        assert image.mode == "RGB"
        with pytest.raises(ImageError, match="of 16 bits"):
            encoder.encode(image)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(16, np.uint8),
        np.zeros((16, 16, 5), np.uint8),
        np.zeros((16, 16, 3), np.float32),
        np.zeros((1, 16, 16, 3), np.uint8),
        np.zeros((0, 16, 3), np.uint8),
    ],
)
def test_arrays_that_are_no_picture(encoder: Encoder, array: np.ndarray):
    with pytest.raises(ImageError, match=r"uint8 \(height, width\), or \(height, width, n\)"):
        encoder.encode(array)


def test_other_sizes_and_qualities_are_refused(tiny: Path, encoder: Encoder, picture: np.ndarray):
    with pytest.raises(ImageError, match="15x16 pixels; model tiny takes 16x16 only; crop or resize"):
        encoder.encode(picture[:, :15])
    with pytest.raises(ImageError, match="no quality setting"):
        encoder.encode(picture, quality=50)
    with pytest.raises(SizeLimitError):
        Encoder(str(tiny), size_limit=255).encode(picture)


def test_a_truncated_picture_is_refused(encoder: Encoder):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).save(stream, "PNG")
    with (
        Image.open(io.BytesIO(stream.getvalue()[:400])) as image,
        pytest.raises(ImageError, match=r"photo\.png: cannot be read"),
    ):
        encoder.encode(image, source="photo.png")


def test_metadata_is_kept(encoder: Encoder, picture: np.ndarray):
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.fromarray(picture).save(
        stream, "WEBP", lossless=True, exif=exif.tobytes(), icc_profile=b"profile", xmp=b"<x/>"
    )
    with Image.open(stream) as image:
        file = container.parse(encoder.encode(image))
    assert file.exif is not None
    assert file.exif.endswith(exif.tobytes()[6:])
    assert (file.icc, file.xmp) == (b"profile", b"<x/>")
