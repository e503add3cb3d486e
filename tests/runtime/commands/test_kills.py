"""Folder runs killed at random moments: no partial file under a final name, nothing left after the next run.

DECANT_KILLS sets the number of kills; the suite makes a few, 100 take some minutes. DECANT_KILLS_MODEL names
a shipped model in place of the small codec of the tests, and DECANT_KILLS_SEED chooses other moments.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COMMAND = Path(sys.executable).with_name("decant")
KILLS = int(os.environ.get("DECANT_KILLS", "4"))
MODEL = os.environ.get("DECANT_KILLS_MODEL")
SEED = int(os.environ.get("DECANT_KILLS_SEED", "0"))
SHIPPED = Path(__file__).parents[3] / "artifacts" / "decant_bundles"
PICTURES = 8

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")


@pytest.fixture
def folders(codec: Path, tmp_path: Path) -> dict[str, list[object]]:
    """Command lines that encode and decode a folder of noise, which takes long to write."""
    (tmp_path / "photos").mkdir()
    noise = np.random.default_rng(0)
    for k in range(PICTURES):
        shape = (96, 128, 3) if MODEL else (256, 384, 3)
        pixels = noise.integers(0, 256, shape, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{k}.png")
    common = ["--bundle-dir", SHIPPED / MODEL if MODEL else codec, "--threads", 2]
    lines = {
        "coded": ["encode", tmp_path / "photos", tmp_path / "coded", "--effort", 0, *common],
        "back": ["decode", tmp_path / "coded", tmp_path / "back", *common],
    }
    return {name: [COMMAND, *map(str, line)] for name, line in lines.items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


def wait_for_output(process: subprocess.Popen, folder: Path) -> None:
    """Until a file appears in an empty ``folder``, or the process ends."""
    while process.poll() is None and not (folder.is_dir() and os.listdir(folder)):
        time.sleep(0.001)


def test_kills_leave_no_partial_file_and_nothing_behind(folders: dict[str, list[str]], tmp_path: Path):
    moments = random.Random(SEED)
    whole, start, writing = {}, {}, {}  # contents; seconds until the first output, and from there to the end
    for name, line in folders.items():
        subprocess.run(line, check=True, capture_output=True)  # checks golden files, once
        whole[name] = contents(tmp_path / name)
        assert len(whole[name]) == PICTURES
        shutil.rmtree(tmp_path / name)
        begun = time.monotonic()
        process = subprocess.Popen(line, stderr=subprocess.DEVNULL)
        wait_for_output(process, tmp_path / name)
        start[name] = time.monotonic() - begun
        assert process.wait() == 0
        writing[name] = time.monotonic() - begun - start[name]
    stopped = left = 0
    for kill in range(KILLS):
        name = ("back", "coded")[kill // 2 % 2]
        number = (signal.SIGTERM, signal.SIGKILL)[kill % 2]
        options = ["--skip-existing"] if moments.random() < 0.3 else []
        shutil.rmtree(tmp_path / name)
        process = subprocess.Popen([*folders[name], *options], stderr=subprocess.DEVNULL)
        if moments.random() < 0.2:
            time.sleep(moments.uniform(0, start[name]))
        else:
            wait_for_output(process, tmp_path / name)
            time.sleep(moments.uniform(0, writing[name]))
        process.send_signal(number)
        stopped += process.wait() in (-number, 128 + number)
        now = contents(tmp_path / name)
        hidden = {key for key in now if key.endswith(".tmp")}
        assert {key: now[key] for key in now.keys() - hidden}.items() <= whole[name].items()
        left += bool(hidden)
        if number == signal.SIGTERM:
            assert not hidden
        # The next run: it ends, what was left is gone, and every file is whole.
        subprocess.run([*folders[name], *options], check=True, capture_output=True)
        assert contents(tmp_path / name) == whole[name]
    print(f"{KILLS} kills: {stopped} before the end, {left} left a temporary file, none after the next run")


def test_sigterm_leaves_nothing_at_once(folders: dict[str, list[str]], tmp_path: Path):
    subprocess.run(folders["coded"], check=True, capture_output=True)
    process = subprocess.Popen(folders["back"], stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("back/*")):
        time.sleep(0.002)
    process.terminate()
    _, said = process.communicate()
    names = sorted(contents(tmp_path / "back"))
    assert not [name for name in names if name.endswith(".tmp")]
    if len(names) < PICTURES:
        assert process.returncode == 143
        assert "decant: stopped after" in said
