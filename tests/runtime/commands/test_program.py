"""The program ``decant``: commands of other packages, its version, its help, how it ends."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import bundles
import click
import pytest
from commands import decant, refusal
from decant import settings
from decant.codec.entropy import native
from decant.commands import plugins
from decant.commands.cli import main
from decant.selection.candidates import AUTO_PRECISIONS
from PIL import Image


class TestCommandsOfOtherPackages:
    @pytest.fixture(autouse=True)
    def _entries(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        (tmp_path / "decant_tea.py").write_text(
            "import click\n\n@click.command()\ndef brew():\n    click.echo('tea')\n"
        )
        (tmp_path / "decant_pot.py").write_text("import a_package_that_is_not_here\n")
        monkeypatch.syspath_prepend(tmp_path)
        entries = [
            EntryPoint("brew", "decant_tea:brew", plugins.GROUP),
            EntryPoint("boil", "decant_pot:boil", plugins.GROUP),
            EntryPoint("info", "decant_tea:brew", plugins.GROUP),
            EntryPoint("label", "decant_tea:__name__", plugins.GROUP),
        ]
        monkeypatch.setattr(plugins, "entry_points", lambda group: entries if group == plugins.GROUP else [])

    def test_help_lists_them_without_importing(self):
        result = decant("--help")
        assert re.search(r"^  brew +Of the package decant_tea; see its --help\.$", result.output, re.M)
        assert "decant_tea" not in sys.modules

    def test_a_call_imports_and_runs(self):
        assert decant("brew").output == "tea\n"

    def test_what_cannot_be_imported_names_the_extra(self):
        assert "a_package_that_is_not_here" in refusal("boil")
        assert "pip install 'decant-codec[pot]'" in refusal("boil")

    def test_what_is_no_command_is_said(self):
        assert "is no command" in refusal("label")

    def test_our_own_names_cannot_be_taken(self, coded: Path):
        assert "tiny" in decant("info", coded).output

    def test_an_unknown_command_is_a_usage_error(self):
        assert decant("pour").exit_code == 2


@pytest.mark.parametrize("value", plugins._SHORT_HELP)
def test_what_help_says_of_other_packages_is_what_they_say(value: str):
    entry = next(entry for entry in entry_points(group=plugins.GROUP) if entry.value == value)
    assert entry.load().get_short_help_str(200) == plugins._SHORT_HELP[value]


def test_the_version_is_the_same_everywhere():
    root = Path(__file__).parents[3]
    declared = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    first = re.search(r"\b\d+\.\d+\.\d+\b", (root / "CHANGELOG.md").read_text())
    assert first is not None
    assert first[0] == declared
    assert f"decant {declared}" in (root / "README.md").read_text()
    said = decant("--version").stdout.splitlines()
    assert said[0] == f"decant, version {declared}", "install the package again: pip install -e ."


def test_the_version_names_the_bundles_that_ship(monkeypatch: pytest.MonkeyPatch):
    folder = Path(__file__).parents[3] / "artifacts" / "decant_bundles"
    monkeypatch.setattr("decant.bundles.bundle.shipped_folders", lambda: [folder])
    said = decant("--version").stdout.splitlines()[1:]
    manifests = [json.loads(path.read_bytes()) for path in sorted(folder.glob("*/bundle.json"))]
    assert len(manifests) > 3
    names = [f"{m['name']}, version {m['version']}, model id {m['model_id'][:16]}" for m in manifests]
    makers = [f"made by decant {m['decant_version']}" for m in manifests]
    assert said == [f"{name}, {maker}" for name, maker in zip(names, makers, strict=True)]


def test_a_missing_c_module_is_said_once(codec: Path, tmp_path: Path):
    """In a process of its own, in which the module cannot be imported."""
    code = (
        "import sys; sys.modules['decant._libdcn'] = None\n"
        "from decant.commands.cli import main\n"
        "for command in sys.argv[1:]: main(command.split('|'), standalone_mode=False)"
    )
    Image.fromarray(bundles.crops(200)[3]).save(tmp_path / "a.png")
    encode = f"encode|{tmp_path / 'a.png'}|{tmp_path / 'a.dcn'}|--bundle-dir|{codec}|--quiet"
    decode = f"decode|{tmp_path / 'a.dcn'}|{tmp_path / 'b.png'}|--bundle-dir|{codec}"
    runtime = "decant: the runtime native is not built here: install decant-codec where a C compiler is"
    for commands, said in (((encode, decode), []), (("devices",), [runtime])):
        run = subprocess.run(
            [sys.executable, "-c", code, *commands], capture_output=True, text=True, check=True
        )
        assert run.stderr.splitlines() == [*said, f"decant: {native.MISSING}"]


def test_a_model_that_only_decodes_names_those_that_encode(tiny: Path, tiny_copy: Path, photo: Path):
    def drop(manifest: dict):
        dropped = [graph for graph in manifest["graphs"] if graph["role"] != "synthesis"]
        manifest["graphs"] = [graph for graph in manifest["graphs"] if graph["role"] == "synthesis"]
        manifest["name"] = "small"
        for graph in dropped:
            for file in graph["files"]:
                (tiny_copy / file["path"]).unlink()

    bundles.reseal(tiny_copy, drop)
    message = refusal("encode", photo, photo.with_suffix(".dcn"), "--model", tiny_copy, "--bundle-dir", tiny)
    assert "model small cannot encode: it has a decoder only; models here that encode: tiny" in message


def test_every_command_and_option_has_help():
    for name, command in main.commands.items():
        assert command.help, name
        for option in command.params:
            assert isinstance(option, click.Argument) or option.help, f"{name} {option.name}"
        assert decant(name, "--help").exit_code == 0


def test_help_states_the_constants():
    effort, precision = (
        next(option.help or "" for option in main.commands[command].params if option.name == name)
        for command, name in (("encode", "effort"), ("decode", "precision"))
    )
    assert f"{settings.ROUNDS[settings.DEFAULT_EFFORT]} times" in effort
    assert f"{settings.ROUNDS[-1]} times" in effort
    assert len(settings.ROUNDS) == settings.LARGEST_EFFORT + 1
    named = set(re.findall(r"[a-z]+\d*(?:-static)?", precision.partition(": ")[2])) - {"or", "auto"}
    assert named == {one for ones in AUTO_PRECISIONS.values() for one in ones}


def test_the_installed_command(coded: Path):
    command = Path(sys.executable).with_name("decant")
    version = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.startswith("decant, version 0.")
    failed = subprocess.run([command, "info", __file__], capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == f"decant: {__file__}: not a .dcn file: it does not begin with 8A 44 43 4E\n"


def test_a_reader_that_goes_away_is_no_error_message(tiny: Path):
    command = Path(sys.executable).with_name("decant")
    shell = f"{command} info {tiny} --json | true; exit ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert run.stderr == ""
