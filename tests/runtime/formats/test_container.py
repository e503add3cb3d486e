"""A .dcn file: exact bytes, what is refused and why, and that no damage passes."""

import struct
import zlib

import pytest
from decant.errors import FormatError
from decant.formats import container
from decant.formats.container import DcnFile
from hypothesis import given
from hypothesis import strategies as st

FILE = DcnFile("small", bytes(range(8)), 256, 17, b"\x01\x02\x03")
# magic, version, flags, quality, sections, model id, width, height, name length, name, CRC; type, length,
# payload, CRC
GOLDEN = bytes.fromhex(
    "8a44434e 01 00 00 01 0001020304050607 0001 1100 05 736d616c6c f4ff553c 01 03000000 010203 659c9d32"
)


def with_crc(block: bytes) -> bytes:
    return block + struct.pack("<I", zlib.crc32(block))


def build(
    *sections: tuple[int, bytes], flags: int = 0, quality: int = 0, side: int = 16, name: bytes = b"small"
) -> bytes:
    """A file with right checksums and whatever fields."""
    head = struct.pack(
        "<4sBBBB8sHHB", b"\x8aDCN", 1, flags, quality, len(sections), bytes(8), side, side, len(name)
    )
    return with_crc(head + name) + b"".join(
        with_crc(struct.pack("<BI", kind, len(body)) + body) for kind, body in sections
    )


def test_a_file_has_these_bytes():
    assert container.write(FILE).hex() == GOLDEN.hex()
    assert container.parse(GOLDEN) == FILE


def test_header_fits_32_bytes_plus_the_name():
    assert container.parse_header(GOLDEN).size - len(FILE.name) <= 32


def test_the_header_is_read_without_the_rest():
    header = container.parse_header(GOLDEN[:30])
    assert (header.name, header.width, header.height, header.section_count) == ("small", 256, 17, 1)
    long = DcnFile("a" * container.MAX_NAME, bytes(8), 1, 1, b"")
    assert container.parse_header(container.write(long)[: container.MAX_HEADER_BYTES]).name == long.name


blocks = st.none() | st.binary(max_size=50)
files = st.builds(
    DcnFile,
    name=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True),
    model_id=st.binary(min_size=8, max_size=8),
    width=st.integers(1, 65535),
    height=st.integers(1, 65535),
    latents=st.binary(max_size=200),
    quality=st.integers(0, 100),
    grey=st.booleans(),
    alpha=st.none() | st.binary(max_size=50),
    exif=blocks,
    icc=blocks,
    xmp=blocks,
)


@given(files)
def test_what_is_written_is_read(file: DcnFile):
    assert container.parse(container.write(file)) == file


@given(files, st.data())
def test_every_flipped_bit_is_noticed(file: DcnFile, data: st.DataObject):
    raw = bytearray(container.write(file))
    bit = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(FormatError):
        container.parse(bytes(raw))


@given(files, st.data())
def test_every_cut_and_every_addition_is_noticed(file: DcnFile, data: st.DataObject):
    raw = container.write(file)
    at = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(FormatError):
        container.parse(raw[:at])
    with pytest.raises(FormatError):
        container.parse(raw + data.draw(st.binary(min_size=1, max_size=20)))


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes):
    for data in (noise, GOLDEN[:8] + noise, GOLDEN[:30] + noise):
        if data != GOLDEN:
            with pytest.raises(FormatError):
                container.parse(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a .dcn file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(30), "not a .dcn file"),
        (GOLDEN[:4] + b"\x02" + GOLDEN[5:], "format version 2 at byte 4; this decant reads version 1"),
        (GOLDEN[:12], "cut off in the header"),
        (build((1, b""), flags=4), "reserved flag bits are set at byte 5: 0x04"),
        (build((1, b""), quality=101), "quality 101; 0..100 expected"),
        (build((1, b""), side=0), "width 0; 1..65535 pixels expected"),
        (build((1, b""), name=b"Small"), "bundle name 'Small' at byte 20"),
        (build((1, b""), name=b"../up"), "bundle name '../up' at byte 20"),
        (build((1, b""), name=b"sm\xe4ll"), "bundle name 'smäll' at byte 20"),
        (build((1, b""), name=b""), "name length 0 at byte 20"),
        (build(), "no sections"),
        (build((128, b"exif")), "no latents section"),
        (build((1, b"a"), (1, b"b")), "a second section of type 1 at byte 40"),
        (build((1, b"a"), (200, b""), (200, b"")), "a second section of type 200"),
        (build((1, b"a"), (3, b"b")), "section type 3 at byte 40 is unknown to this decant; update it"),
        (build((1, b"a"), (2, b"b")), "flagged without alpha at byte 5, and an alpha section (type 2) in it"),
        (build((1, b"a"), flags=2), "flagged with alpha at byte 5, and no alpha section (type 2) in it"),
        (build((1, b"a"))[:-1], "reaches to byte 40; the file ends at 39"),
        (build((1, b"a"))[:35], "cut off in section 1 of 1 at byte 30"),
        (build((1, b"a")) + b"!", "1 bytes after the last section, which ends at byte 40"),
        (with_crc(GOLDEN[:26]) + b"\x01\xff\xff\xff\xff" + bytes(8), "reaches to byte 4294967334"),
    ],
)
def test_a_refusal_is_one_sentence_with_file_place_and_expectation(data: bytes, message: str):
    with pytest.raises(FormatError) as caught:
        container.parse(data, "photo.dcn")
    assert str(caught.value).startswith("photo.dcn: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_metadata_is_skipped():
    assert container.parse(build((1, b"latents"), (250, b"from the future"))).latents == b"latents"


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "a" * 65},
        {"width": 0},
        {"height": 65536},
        {"quality": 101},
        {"model_id": b"short"},
    ],
)
def test_what_cannot_be_stored_is_not_written(change: dict[str, object]):
    with pytest.raises(FormatError):
        container.write(DcnFile(**{**vars(FILE), **change}))
