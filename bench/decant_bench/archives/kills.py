"""``python -m decant_bench.archives.kills``: packing and unpacking are killed at random and resumed, and must
give the bytes of an undisturbed run. Exit code 1 where they do not.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from decant_bench.archives.inputs import write_pictures

_COMMAND = [sys.executable, "-m", "decant.commands.cli", "archive"]


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder`` with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def timed(arguments: list[str]) -> float:
    """Run a command to its end; seconds. Raises CalledProcessError."""
    began = time.monotonic()
    subprocess.run([*_COMMAND, *arguments, "-q"], check=True)
    return time.monotonic() - began


def killed(arguments: list[str], kills: int, seconds: float, chance: random.Random) -> int:
    """Run a command, SIGKILL it ``kills`` times at random moments of about ``seconds`` in all, then let it
    end; how often it was alive.
    """
    alive = 0
    for _ in range(kills):
        process = subprocess.Popen([*_COMMAND, *arguments, "--resume", "-q"], start_new_session=True)
        try:
            process.wait(chance.uniform(0.1, 2 * seconds / kills))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            alive += 1
        process.wait()
    subprocess.run([*_COMMAND, *arguments, "--resume", "-q"], check=True)
    return alive


def measure(pictures: int, kills: int, side: int, model: str, seed: int) -> dict[str, object]:
    """What came of it, as plain data. Raises CalledProcessError."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="decant-kills-") as name:
        folder = Path(name)
        write_pictures(folder / "in", pictures, side)
        pack = ["pack", str(folder / "in")]
        options = ["--model", model, "--effort", "0"]
        pack_s = timed([*pack, str(folder / "a"), *options])
        pack_kills = killed([*pack, str(folder / "b"), *options], kills, pack_s, chance)
        packed_alike = files_of(folder / "a") == files_of(folder / "b")
        unpack_s = timed(["unpack", str(folder / "a"), str(folder / "u")])
        unpack_kills = killed(
            ["unpack", str(folder / "b"), str(folder / "v")], kills, max(unpack_s, kills * 0.8), chance
        )
        whole, resumed = files_of(folder / "u"), files_of(folder / "v")
        return {
            "pictures": pictures,
            "pack_s": round(pack_s, 1),
            "pack_kills": pack_kills,
            "packed_alike": packed_alike,
            "unpack_s": round(unpack_s, 1),
            "unpack_kills": unpack_kills,
            "unpacked": len(resumed),
            "unpacked_alike": whole == resumed and len(whole) == pictures,
        }


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--seed", type=int, default=1)
    found = measure(**vars(parser.parse_args()))
    print(json.dumps(found, indent=2))
    if not (found["packed_alike"] and found["unpacked_alike"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
