"""The examples in docs/export.md run, and its tables name what the code has."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from decant.bundles.bundle import Bundle
from decant.commands.cli import main
from decant_export.common import variants

DOCS = (Path(__file__).parents[2] / "docs" / "export.md").read_text()


@pytest.fixture
def runs(checkpoint: Path, denoiser: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, source in (("small", checkpoint), ("base", checkpoint), ("denoiser", denoiser)):
        shutil.copytree(source, tmp_path / "runs" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands_run_in_their_order(runs: Path) -> None:
    block, codecs = re.findall(r"```sh\n(.*?)```", DOCS, re.DOTALL)
    assert all(line.startswith("decant export") for line in codecs.splitlines())
    commands = [shlex.split(line) for line in block.splitlines()]
    assert [command[:2] for command in commands] == [["decant", "export"]] * 3
    for command in commands:
        result = CliRunner().invoke(main, command[1:])
        assert result.exit_code == 0, result.stderr
    assert Bundle.open("bundles/small").layout.payload_bytes == 6  # the second: uint8
    assert len(list((runs / "archive").iterdir())) == 8


def test_the_python_example_runs(runs: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    found: dict[str, Bundle] = {}
    exec(example, found)
    found["bundle"].verify()
    assert "denoiser" in {graph.role for graph in found["bundle"].graphs}


def test_the_table_of_routes_has_every_precision() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|.*\|.*\|$", DOCS.split("## Forms")[1], re.MULTILINE)
    assert tuple(rows) == variants.PRECISIONS
