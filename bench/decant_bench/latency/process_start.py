"""Whole processes: `dcndec` beside `djpeg` on one picture, started in turn.

    python -m decant_bench.latency.process_start PICTURE --dcndec runtime/libdcn/build/dcndec --model nano

Both write the same picture as PPM. The JPEG has about as many bytes as the `.dcn` file. djpeg is that of
libjpeg-turbo (`apt-get install libjpeg-turbo-progs`).
"""

import argparse
import io
import json
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import decant
from decant.bundles.bundle import find_bundle
from decant.formats.manifest import MODEL_SUFFIX
from PIL import Image

from decant_bench.common.machine import describe_machine
from decant_bench.errors import BenchError

LIMIT_RATIO, LIMIT_MS = 1.5, 10.0  # dcndec is to take at most so many times djpeg's time, and so much more


@dataclass(frozen=True)
class Times:
    """Of one program, over all rounds: medians in ms, and the bytes of its file."""

    program: str
    file_bytes: int
    wall_ms: float
    cpu_ms: float


def measure(
    picture: Path,
    dcndec: Path,
    model: str = "nano",
    quality: int = 60,
    rounds: int = 31,
    djpeg: str = "djpeg",
) -> tuple[Times, Times]:
    """(dcndec, djpeg) on ``picture``, encoded by ``model`` at ``quality``. Raises BenchError where a program
    is not here or fails.
    """
    if shutil.which(djpeg) is None:
        raise BenchError(f"{djpeg} is not installed: apt-get install libjpeg-turbo-progs")
    bundle = find_bundle(model)
    with Image.open(picture) as opened, tempfile.TemporaryDirectory() as place:
        image, folder = opened.convert("RGB"), Path(place)
        data = decant.encode(image, bundle, quality)
        files = {"dcn": data, "jpg": _jpeg(image, len(data))}
        for suffix, content in files.items():
            (folder / f"a.{suffix}").write_bytes(content)
        model_file = bundle.path / (bundle.name + MODEL_SUFFIX)
        commands = (
            [str(dcndec), "-m", str(model_file), "-f", "ppm", f"{folder}/a.dcn", f"{folder}/dcn.ppm"],
            [djpeg, "-outfile", f"{folder}/jpg.ppm", f"{folder}/a.jpg"],
        )
        runs: tuple[list[tuple[float, float]], ...] = ([], [])
        for _ in range(rounds):
            for command, times in zip(commands, runs, strict=True):
                times.append(_run(command))
    sizes = [len(content) for content in files.values()]
    names = ("dcndec", "djpeg")
    ours, theirs = (
        Times(name, size, *(round(statistics.median(column), 3) for column in zip(*times, strict=True)))
        for name, size, times in zip(names, sizes, runs, strict=True)
    )
    return ours, theirs


def within(ours: Times, theirs: Times) -> bool:
    """Whether dcndec's wall time keeps the limit."""
    return ours.wall_ms <= LIMIT_RATIO * theirs.wall_ms + LIMIT_MS


def _jpeg(image: Image.Image, size: int) -> bytes:
    """The baseline JPEG, 4:2:0, whose bytes are nearest to ``size``."""
    made = []
    for quality in range(5, 96, 5):
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality)
        made.append(stream.getvalue())
    return min(made, key=lambda data: abs(len(data) - size))


def _run(command: Sequence[str]) -> tuple[float, float]:
    """Wall and processor time of one process, in ms. Raises BenchError."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise BenchError(f"{command[0]}: {done.stderr.strip()[:300]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return 1e3 * wall, 1e3 * cpu


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("--dcndec", type=Path, default=Path("runtime/libdcn/build/dcndec"))
    parser.add_argument("--model", default="nano")
    parser.add_argument("--quality", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=31)
    given = parser.parse_args()
    ours, theirs = measure(given.picture, given.dcndec, given.model, given.quality, given.rounds)
    found = {
        "programs": [asdict(ours), asdict(theirs)],
        "wall_ratio": round(ours.wall_ms / theirs.wall_ms, 2),
        "limit": f"{LIMIT_RATIO} x djpeg + {LIMIT_MS:.0f} ms",
        "within": within(ours, theirs),
        "machine": describe_machine(),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
