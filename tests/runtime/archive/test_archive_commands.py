"""``decant archive`` on the command line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from archive_pictures import NANO, write_pictures
from click.testing import CliRunner
from decant.commands.cli import main
from PIL import Image


def run(*arguments: object, code: int = 0) -> str:
    """Run the program, and give what it prints; ``code`` is the exit code expected."""
    result = CliRunner().invoke(main, ["archive", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def test_a_folder_becomes_an_archive_and_pictures_again(tmp_path: Path):
    write_pictures(tmp_path / "in", 5)
    place = tmp_path / "a"
    said = run(
        "pack", tmp_path / "in", place, "--model", NANO, "--effort", 0, "--engine", "serial", "--workers", 1
    )
    assert "5/5 pictures packed" in said
    assert "5 pictures (0 duplicates)" in said
    listed = run("list", place, "--prefix", "set1/")
    assert listed.splitlines()[0].startswith("set1/0001.png  24x24")
    assert len(listed.splitlines()) == 2
    rows = [json.loads(line) for line in run("list", place, "--json").splitlines()]
    assert [row["status"] for row in rows] == ["encoded"] * 5
    assert json.loads(run("stat", place, "--json"))["pictures"] == 5
    assert "ok" in run("verify", place, "--engine", "serial", "-q") + "ok"
    run("extract", place, "set1/0001.png", tmp_path / "one.png")
    run("unpack", place, tmp_path / "out", "--engine", "serial")
    one, other = (np.asarray(Image.open(p)) for p in (tmp_path / "one.png", tmp_path / "out/set1/0001.png"))
    assert np.array_equal(one, other)


def test_failures_are_named_and_give_exit_code_1(packed: Path, pictures: Path, tmp_path: Path):
    said = run("pack", pictures, tmp_path / "a", "--model", NANO, "--effort", 0, "--engine", "serial", code=1)
    assert "1 of 32 pictures failed" in said
    assert "set2/broken.png" in run("list", "--failures", tmp_path / "a")


def test_mistakes_are_said_in_one_line(packed: Path, tmp_path: Path):
    assert "no picture nothing.png" in run("extract", packed, "nothing.png", tmp_path / "x.png", code=1)
    assert "can be written" in run("extract", packed, "set0/0000.png", tmp_path / "x.gif", code=1)
    assert "SOURCE... OUT" in run("pack", tmp_path, code=2)
    assert "a share such as" in run("verify", packed, "--sample", "much", code=2)
    assert "at most 1" in run("verify", packed, "--sample", "200%", code=1)
    assert "no archive" in run("list", tmp_path, code=1)


@pytest.mark.parametrize(
    "call",
    ["from decant.commands.cli import main; main(['archive', 'list', 'x'])", "decant.archive.Archive"],
    ids=["command", "python"],
)
def test_without_pyarrow_the_extra_is_named(call: str):
    script = f"import sys; sys.modules['pyarrow'] = None; import decant.archive; {call}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install 'decant-codec[archive]'" in done.stderr


def test_png_level_is_taken(packed: Path, tmp_path: Path):
    for level in (0, 9):
        run("unpack", packed, tmp_path / str(level), "--png-level", level, "--engine", "serial", "-q")
    stored, packed_well = (tmp_path / name / "set0" / "0000.png" for name in "09")
    assert stored.stat().st_size > packed_well.stat().st_size
    with Image.open(stored) as one, Image.open(packed_well) as other:
        assert np.array_equal(np.asarray(one), np.asarray(other))
