"""What the commands ask of the operating system, with the shipped model and a fresh home: no network, no file
outside the cache and the named outputs.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

COMMANDS = (
    ["encode", "--model", "nano", "a.png", "a.dcn"],
    ["decode", "a.dcn", "b.png"],
    ["decode", "--runtime", "onnxruntime", "a.dcn", "c.png"],
    ["info", "a.dcn"],
    ["verify", "nano"],
    ["models"],
    ["devices"],
)
OUTPUTS = {"a.dcn", "b.png", "c.png"}
_CHANGES = r"(mkdir|mknod|rename|link|symlink|truncate|chmod|fchmod)(at|at2)?"
_CALL = re.compile(r"^\d+ +(\w+)\((.*)$")
_PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')
# Devices that keep nothing.
_NOWHERE = ("/dev/null", "/dev/tty", "/proc/self/")


def environment(folder: Path) -> dict[str, str]:
    """The environment with a fresh home and a fresh folder for temporary files, both in ``folder``."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "ORT_", "COV_", "DECANT_"))}
    for name in ("home", "temporary"):
        (folder / name).mkdir()
    paths = {"HOME": str(folder / "home"), "TMPDIR": str(folder / "temporary")}
    return kept | paths | {"PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The folder in which commands run, with one picture."""
    found = tmp_path / "work"
    found.mkdir()
    Image.effect_noise((48, 32), 40).convert("RGB").save(found / "a.png")
    return found


def command(words: list[str]) -> list[str]:
    return [sys.executable, "-c", "from decant.commands.cli import main; main()", *words]


def run_all(work: Path, prefix: list[str]) -> None:
    env = environment(work.parent)
    for words in COMMANDS:
        done = subprocess.run(
            prefix + command(words), cwd=work, env=env, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, (words, done.stderr)


def left_behind(work: Path) -> list[str]:
    """Files below the folder of ``work`` that are no picture, no output and no part of decant's cache."""
    root = work.parent
    cache, given = root / "home/.cache/decant", {"a.png"} | OUTPUTS
    files = [path for path in root.rglob("*") if not path.is_dir() and not path.is_relative_to(cache)]
    return [str(path.relative_to(root)) for path in files if path.parent != work or path.name not in given]


def calls(trace: Path) -> list[tuple[str, str]]:
    """(name, the rest of the line) of each system call in a trace."""
    matches = [_CALL.match(line) for line in trace.read_text(errors="replace").splitlines()]
    return [(found[1], found[2]) for found in matches if found]


def changed(name: str, rest: str, work: Path) -> list[Path]:
    """The paths that one call creates, changes or names anew; removing a file is no change here."""
    opens = name in ("open", "openat", "openat2") and re.search(r"O_WRONLY|O_RDWR|O_CREAT", rest)
    if not (opens or name == "creat" or re.fullmatch(_CHANGES, name)):
        return []
    return [Path(os.path.normpath(work / path)) for path in _PATH.findall(rest)]


def test_commands_write_only_the_cache_and_their_outputs(work: Path):
    run_all(work, [])
    assert left_behind(work) == []
    assert {path.name for path in work.iterdir()} == OUTPUTS | {"a.png"}


def test_no_command_calls_the_network_or_writes_elsewhere(work: Path):
    trace = work.parent / "trace"
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    probe = subprocess.run([strace, "-f", "-o", str(trace), "true"], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"strace cannot trace here: {probe.stderr.strip()[:100]}")
    log = work.parent / "calls"
    run_all(work, [strace, "-f", "-qq", "-A", "-o", str(log), "-e", "trace=%network,%file"])
    traced = calls(log)
    assert len([1 for name, _ in traced if name == "execve"]) >= len(COMMANDS)
    network = ("socket", "connect", "bind", "listen", "accept", "accept4", "sendto", "sendmsg", "sendmmsg")
    assert [call for call in traced if call[0] in network] == []
    home = work.parent / "home/.cache"
    allowed = (work, home / "decant", work.parent / "temporary")
    every = {path for call in traced for path in changed(*call, work)}
    assert {work / name for name in OUTPUTS} < every  # the trace shows writes
    elsewhere = {
        str(path)
        for path in every
        if path != home and not any(path.is_relative_to(place) for place in allowed)
    }
    assert {path for path in elsewhere if not path.startswith(_NOWHERE)} == set()
    assert list((work.parent / "temporary").iterdir()) == []
