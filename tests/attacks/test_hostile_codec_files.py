"""Hostile files of a codec bundle (layout ``grid``), besides those of ``test_hostile_files.py``. Each maker
gets a good picture and returns the hostile file.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import grid_tables
import numpy as np
import pytest
from attack_table import AttackTable
from click.testing import CliRunner
from damage import header, section
from decant import Decoder, FormatError
from decant.bundles.bundle import Bundle
from decant.codec.entropy import rans
from decant.codec.layout import GridLayout
from decant.commands.cli import main
from decant.formats import alpha, container

ATTACKS = AttackTable()
attack = ATTACKS.attack
QUALITY = 50
# What a stream of other symbols than those looked for gives itself away by.
DAMAGED = "the stream does not end with its last symbol|at most 32767 expected|there are"


@dataclass(frozen=True)
class Good:
    """A good file without alpha, two tiles wide, and what it is made of."""

    file: container.DcnFile
    layout: GridLayout
    hyper: bytes
    tiles: tuple[bytes, ...]

    @property
    def size(self) -> tuple[int, int]:
        return self.file.width, self.file.height

    def with_streams(self, hyper: bytes, tiles: Sequence[bytes]) -> bytes:
        """The file with other streams, rightly framed."""
        return container.write(replace(self.file, latents=self.layout.write(hyper, tiles)))

    def with_latents(self, payload: bytes) -> bytes:
        return container.write(replace(self.file, latents=payload))

    def with_alpha(self, payload: bytes) -> bytes:
        return container.write(replace(self.file, alpha=payload))


def deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


# Sizes


@attack("65535x65535 pixels; the limit is 178956970|of the latents reaches")
def picture_of_four_gigapixels(good: Good) -> bytes:
    """12 GB of pixels, 1 GB of latents, asked for in few bytes."""
    return container.write(replace(good.file, width=65535, height=65535))


@attack("of the latents")
def picture_just_below_the_limit(good: Good) -> bytes:
    """Allowed by its size, and far more tiles than there are streams."""
    return container.write(replace(good.file, width=13000, height=13000))


@attack("the latents")
def one_more_group(good: Good) -> bytes:
    """A group that the payload does not have: a reader that counts by the payload leaves a part unset."""
    return container.write(replace(good.file, width=good.file.width + 16 * good.layout.tile_side))


@attack("stream 1 of the latents has")
def one_group_fewer(good: Good) -> bytes:
    """What is left over must not be ignored."""
    return container.write(replace(good.file, width=16 * good.layout.tile_side))


@attack(DAMAGED)
def one_pixel_row_of_latents_more(good: Good) -> bytes:
    """The same tiles, each with more symbols than its stream holds."""
    return container.write(replace(good.file, height=good.file.height + 16))


# Lengths of streams


@attack("a length at byte 5 of the latents has more bytes than it needs")
def length_of_ten_bytes(good: Good) -> bytes:
    """64 bits in LEB128: more than any length, and an endless one for readers without a limit."""
    return good.with_latents(b"\x80" * 9 + b"\x01" + good.file.latents)


@attack("a length at byte 2 of the latents has more bytes than it needs")
def length_with_a_superfluous_byte(good: Good) -> bytes:
    """Two spellings of one length make two files of one picture."""
    return good.with_latents(b"\x80\x00" + b"".join(good.tiles))


@attack("reaches 4294967295 bytes beyond byte 5")
def length_of_four_gigabytes(good: Good) -> bytes:
    """Position plus length overflows 32 bits and points back into the file."""
    return good.with_latents(b"\xff\xff\xff\xff\x0f" + good.file.latents)


@attack("reaches 34359738367 bytes beyond byte 5")
def length_of_35_bits(good: Good) -> bytes:
    """The most that five bytes can say."""
    return good.with_latents(b"\xff\xff\xff\xff\x7f" + good.file.latents)


@attack("the latents end at byte 2, within the length of a stream")
def length_cut_off(good: Good) -> bytes:
    """A length that goes on after the end."""
    return good.with_latents(b"\xff\xff")


@attack("the latents end at byte 0")
def no_latents(good: Good) -> bytes:
    """An empty section is a section."""
    return good.with_latents(b"")


@attack("stream 0 of the latents has 3 bytes; a multiple of 4 expected")
def stream_of_three_bytes(good: Good) -> bytes:
    """Less than a word of the coder."""
    return good.with_streams(b"\x01\x02\x03", good.tiles)


# Streams


@attack("hyperlatents: a stream ends in a zero word")
def zero_word_last(good: Good) -> bytes:
    """The coder's state would begin with nothing in it."""
    return good.with_streams(good.hyper + bytes(4), good.tiles)


@attack("tile 0: the stream does not end with its last symbol")
def surplus_words(good: Good) -> bytes:
    """A stream after which something is left holds another picture, or a message."""
    return good.with_streams(good.hyper, [b"\x01\x02\x03\x04" * 2 + good.tiles[0], *good.tiles[1:]])


@attack(DAMAGED)
def streams_exchanged(good: Good) -> bytes:
    """Each right in another place."""
    return good.with_streams(good.hyper, good.tiles[::-1])


@attack("hyperlatents: the stream does not end with its last symbol")
def hyperlatents_of_a_group(good: Good) -> bytes:
    """The hyperlatents choose the tables of everything else."""
    return good.with_streams(good.tiles[0], good.tiles)


@attack(DAMAGED)
def thirty_two_megabytes_of_latents(good: Good) -> bytes:
    """Really present, rightly checked, and far more than the picture has."""
    return good.with_streams(good.hyper, [*good.tiles[:-1], b"\xff" * (1 << 25)])


@attack("at most 32767 expected")
def symbol_beyond_the_largest(good: Good) -> bytes:
    """The escape code reaches further than symbols may: a reader of 16 bits wraps round."""
    shape, rows = good.layout.grid(*good.size), good.layout.quality(QUALITY)
    c = int(rows.hyper_scale_index[0])
    largest = 32767 + int(good.layout.entropy.radius[c])
    z = np.zeros((good.layout.hyper, shape.hz, shape.wz), np.int32)
    z[0, 0, 0] = largest
    with mock.patch.object(rans, "LARGEST_SYMBOL", largest):
        return good.with_streams(good.layout.encode_hyper(z, rows), good.tiles)


# Quality and flags


@attack("quality 0; model codec has qualities 1..100")
def no_quality(good: Good) -> bytes:
    """Row -1 of the tables is that of quality 100."""
    return container.write(replace(good.file, quality=0))


@attack("quality 101; 0..100 expected")
def quality_beyond_the_tables(good: Good) -> bytes:
    """A row that is not there."""
    return header(good.file, 1, quality=101) + section(1, good.file.latents)


@attack("quality 255; 0..100 expected")
def largest_quality(good: Good) -> bytes:
    """All bits set."""
    return header(good.file, 1, quality=255) + section(1, good.file.latents)


# Alpha


@attack("flagged with alpha at byte 5, and no alpha section")
def alpha_that_is_not_there(good: Good) -> bytes:
    """A fourth channel made from the flag alone is whatever lay in memory."""
    return header(good.file, 1, flags=2) + section(1, good.file.latents)


@attack("a second section of type 2")
def two_alpha_planes(good: Good) -> bytes:
    """One hides what the other shows."""
    sections = [section(1, good.file.latents), section(2, b"\x00\x00"), section(2, b"\x00\xff")]
    return header(good.file, 3, flags=2) + b"".join(sections)


@attack("alpha of more than|alpha does not end where its section and the picture end")
def alpha_bomb(good: Good) -> bytes:
    """64 MB of zeros in 64 kB."""
    return good.with_alpha(b"\x01" + deflate(bytes(64 << 20)))


@attack("alpha of more than|alpha does not end where its section and the picture end")
def alpha_bomb_of_two_values(good: Good) -> bytes:
    """The same behind the method that unpacks bits to bytes."""
    return good.with_alpha(b"\x05\x00\xff" + deflate(bytes(64 << 20)))


@attack("alpha of 100 bytes|fewer bytes than the picture needs")
def alpha_of_another_size(good: Good) -> bytes:
    """A whole stream, and too short."""
    return good.with_alpha(b"\x03" + deflate(bytes(100)))


@attack("alpha is damaged")
def alpha_of_garbage(good: Good) -> bytes:
    """No deflate stream at all."""
    return good.with_alpha(b"\x01" + b"\xff" * 100)


@attack("alpha method 9 is unknown")
def alpha_method_of_the_future(good: Good) -> bytes:
    """A method that no table has."""
    return good.with_alpha(b"\x09" + deflate(bytes(100)))


@attack("empty alpha section")
def alpha_of_nothing(good: Good) -> bytes:
    """Not even a method."""
    return good.with_alpha(b"")


@attack("alpha does not end where its section ends|alpha does not end where its section and the picture end")
def message_behind_alpha(good: Good) -> bytes:
    """What follows the deflate stream is seen by nobody."""
    return good.with_alpha(alpha.pack(checked(good.file)) + b"PK\x03\x04")


def checked(file: container.DcnFile) -> np.ndarray:
    """An alpha plane that is not constant."""
    return np.where(np.indices((file.height, file.width)).sum(axis=0) // 8 % 2, np.uint8(255), np.uint8(9))


@pytest.fixture(scope="module")
def good(codec: Path) -> Good:
    bundle = Bundle.open(codec)
    layout = bundle.layout
    assert isinstance(layout, GridLayout)
    width, height = 16 * layout.tile_side + 40, 72
    payload, _, _ = grid_tables.encode_picture(layout, width, height, QUALITY, wild=3)
    model_id = bytes.fromhex(bundle.model_id)[:8]
    file = container.DcnFile(bundle.name, model_id, width, height, payload, quality=QUALITY)
    streams = layout.parse(payload, width, height, "good")
    assert len(streams.tiles) == 2
    return Good(file, layout, bytes(streams.hyper), tuple(map(bytes, streams.tiles)))


@pytest.fixture(scope="module")
def decoder(codec: Path) -> Decoder:
    return Decoder(codec, threads=1)


def test_the_good_file_is_good(decoder: Decoder, good: Good):
    plane = checked(good.file)
    pixels = decoder.decode(good.with_alpha(alpha.pack(plane)))
    assert np.array_equal(pixels[:, :, 3], plane)
    assert np.array_equal(pixels[:, :, :3], decoder.decode_file(good.file))


@pytest.mark.parametrize("name", ATTACKS)
def test_the_file_is_refused_in_one_line(codec: Path, good: Good, tmp_path: Path, name: str):
    maker, words = ATTACKS[name]
    (tmp_path / "hostile.dcn").write_bytes(maker(good))
    for command in (["decode", "hostile.dcn", "out.png"], ["verify", "hostile.dcn"]):
        arguments = [str(tmp_path / word) if "." in word else word for word in command]
        result = CliRunner().invoke(main, [*arguments, "--bundle-dir", str(codec)])
        assert isinstance(result.exception, SystemExit), result.exception
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("decant: ")
        assert any(word in result.stderr for word in words.split("|")), result.stderr
        assert result.stderr.count("\n") == 1
        assert result.stderr[:-1].isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["hostile.dcn"]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    "maker",
    [picture_of_four_gigapixels, picture_just_below_the_limit, length_of_four_gigabytes, length_of_35_bits],
)
def test_refusals_take_no_memory(decoder: Decoder, good: Good, maker):
    """Sizes and lengths are looked at before memory is used for them; an array of pixels that nothing was
    written to takes none.
    """
    hostile = maker(good)
    with pytest.raises(Exception, match=r"limit|latents"):
        decoder.decode(hostile)  # imports what messages need
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
    before = resident("VmRSS")
    with pytest.raises(Exception, match=r"limit|latents"):
        decoder.decode(hostile)
    assert resident("VmHWM") - before < 4 << 20


def resident(kind: str) -> int:
    """Bytes of this process that are in memory ("VmRSS"), or were at most ("VmHWM")."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split(f"{kind}:")[1].split()[0])


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_numbers_give_a_picture(decoder: Decoder, good: Good, sign: int):
    """Hyperlatents and symbols of +-32767 throughout, at every tenth quality: no overflow, no error."""
    layout, shape = good.layout, good.layout.grid(*good.size)
    for quality in (1, *range(10, 101, 10)):
        rows = layout.quality(quality)
        z = np.full((layout.hyper, shape.hz, shape.wz), sign * 32767, np.int32)
        v, tiles = rows.scaled(z), []
        for tile in shape.tiles:
            symbols = layout.choose_symbols(
                v, rows, tile, lambda _, part: np.where(part > 0, -sign * 32767, 0)
            )
            tiles.append(layout.encode_tile(*symbols))
        latents = layout.write(layout.encode_hyper(z, rows), tiles)
        pixels = decoder.decode_file(replace(good.file, quality=quality, latents=latents))
        assert pixels.shape == (good.file.height, good.file.width, 3)


def test_streams_of_nothing_end_one_way_or_the_other(decoder: Decoder, good: Good):
    """Lengths of 0 throughout: the coder reads on where it has nothing left."""
    try:
        pixels = decoder.decode(good.with_streams(b"", [b"", b""]))
    except FormatError:
        return
    assert pixels.shape == (good.file.height, good.file.width, 3)
