"""A run that is killed at any moment and resumed gives the same bytes as an undisturbed one."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from archive_pictures import NANO, SETTINGS, files_of
from decant import archive
from decant.errors import FormatError

COMMAND = [sys.executable, "-m", "decant.commands.cli", "archive"]


class Killed(BaseException):
    """The end of the process, as far as the code that runs can tell."""


class Kill:
    """Ends the run at the ``number``-th file from now on that gets its final name, just before or just after
    it does.
    """

    def __init__(self) -> None:
        self._replace = os.replace
        self._left = 0
        self._before = False

    def at(self, number: int, *, before: bool = False) -> None:
        """Arm; 0 never ends the run."""
        self._left, self._before = number, before

    def __call__(self, source: str, target: str) -> None:
        """In place of ``os.replace``."""
        self._left -= 1
        if self._left == 0 and self._before:
            raise Killed
        self._replace(source, target)
        if self._left == 0:
            raise Killed


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Kill:
    """Ends runs of this process."""
    made = Kill()
    monkeypatch.setattr(os, "replace", made)
    return made


def killed_until_done(run: Callable[[], object], kill: Kill, every: int) -> int:
    """Run, killed at every so many files, until nothing is left to do; how many kills that took."""
    for count in range(1000):
        kill.at(every, before=count % 2 == 0)
        try:
            run()
        except Killed:
            continue
        return count
    raise AssertionError("never done")


def test_packing_resumes_after_many_kills(pictures: Path, packed: Path, tmp_path: Path, kill: Kill):
    """The plan and the bundle are made again until all of their files are there."""
    out = tmp_path / "a"

    def run() -> None:
        archive.pack(pictures, out, engine="serial", resume=True, **SETTINGS)

    assert killed_until_done(run, kill, 13) > 1
    assert files_of(out) == files_of(packed)


def test_packing_resumes_after_a_late_kill(pictures: Path, packed: Path, tmp_path: Path, kill: Kill):
    for step in (5, 14, 22, 29):
        out = tmp_path / str(step)
        kill.at(step)
        with pytest.raises(Killed):
            archive.pack(pictures, out, engine="serial", **SETTINGS)
        with pytest.raises(FormatError, match=r"unfinished archive"):
            archive.Archive(out)
        kill.at(0)
        archive.pack(pictures, out, engine="serial", resume=True, **SETTINGS)
        assert files_of(out) == files_of(packed)


def test_resuming_needs_the_same_sources_and_settings(pictures: Path, tmp_path: Path, kill: Kill):
    out = tmp_path / "a"
    kill.at(8)
    with pytest.raises(Killed):
        archive.pack(pictures, out, engine="serial", **SETTINGS)
    kill.at(0)
    with pytest.raises(FormatError, match="--resume goes on"):
        archive.pack(pictures, out, engine="serial", **SETTINGS)
    with pytest.raises(FormatError, match="other settings"):
        archive.pack(pictures, out, engine="serial", resume=True, **{**SETTINGS, "quality": 50})
    with pytest.raises(FormatError, match="other sources"):
        archive.pack(tmp_path, out, engine="serial", resume=True, **SETTINGS)


def test_a_finished_archive_is_left_alone(pictures: Path, packed: Path):
    before = files_of(packed)
    made = archive.pack(pictures, packed, engine="serial", resume=True, **SETTINGS)
    assert made == archive.Archive(packed).manifest
    assert files_of(packed) == before


def test_a_damaged_unit_is_done_again(pictures: Path, packed: Path, tmp_path: Path, kill: Kill):
    """What a power cut may leave: a file of its final name without its content."""
    out = tmp_path / "a"
    kill.at(8)
    with pytest.raises(Killed):
        archive.pack(pictures, out, engine="serial", **SETTINGS)
    kill.at(0)
    unit = sorted((out / "_work").glob("unit-*"))[0]
    unit.write_bytes(unit.read_bytes()[:100])
    with pytest.raises(FormatError, match="run again with --resume"):
        archive.pack(pictures, out, engine="serial", resume=True, **SETTINGS)
    archive.pack(pictures, out, engine="serial", resume=True, **SETTINGS)
    assert files_of(out) == files_of(packed)


@pytest.mark.parametrize("tar", [False, True])
def test_unpacking_resumes_after_many_kills(packed: Path, tmp_path: Path, tar: bool, kill: Kill):
    archive.unpack(packed, tmp_path / "whole", engine="serial", output="ppm", tar=tar)

    def run() -> None:
        archive.unpack(packed, tmp_path / "u", engine="serial", output="ppm", tar=tar, resume=True)

    assert killed_until_done(run, kill, 2 if tar else 6) > 3
    assert files_of(tmp_path / "u") == files_of(tmp_path / "whole")


def killed_at_random(arguments: list[str], kills: int, longest: float, chance: random.Random) -> int:
    """Run a command, kill it (SIGKILL) after random times, then let it end; how often it was alive."""
    alive = 0
    for _ in range(kills):
        process = subprocess.Popen([*COMMAND, *arguments, "--resume", "-q"], start_new_session=True)
        try:
            process.wait(chance.uniform(0.05, longest))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            alive += 1
        process.wait()
    time.sleep(0.2)
    subprocess.run([*COMMAND, *arguments, "--resume", "-q"], timeout=300)
    return alive


@pytest.mark.slow
def test_random_kills_of_the_process(pictures: Path, tmp_path: Path):
    """The processes of the local engine, killed from outside while they pack and unpack."""
    many = tmp_path / "many"
    for copy in range(8):
        shutil.copytree(pictures / "set0", many / str(copy))
    options = ["--model", str(NANO), "--effort", "0", "--keep-duplicates", "--workers", "2"]
    began = time.monotonic()
    subprocess.run([*COMMAND, "pack", str(many), str(tmp_path / "a"), *options, "-q"], check=True)
    packed_s = time.monotonic() - began
    chance = random.Random(5)
    alive = killed_at_random(["pack", str(many), str(tmp_path / "b"), *options], 5, 0.6 * packed_s, chance)
    assert alive >= 1
    assert files_of(tmp_path / "b") == files_of(tmp_path / "a")
    began = time.monotonic()
    subprocess.run([*COMMAND, "unpack", str(tmp_path / "a"), str(tmp_path / "u"), "-q"], check=True)
    unpacked_s = time.monotonic() - began
    alive = killed_at_random(
        ["unpack", str(tmp_path / "a"), str(tmp_path / "v")], 5, 0.6 * unpacked_s, chance
    )
    assert alive >= 1
    assert files_of(tmp_path / "v") == files_of(tmp_path / "u")


def test_a_vanished_worker_costs_nothing(pictures: Path, packed: Path, tmp_path: Path):
    psutil = pytest.importorskip("psutil", reason="finds the worker processes")
    killed = []

    def kill_one(progress: object) -> None:
        if not killed:
            workers = [p for p in psutil.Process().children() if "decant.archive.worker" in p.cmdline()]
            killed.append(workers[0].pid)
            workers[0].kill()

    archive.pack(pictures, tmp_path / "a", workers=1, report=kill_one, **SETTINGS)
    assert killed
    assert files_of(tmp_path / "a") == files_of(packed)


def test_a_full_disk_ends_the_run_and_resume_goes_on(pictures: Path, tmp_path: Path):
    """On a real file system that grows later: packing, then unpacking."""
    script = """
set -e
mount -t tmpfs -o size=100k none "$DISK"
if $PACK; then echo "it fitted"; exit 3; fi
mount -o remount,size=20m "$DISK"
$PACK && exit 4 || test $? = 1  # the damaged picture gives 1
cp -r "$DISK/a" "$COPY"
rm -r "$DISK/a"
mount -o remount,size=60k "$DISK"
if $UNPACK; then echo "it fitted"; exit 5; fi
mount -o remount,size=20m "$DISK"
$UNPACK
cp -r "$DISK/u" "$COPY-u"
"""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no file system of its own can be mounted here (unshare -rm)")
    disk = tmp_path / "disk"
    disk.mkdir()
    pack = f"{' '.join(COMMAND)} pack {pictures} {disk}/a --model {NANO} --effort 0 --resume --workers 1"
    unpack = f"{' '.join(COMMAND)} unpack {tmp_path}/copy {disk}/u --output npy --resume --workers 1"
    environment = {**os.environ, "DISK": str(disk), "COPY": str(tmp_path / "copy")}
    environment |= {"PACK": pack, "UNPACK": unpack}
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("No space left on device") == 2
    archive.pack(pictures, tmp_path / "b", model=str(NANO), effort=0, engine="serial")
    assert files_of(tmp_path / "copy") == files_of(tmp_path / "b")
    archive.unpack(tmp_path / "b", tmp_path / "u", engine="serial", output="npy")
    assert files_of(tmp_path / "copy-u") == files_of(tmp_path / "u")
