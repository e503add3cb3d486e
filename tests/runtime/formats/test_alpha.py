"""Alpha planes come back exactly, in few bytes; damage ends in FormatError and takes no memory."""

import tracemalloc
import zlib

import numpy as np
import pytest
from decant import FormatError, ImageError
from decant.formats.alpha import BITS, BITS_UP, CONSTANT, LEFT, LEFT_UP, PLAIN, UP, pack, unpack
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter


def circle(width: int = 160, height: int = 120) -> np.ndarray:
    image = Image.new("L", (width, height))
    ImageDraw.Draw(image).ellipse((20, 10, width - 20, height - 10), fill=255)
    return np.asarray(image)


def soft_circle() -> np.ndarray:
    return np.asarray(Image.fromarray(circle()).filter(ImageFilter.GaussianBlur(12)))


def walks() -> np.ndarray:
    """Rows that have nothing to do with each other, each changing by -1, 0 or 1 from pixel to pixel."""
    return np.cumsum(np.random.default_rng(3).integers(-1, 2, (120, 160)), axis=1).astype(np.uint8)


def deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


NOISE = np.random.default_rng(5).integers(0, 256, (120, 160), np.uint8)
PLANES = {
    "constant": (np.full((120, 160), 255, np.uint8), CONSTANT, 2),
    "noise": (NOISE, PLAIN, 120 * 160 + 20),
    "rows": (walks(), LEFT, 5000),
    "columns": (walks().T, UP, 5000),
    "plane": (np.add.outer(np.arange(120), np.arange(160)).astype(np.uint8), LEFT_UP, 100),
    "soft": (soft_circle(), LEFT, 2900),
    "mask": (np.where(NOISE < 128, np.uint8(7), np.uint8(200)), BITS, 120 * 20 + 30),
    "stacked mask": (
        np.bitwise_xor.accumulate(np.where(NOISE < 3, np.uint8(255), np.uint8(0)), axis=0),
        BITS_UP,
        500,
    ),
    "one pixel": (np.array([[0]], np.uint8), CONSTANT, 2),
}


@pytest.mark.parametrize("name", PLANES)
def test_each_method_is_chosen_where_it_is_smallest_and_comes_back_exactly(name: str):
    plane, method, most = PLANES[name]
    data = pack(plane)
    assert data[0] == method
    assert len(data) <= most
    back = unpack(data, plane.shape[1], plane.shape[0])
    assert back.dtype == np.uint8
    assert np.array_equal(back, plane)
    assert back.flags.writeable
    assert pack(np.asfortranarray(plane)) == data == pack(plane.copy())


def test_a_cut_out_takes_less_than_a_png():
    import io

    for plane in (circle(640, 480), soft_circle()):
        stream = io.BytesIO()
        Image.fromarray(plane).save(stream, "PNG", optimize=True)
        assert len(pack(plane)) < len(stream.getvalue())


@given(st.data())
def test_any_plane_comes_back(data: st.DataObject):
    height, width = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 20))
    values = data.draw(st.lists(st.integers(0, 255), min_size=1, max_size=4))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    plane = random.choice(np.array(values, np.uint8), (height, width))
    assert np.array_equal(unpack(pack(plane), width, height), plane)


@pytest.mark.parametrize(
    "plane",
    [np.zeros((4, 4), np.float32), np.zeros((4, 4, 1), np.uint8), np.zeros((0, 4), np.uint8)],
)
def test_what_is_no_plane_is_refused(plane: np.ndarray):
    with pytest.raises(ImageError, match=r"uint8 \(height, width\) expected"):
        pack(plane)


GOOD = pack(soft_circle())
BITMAP = pack(PLANES["mask"][0])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty alpha section"),
        (b"\x00", "constant alpha of 1 bytes; 2 expected"),
        (b"\x00\x01\x02", "constant alpha of 3 bytes; 2 expected"),
        (b"\x07" + GOOD[1:], "alpha method 7 is unknown; 0..6 expected"),
        (b"\xff", "alpha method 255 is unknown"),
        (GOOD[:1], "alpha of 0 bytes; 19200 expected"),
        (GOOD[:-9], "expected"),
        (GOOD[:-1], "alpha does not end where its section ends"),
        (GOOD + b"\x00", "alpha does not end where its section ends"),
        (GOOD + GOOD[1:], "alpha does not end where its section ends"),
        (b"\x01" + b"\xff" * 40, "alpha is damaged"),
        (b"\x01" + deflate(bytes(19199)), "alpha of 19199 bytes; 19200 expected"),
        (b"\x01" + deflate(bytes(19201)), "alpha of more than 19200 bytes"),
        (b"\x05", "two values must name them in ascending order"),
        (b"\x05\x07\x07" + BITMAP[3:], "two values must name them in ascending order"),
        (b"\x06\x09\x07" + BITMAP[3:], "two values must name them in ascending order"),
        (BITMAP[:-1], "expected|ends"),
    ],
)
def test_damage_is_named(data: bytes, message: str):
    with pytest.raises(FormatError, match=f"^a.dcn: .*({message})"):
        unpack(data, 160, 120, "a.dcn")


@pytest.mark.parametrize("method", [BITS, BITS_UP])
def test_bits_after_a_row_are_zero(method: int):
    rows = bytes([0b10100000, 0b00000001])
    with pytest.raises(FormatError, match="bits after the last pixel"):
        unpack(bytes([method, 0, 255]) + deflate(rows), 7, 2)
    assert unpack(bytes([method, 0, 255]) + deflate(rows), 8, 2)[0].tolist() == [255, 0, 255, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("cut", range(0, len(BITMAP), 97))
def test_every_cut_is_noticed(cut: int):
    with pytest.raises(FormatError):
        unpack(BITMAP[:cut], 160, 120)


def test_a_bomb_is_unpacked_no_further_than_the_picture():
    """64 MB of zeros in 64 kB, for a picture of 10 x 10."""
    bomb = b"\x01" + deflate(bytes(64 << 20))
    tracemalloc.start()
    with pytest.raises(FormatError, match="alpha of more than 100 bytes"):
        unpack(bomb, 10, 10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_large_picture_with_a_short_payload_takes_no_memory():
    tracemalloc.start()
    with pytest.raises(FormatError, match="alpha of 100 bytes; 4294836225 expected"):
        unpack(b"\x02" + deflate(bytes(100)), 65535, 65535)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
