"""The examples of docs/archive.md run."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from archive_pictures import NANO, write_pictures
from click.testing import CliRunner
from decant.commands.cli import main

GUIDE = (Path(__file__).parents[3] / "docs" / "archive.md").read_text()


def blocks(language: str) -> list[str]:
    """The code blocks of a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def test_a_services_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DECANT_BUNDLES", str(NANO))
    write_pictures(tmp_path / "photos", 4)
    runner = CliRunner()
    said = ""
    for block in blocks("sh"):
        for line in block.splitlines():
            words = shlex.split(line)
            if words[0] == "decant":
                result = runner.invoke(main, [*words[1:], *(["--engine", "serial"] * (words[2] == "pack"))])
                assert result.exit_code == 0, result.output
                said += result.output
            elif words[0] == "cp":
                (tmp_path / words[2] / Path(words[1]).name).unlink()
                shutil.copy(words[1], words[2])
            else:
                assert words[0] == "pip"
        if not (tmp_path / "backup").exists() and (tmp_path / "photos.archive").exists():
            shutil.copytree(tmp_path / "photos.archive", tmp_path / "backup")
    assert "4 pictures (0 duplicates)" in said
    [example] = blocks("python")
    found: dict[str, object] = {}
    exec(example, found)
    assert found["picture"].shape == (3, 24, 24)


def test_the_query_runs(tmp_path: Path, packed: Path, monkeypatch: pytest.MonkeyPatch):
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos.archive").symlink_to(packed)
    [query] = blocks("sql")
    assert duckdb.sql(query.strip().rstrip(";")).columns == ["key", "width", "height", "bytes"]
