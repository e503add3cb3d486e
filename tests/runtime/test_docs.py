"""The examples in docs/devices.md run, and its tables are those of the code."""

import re
import shutil
from pathlib import Path

import bundles
import click
import pytest
from decant.backends.devices import KINDS
from decant.commands.cli import main
from decant.selection.candidates import AUTO_PRECISIONS

DOCS = Path(__file__).parents[2] / "docs"


def test_python_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder = bundles.build(tmp_path / "bundles" / "small", name="small", openvino=False)
    shutil.copy(folder / "golden/000.dcn", tmp_path / "photo.dcn")
    monkeypatch.setenv("DECANT_BUNDLES", str(folder.parent))
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", (DOCS / "devices.md").read_text(), re.DOTALL)
    found: dict[str, object] = {}
    exec(example, found)
    said = capsys.readouterr().out.splitlines()
    promised = re.findall(r"# (auto cpu|onnxruntime int8)$", example, re.MULTILINE)
    assert said[:2] == promised
    assert found["pixels"].shape == (16, 16, 3)


def test_the_table_of_precisions_is_the_one_in_use():
    rows = re.findall(
        r"^\| (\w+) \| ((?:float|int)[\w, -]+) \|$", (DOCS / "devices.md").read_text(), re.MULTILINE
    )
    assert {kind: tuple(names.split(", ")) for kind, names in rows} == AUTO_PRECISIONS
    assert set(AUTO_PRECISIONS) == set(KINDS)


def test_the_page_of_commands_names_every_command_and_no_option_that_is_not_there():
    page = (DOCS / "commands.md").read_text()
    named = {name for line in re.findall(r"^## (.*)$", page, re.MULTILINE) for name in line.split(", ")}
    assert set(main.commands) <= named
    context = click.Context(main)  # with the commands of the other packages
    commands = [main.get_command(context, name) for name in main.list_commands(context)]
    commands += [
        one for group in commands if isinstance(group, click.Group) for one in group.commands.values()
    ]
    options = {name for command in commands for option in command.params for name in option.opts}
    for option in re.findall(r"`(--[\w-]+)", page):
        assert option in options | {"--help"}, option
