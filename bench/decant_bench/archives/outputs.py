"""``python -m decant_bench.archives.outputs FOLDER``: CPU time of decoding a folder of ``.dcn`` files to each
format, in turn, and its ratio to raw arrays. Prints JSON.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

_FORMATS = {
    "npy": ["--format", "npy"],
    "ppm": ["--format", "ppm"],
    "png": ["--format", "png"],
    "png 0": ["--format", "png", "--png-level", "0"],
    "png 6": ["--format", "png", "--png-level", "6"],
}
_SCRIPT = (
    "import resource,subprocess,sys;subprocess.run(sys.argv[1:],check=True);"
    "u=resource.getrusage(resource.RUSAGE_CHILDREN);print(u.ru_utime+u.ru_stime)"
)


def cpu_seconds(arguments: list[str]) -> float:
    """CPU seconds of a `decant` command, its start included. Raises CalledProcessError."""
    command = [sys.executable, "-c", _SCRIPT, sys.executable, "-m", "decant.commands.cli", *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in _FORMATS}
    sizes: dict[str, int] = {}
    for _ in range(given.rounds):
        for name, options in _FORMATS.items():
            with tempfile.TemporaryDirectory() as out:
                seconds[name].append(cpu_seconds(["decode", str(given.folder), f"{out}/o", *options, "-q"]))
                sizes[name] = sum(path.stat().st_size for path in Path(out).rglob("*") if path.is_file())
    rows = {
        name: {
            "cpu_s": round(median(found), 2),
            "to_raw": round(median(a / b for a, b in zip(found, seconds["npy"], strict=True)), 3),
            "bytes": sizes[name],
        }
        for name, found in seconds.items()
    }
    print(json.dumps({"files": len(list(given.folder.rglob("*.dcn"))), "formats": rows}, indent=2))


if __name__ == "__main__":
    main()
