"""Inputs: regular files only, and nothing is read before the header is right."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from decant.errors import FormatError
from decant.formats import container
from decant.formats.reading import open_regular, read_dcn
from decant.text import escaped

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX files")


def test_only_regular_files_are_opened_and_none_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    Path("zero").symlink_to("/dev/zero")
    Path("folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        for name, kind in (
            ("fifo", "a FIFO"),
            ("zero", "a device"),
            ("folder", "a folder"),
            ("socket", "a socket"),
        ):
            for read in (open_regular, read_dcn):
                with pytest.raises(OSError, match=f"is {kind}; a regular file expected") as caught:
                    read(name)
                assert caught.value.filename == name
    with pytest.raises(FileNotFoundError):
        open_regular("absent")


def test_a_link_to_a_file_is_that_file(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("a")
    with open_regular(tmp_path / "link") as stream:
        assert stream.read() == b"abc"


WHOLE = container.write(container.DcnFile("m", bytes(8), 16, 16, b"latents"))


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"", "not a .dcn file: it does not begin with 8A 44 43 4E"),
        (WHOLE, f"{(6 << 30) - len(WHOLE)} bytes after the last section, which ends at byte {len(WHOLE)}"),
    ],
)
def test_a_file_of_six_gigabytes_is_refused_by_its_first_bytes(tmp_path: Path, start: bytes, said: str):
    with (tmp_path / "a.dcn").open("wb") as stream:
        stream.write(start)
        stream.truncate(6 << 30)
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "from decant.formats.reading import read_dcn\n"
        "try: read_dcn(sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.dcn"], capture_output=True, text=True, check=True
    )
    assert run.stdout == f"FormatError {tmp_path / 'a.dcn'}: {said}\n"


def test_a_short_file_is_a_format_error(tmp_path: Path):
    (tmp_path / "a.dcn").write_bytes(b"\x8aDCN\x01")
    with pytest.raises(FormatError, match="cut off in the header"):
        read_dcn(tmp_path / "a.dcn")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain 写 é 🙂", "plain 写 é 🙂"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\u202egnp.dcn", r"\u202egnp.dcn"),
        (os.fsdecode(b"caf\xe9.dcn"), r"caf\xe9.dcn"),
        ("\ud800", r"\ud800"),
        ("10.00\u202fAM\xa0", "10.00\u202fAM\xa0"),
    ],
)
def test_what_a_terminal_obeys_is_escaped(text: str, shown: str):
    assert escaped(text) == shown


def test_line_ends_can_be_kept():
    assert escaped("a\n\x1bb", keep="\n") == "a\n\\x1bb"


@pytest.mark.parametrize("cut", [*range(len(WHOLE)), len(WHOLE) + 1])
def test_lengths_are_checked_as_the_parser_checks_them(tmp_path: Path, cut: int):
    data = (WHOLE + b"!")[:cut]
    (tmp_path / "a.dcn").write_bytes(data)
    with pytest.raises(FormatError) as expected:
        container.parse(data, str(tmp_path / "a.dcn"))
    with pytest.raises(FormatError, match=re.escape(str(expected.value))):
        read_dcn(tmp_path / "a.dcn")


def test_a_whole_file_is_read(tmp_path: Path):
    (tmp_path / "a.dcn").write_bytes(WHOLE)
    assert read_dcn(tmp_path / "a.dcn") == WHOLE
