"""``python -m decant_bench.archives.measure``: bytes, speed, memory and access of archives by count of
pictures, beside the bare decoder and Pillow. Prints JSON.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from decant_bench.archives.inputs import jpeg_and_avif, payload_table, write_pictures

_COMMAND = [sys.executable, "-m", "decant.commands.cli", "archive"]
_HASH_BYTES = 64  # SHA-256 of source and payload, in each row


def run(arguments: list[str]) -> dict[str, float]:
    """Run `decant archive` in a process of its own: wall and CPU seconds, and the largest resident memory of
    the command or one of its workers in MiB. Raises CalledProcessError.
    """
    script = (
        "import resource,subprocess,sys,json;"
        "subprocess.run(sys.argv[1:],check=True);"
        "u=resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(json.dumps([u.ru_utime+u.ru_stime,u.ru_maxrss]))"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script, *_COMMAND, *arguments, "-q"],
        check=True,
        capture_output=True,
        text=True,
    )
    wall = time.monotonic() - began
    cpu, memory = json.loads(done.stdout.splitlines()[-1])
    return {"wall_s": wall, "cpu_s": cpu, "largest_process_mib": memory / 1024}


def stored(count: int, size: int, model: str, folder: Path) -> dict[str, Any]:
    """Archives of ``count`` payloads of ``size`` bytes: overhead, time and memory of each command, access."""
    payload_table(folder / "in.parquet", count, size, model)
    place, tar = folder / "a", folder / "t"
    timings = {"pack": run(["pack", str(folder / "in.parquet"), str(place), "--model", model])}
    timings["verify"] = run(["verify", str(place)])
    timings["unpack"] = run(["unpack", str(place), str(tar), "--output", "npy", "--tar"])
    return {
        "pictures": count,
        "payload_bytes_each": size,
        **overhead(place),
        **{
            f"{name}_{key}": round(value, 2)
            for name, found in timings.items()
            for key, value in found.items()
        },
        **access(place),
    }


def overhead(place: Path) -> dict[str, Any]:
    """Bytes beyond payloads and decoder, as shares of the payloads: all, and without the hashes."""
    from decant.archive import Archive

    manifest = Archive(place).manifest
    tables = manifest.bytes - manifest.payload_bytes - manifest.bundle_bytes
    tables += (place / "_manifest.json").stat().st_size
    hashes = _HASH_BYTES * (manifest.pictures - manifest.duplicates)
    return {
        "overhead": round(tables / manifest.payload_bytes, 4),
        "overhead_without_hashes": round((tables - hashes) / manifest.payload_bytes, 4),
        "index_bytes_per_picture": round(sum(p.index_bytes for p in manifest.parts) / manifest.pictures, 1),
    }


def access(place: Path, tries: int = 200) -> dict[str, float]:
    """Time to the first picture in a new process, and of single pictures by key in a running one, in ms."""
    from decant.archive import Dataset

    key = Dataset(place).archive.index(0).keys[0].as_py()
    script = "import sys,time;t=time.perf_counter();from decant.archive import Dataset;"
    script += "d=Dataset(sys.argv[1]);d[sys.argv[2]];print(time.perf_counter()-t)"
    firsts = [
        float(
            subprocess.run(
                [sys.executable, "-c", script, str(place), key], capture_output=True, check=True
            ).stdout
        )
        for _ in range(3)
    ]
    dataset = Dataset(place)
    keys = dataset.keys()
    chance = random.Random(0)
    chosen = [chance.choice(keys) for _ in range(tries)]
    whole = [_timed(lambda key=key: dataset[key]) for key in chosen]  # type: ignore[misc]
    payloads = [dataset.payload(key) for key in chosen]
    from decant import Decoder
    from decant.archive.bundles import bundle_folder

    folder = bundle_folder(dataset.archive.store)
    assert folder is not None
    decoder = Decoder(next(folder.iterdir()), threads=1)
    bare = [_timed(lambda data=data: decoder.decode(data)) for data in payloads]  # type: ignore[misc]
    beyond = np.array(whole) - np.array(bare)
    return {
        "first_picture_ms": round(1e3 * min(firsts), 1),
        "random_picture_beyond_decode_ms_median": round(1e3 * float(np.median(beyond)), 3),
        "random_picture_beyond_decode_ms_p99": round(1e3 * float(np.quantile(beyond, 0.99)), 3),
    }


def throughput(count: int, side: int, model: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Unpacking to raw arrays beside the bare decoder and Pillow on as many workers, in pictures a second."""
    from decant.process.cores import usable_cores

    write_pictures(folder / "pictures", count, side)
    place = folder / "photos"
    packing = run(["pack", str(folder / "pictures"), str(place), "--model", model, "--effort", "0"])
    workers = usable_cores()
    found: dict[str, list[float]] = {}
    for number in range(rounds):  # in turn, so that other work on the machine meets all of them
        out = folder / f"out{number}"
        found.setdefault("unpack", []).append(_unpacked(place, out))
        found.setdefault("bare", []).append(_bare(place, workers))
        for name, data in jpeg_and_avif(side).items():
            found.setdefault(name, []).append(_pillow(data, workers, count))
    return {
        "pictures": count,
        "side": side,
        "workers": workers,
        "pack_pictures_per_core_second": round(count / packing["cpu_s"], 2),
        **{f"{name}_pictures_per_s": round(float(np.median(rates)), 1) for name, rates in found.items()},
        "unpack_to_bare": round(float(np.median(np.array(found["unpack"]) / np.array(found["bare"]))), 3),
    }


def _unpacked(place: Path, out: Path) -> float:
    """Pictures a second of unpacking, from the first report on: the start of the workers is not counted."""
    from decant import archive

    moments: list[tuple[float, int]] = []
    archive.unpack(
        place,
        out,
        output="npy",
        report=lambda progress: moments.append((time.monotonic(), progress.done)),
    )
    (began, first), (ended, last) = moments[0], moments[-1]
    return (last - first) / (ended - began)


def _bare(place: Path, workers: int) -> float:
    """Pictures a second of processes that decode payloads from memory and do nothing else."""
    script = """
import sys, time
from decant.archive import Archive
from decant.archive.bundles import bundle_folder
from decant import Decoder
archive = Archive(sys.argv[1])
number, workers = int(sys.argv[2]), int(sys.argv[3])
payloads = [archive.payload(index) for index in range(number, len(archive), workers)]
decoder = Decoder(next(bundle_folder(archive.store).iterdir()), threads=1)
decoder.decode(payloads[0])
print("ready", flush=True)
sys.stdin.readline()
began = time.monotonic()
for data in payloads:
    decoder.decode(data)
print(len(payloads) / (time.monotonic() - began))
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(place), str(number), str(workers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(workers)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return sum(float(process.communicate()[0]) for process in processes)


def _pillow(data: bytes, workers: int, count: int) -> float:
    """Pictures a second of Pillow on threads; its decoders release the lock."""
    import io

    from PIL import Image

    def one(_: int) -> None:
        with Image.open(io.BytesIO(data)) as image:
            np.asarray(image)

    began = time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, range(count)))
    return count / (time.monotonic() - began)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", default="1000,10000,100000")
    parser.add_argument("--payload", type=int, default=1000, help="bytes of each stored file")
    parser.add_argument("--pictures", type=int, default=300, help="of the measurement of throughput; 0: none")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="nano")
    given = parser.parse_args()
    rows = []
    for count in map(int, filter(None, given.counts.split(","))):
        with tempfile.TemporaryDirectory(prefix="decant-archives-") as folder:
            rows.append(stored(count, given.payload, given.model, Path(folder)))
            print(json.dumps(rows[-1]), file=sys.stderr)
    found: dict[str, Any] = {"cores": os.cpu_count(), "stored": rows}
    if given.pictures:
        with tempfile.TemporaryDirectory(prefix="decant-archives-") as folder:
            found["throughput"] = throughput(
                given.pictures, given.side, given.model, Path(folder), given.rounds
            )
    found["largest_process_mib"] = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
