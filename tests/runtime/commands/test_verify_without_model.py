"""``decant verify`` where a file's model is not here: what can be checked is, and the rest is said."""

import json
from dataclasses import replace
from pathlib import Path

import bundles
import pytest
from commands import decant, refusal
from decant import Encoder
from decant.formats import alpha, container

ABSENT = bytes.fromhex("f8b691d4dbb05374")  # lite 0.9.0


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """``there.dcn`` of a model that is here, ``absent.dcn`` of one that is not, ``alpha.dcn`` with alpha."""
    made = container.parse(Encoder(tiny, threads=1).encode(bundles.crops(1)[0]))
    absent = replace(made, name="lite", model_id=ABSENT)
    plane = bundles.crops(1)[0][:, :, 0]
    files = {"there": made, "absent": absent, "alpha": replace(absent, alpha=alpha.pack(plane))}
    for name, file in files.items():
        (tmp_path / f"{name}.dcn").write_bytes(container.write(file))
    return tmp_path


def test_header_checksums_and_alpha_are_checked(folder: Path) -> None:
    result = decant("verify", folder / "alpha.dcn")
    assert result.exit_code == 0
    assert result.stdout.startswith(
        f"skip {folder / 'alpha.dcn'}: 16x16, header and all checksums right, alpha"
    )
    assert "symbols not checked: model lite 0.9.0 with id f8b691d4dbb05374 is not here" in result.stdout
    assert "looked in " in result.stdout
    assert "install decant-models-archive" in result.stdout


def test_a_folder_counts_them(folder: Path, tiny: Path) -> None:
    result = decant("verify", folder, "--bundle-dir", tiny)
    assert result.exit_code == 0
    assert "3 of 3 files in" in result.stderr
    assert "2 without their model: symbols not checked" in result.stderr
    report = json.loads(decant("verify", folder, "--bundle-dir", tiny, "--json").stdout)
    assert report["passed"]
    assert [finding["passed"] for finding in report["findings"]] == [None, None, True]


def test_it_may_be_a_failure(folder: Path, tiny: Path) -> None:
    message = refusal("verify", folder / "absent.dcn", "--require-model")
    assert "model lite 0.9.0 with id f8b691d4dbb05374 is not here" in message
    result = decant("verify", folder, "--bundle-dir", tiny, "--require-model")
    assert result.exit_code == 1
    assert "2 of 3 checks failed" in result.stderr


@pytest.mark.parametrize("place", [10, 60, -3])
def test_damage_is_found_without_the_model(folder: Path, place: int) -> None:
    content = bytearray((folder / "alpha.dcn").read_bytes())
    content[place] ^= 1
    (folder / "alpha.dcn").write_bytes(content)
    assert "damaged" in refusal("verify", folder / "alpha.dcn")


def test_a_wrong_alpha_plane_is_found_without_the_model(folder: Path) -> None:
    file = container.parse((folder / "absent.dcn").read_bytes())
    (folder / "absent.dcn").write_bytes(container.write(replace(file, alpha=b"\x02abc")))
    assert "alpha" in refusal("verify", folder / "absent.dcn")


def test_info_says_the_version_of_a_model_that_is_not_here(folder: Path) -> None:
    described = json.loads(decant("info", folder / "absent.dcn", "--json").stdout)
    assert (described["model"], described["model_version"]) == ("lite", "0.9.0")
