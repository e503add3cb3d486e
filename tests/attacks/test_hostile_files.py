"""Hostile .dcn files. Each maker gets a good file of the bundle ``tiny`` and returns the hostile one."""

import resource
from dataclasses import replace
from pathlib import Path

import bundles
import numpy as np
import pytest
from attack_table import AttackTable
from click.testing import CliRunner
from damage import header, section
from decant import Encoder
from decant.commands.cli import main
from decant.formats import alpha, container

ATTACKS = AttackTable()
attack = ATTACKS.attack


@attack("bundle name '../../secret' at byte 20")
def name_leads_out(file: container.DcnFile) -> bytes:
    """The bundle's name becomes part of a path when bundles are looked up."""
    return header(file, 1, name=b"../../secret") + section(1, file.latents)


@attack("bundle name '/tmp/evil' at byte 20")
def name_is_a_path(file: container.DcnFile) -> bytes:
    """A name with a slash is a path in the library's own calls; from a file it must not be."""
    return header(file, 1, name=b"/tmp/evil") + section(1, file.latents)


@attack("bundle name 'tiny")
def name_holds_terminal_commands(file: container.DcnFile) -> bytes:
    """The name is printed in messages; escape codes in it would be obeyed by the terminal, a newline would
    fake a second message.
    """
    return header(file, 1, name=b"tiny\x1b[2J\nok") + section(1, file.latents)


@attack("65535x65535 pixels; the limit is 178956970")
def picture_of_four_gigapixels(file: container.DcnFile) -> bytes:
    """86 bytes that ask for a picture of 12 GB."""
    return container.write(replace(file, width=65535, height=65535))


@attack("model tiny decodes to 16x16 only")
def picture_of_another_size(file: container.DcnFile) -> bytes:
    """A size below the limit that the model cannot make: a reader that trusts it gives a wrong picture."""
    return container.write(replace(file, width=32, height=8))


@attack("reaches to byte")
def section_of_four_gigabytes(file: container.DcnFile) -> bytes:
    """A reader that takes memory by the length field takes 4 GB."""
    return header(file, 1) + section(1, file.latents, claimed=0xFFFFFFFF)


@attack("latents of 33554432 bytes; this model has 48")
def thirty_two_megabytes_of_latents(file: container.DcnFile) -> bytes:
    """Really present, rightly checked, and far more than the model has."""
    return container.write(replace(file, latents=bytes(1 << 25)))


@attack("latents of 0 bytes")
def no_latents(file: container.DcnFile) -> bytes:
    """An empty section is a section."""
    return container.write(replace(file, latents=b""))


@attack("latent 0 is not a finite number")
def nan_latents(file: container.DcnFile) -> bytes:
    """NaN runs through every layer and clips to whatever the runtime likes."""
    return container.write(replace(file, latents=b"\xff\x7f" * 24))


@attack("latent 23 is not a finite number")
def infinite_latent(file: container.DcnFile) -> bytes:
    """One infinity, last."""
    return container.write(replace(file, latents=file.latents[:-2] + b"\x00\xfc"))


@attack("a second section of type 1")
def two_pictures(file: container.DcnFile) -> bytes:
    """Two latents: a checker that reads the first and a decoder that reads the last see two pictures."""
    return header(file, 2) + section(1, file.latents) + section(1, bytes(48))


@attack("bytes after the last section")
def smuggled_bytes(file: container.DcnFile) -> bytes:
    """A whole zip archive behind the picture."""
    return container.write(file) + b"PK\x03\x04" + bytes(60)


@attack("section type 127")
def unknown_critical_section(file: container.DcnFile) -> bytes:
    """A section that changes the picture in a way this reader does not know."""
    return header(file, 2) + section(1, file.latents) + section(127, b"invert all colours")


@attack("cut off in section 3 of 255")
def many_sections(file: container.DcnFile) -> bytes:
    """More sections promised than there are."""
    return header(file, 255) + section(1, file.latents) + section(200, b"")


@attack("flagged with alpha at byte 5, and no alpha section")
def alpha_that_is_not_there(file: container.DcnFile) -> bytes:
    """A reader that makes a fourth channel from the flag alone shows memory or garbage."""
    return header(file, 1, flags=2) + section(1, file.latents)


@attack("flagged without alpha at byte 5, and an alpha section")
def alpha_that_nobody_asked_for(file: container.DcnFile) -> bytes:
    """A checker that trusts the flag and a decoder that trusts the section see two pictures."""
    return header(file, 2) + section(1, file.latents) + section(2, b"\x00\x00")


@attack("flagged grey or with alpha; model tiny decodes to RGB without alpha only")
def alpha_of_an_opaque_model(file: container.DcnFile) -> bytes:
    """A whole alpha plane for a model that has none."""
    return container.write(replace(file, alpha=b"\x00\x80"))


@attack("flagged grey or with alpha")
def grey_that_the_model_cannot_make(file: container.DcnFile) -> bytes:
    """A reader that keeps one channel by the flag alone shows another picture than the model makes."""
    return header(file, 1, flags=1) + section(1, file.latents)


@attack("flagged grey or with alpha")
def grey_and_alpha_for_a_model_without(file: container.DcnFile) -> bytes:
    """Both, with a right alpha section: two channels for a model of three."""
    plane = alpha.pack(np.eye(16, dtype=np.uint8) * 255)
    return header(file, 2, flags=3) + section(1, file.latents) + section(2, plane)


@attack("reserved flag bits")
def reserved_flags(file: container.DcnFile) -> bytes:
    """Something that a later version may mean."""
    return header(file, 1, flags=4) + section(1, file.latents)


@attack("quality 50; model tiny has no qualities")
def quality_for_a_model_without(file: container.DcnFile) -> bytes:
    """An index into tables that are not there."""
    return header(file, 1, quality=50) + section(1, file.latents)


@attack("with id ffffffffffffffff is not here")
def another_model(file: container.DcnFile) -> bytes:
    """Latents of one model decoded by another of the same name give a picture, and the wrong one."""
    return container.write(replace(file, model_id=b"\xff" * 8))


@attack("not a .dcn file")
def line_ends_converted(file: container.DcnFile) -> bytes:
    """What a transfer in text mode to 7 bits leaves."""
    return bytes(byte & 0x7F for byte in container.write(file))


@pytest.fixture(scope="module")
def good(tiny: Path) -> container.DcnFile:
    return container.parse(Encoder(tiny).encode(bundles.crops(200)[0]))


@pytest.mark.parametrize("name", ATTACKS)
def test_the_file_is_refused_in_one_line(tiny: Path, good: container.DcnFile, tmp_path: Path, name: str):
    maker, message = ATTACKS[name]
    (tmp_path / "hostile.dcn").write_bytes(maker(good))
    for command in (["decode", "hostile.dcn", "out.png"], ["verify", "hostile.dcn", "--require-model"]):
        arguments = [str(tmp_path / word) if "." in word else word for word in command]
        result = CliRunner().invoke(main, [*arguments, "--bundle-dir", str(tiny)])
        assert isinstance(result.exception, SystemExit), result.exception
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("decant: ")
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
        assert result.stderr[:-1].isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["hostile.dcn"]


@pytest.mark.parametrize("kind", ["exif", "icc", "xmp"])
@pytest.mark.parametrize(
    "block", [b"", b"\x00", b"Exif\x00\x00", b"II*\x00\xff\xff\xff\xff", bytes(300_000), b"<" * 70_000]
)
def test_hostile_metadata_is_kept_or_refused(
    tiny: Path, good: container.DcnFile, tmp_path: Path, kind: str, block: bytes
):
    """Metadata is somebody else's format: decant carries it and never acts on it."""
    (tmp_path / "hostile.dcn").write_bytes(container.write(replace(good, **{kind: block})))
    for target in ("out.png", "out.webp", "out.ppm", "out.npy"):
        arguments = [
            "decode",
            str(tmp_path / "hostile.dcn"),
            str(tmp_path / target),
            "--bundle-dir",
            str(tiny),
        ]
        result = CliRunner().invoke(main, arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert (tmp_path / target).exists() == (result.exit_code == 0)
        assert result.exit_code == 0 or (
            result.stderr.startswith("decant: ") and result.stderr.count("\n") == 1
        )
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]


def test_refusals_take_no_memory(good: container.DcnFile):
    """Length fields and sizes are looked at before memory is taken for them."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for maker in (picture_of_four_gigapixels, section_of_four_gigabytes, many_sections):
        for _ in range(50):
            try:
                container.parse(maker(good))
            except container.FormatError:
                continue
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 50_000  # kB
