"""Hostile .dcn files for a bundle of the layout ``levels``. Each maker gets a good file of it."""

from dataclasses import replace
from pathlib import Path

import color_model
import numpy as np
import pytest
from attack_table import AttackTable
from click.testing import CliRunner
from decant import Encoder
from decant.commands.cli import main
from decant.formats import container
from decant_export import export
from test_damaged_files import decode_damaged

ATTACKS = AttackTable()
attack = ATTACKS.attack


def with_latents(file: container.DcnFile, latents: bytes) -> bytes:
    return container.write(replace(file, latents=latents))


@attack("do not end with their last level")
def smuggled_words(file: container.DcnFile) -> bytes:
    """A second stream behind the first: a coder that does not ask whether it is at its end never sees it."""
    words = file.latents + bytes(-len(file.latents) % 4)
    return with_latents(file, words + b"PK\x03\x04" * 16)


@attack("do not end with their last level")
def thirty_two_megabytes(file: container.DcnFile) -> bytes:
    """Far more words than the picture has levels."""
    return with_latents(file, b"\x55" * (1 << 25))


@attack("end in a zero byte")
def padded(file: container.DcnFile) -> bytes:
    """Two payloads of one picture: whoever compares or signs files would take them for two pictures."""
    return with_latents(file, file.latents + b"\x00")


@attack("end in a zero byte")
def nothing_but_zeros(file: container.DcnFile) -> bytes:
    """A megabyte that a coder would skip."""
    return with_latents(file, bytes(1 << 20))


@attack("do not end with their last level")
def every_bit_set(file: container.DcnFile) -> bytes:
    """The greatest state that a coder can be in."""
    return with_latents(file, b"\xff" * 8 * len(file.latents))


@attack("decodes to 32x32 only")
def picture_of_another_size(file: container.DcnFile) -> bytes:
    """A grid of another size than the tables are for."""
    return container.write(replace(file, width=64, height=16))


@attack("has no qualities")
def quality_for_a_model_without(file: container.DcnFile) -> bytes:
    """The depths are the file's, no quality's."""
    return container.write(replace(file, quality=8))


@pytest.fixture(scope="module")
def levels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small bundle of the layout; not to be changed."""
    folder = tmp_path_factory.mktemp("levels")
    color_model.train(folder / "checkpoint", epochs=1)
    options = {"precisions": ("float",), "runtimes": ("onnxruntime",)}
    return export(folder / "checkpoint", folder / "color", **options).path


@pytest.fixture(scope="module")
def good(levels: Path) -> container.DcnFile:
    return container.parse(Encoder(levels).encode(color_model.photos()[0]))


@pytest.mark.parametrize("name", ATTACKS)
def test_the_file_is_refused_in_one_line(levels: Path, good: container.DcnFile, tmp_path: Path, name: str):
    maker, message = ATTACKS[name]
    (tmp_path / "hostile.dcn").write_bytes(maker(good))
    for command in (["decode", "hostile.dcn", "out.png"], ["verify", "hostile.dcn"]):
        arguments = [str(tmp_path / word) if "." in word else word for word in command]
        result = CliRunner().invoke(main, [*arguments, "--bundle-dir", str(levels)])
        assert isinstance(result.exception, SystemExit), result.exception
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("decant: ")
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["hostile.dcn"]


def test_damaged_files(levels: Path, tmp_path: Path):
    encoder = Encoder(levels)
    flat = np.full((32, 32, 3), 90, np.uint8)
    for i, picture in enumerate([*color_model.photos()[:5], flat]):
        (tmp_path / f"{i}.dcn").write_bytes(encoder.encode(picture))
    ends = decode_damaged(levels, tmp_path, 1_500)
    assert ends["FormatError"] > 750
    assert ends["pictures"] > 20
