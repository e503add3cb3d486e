"""One case in a process of its own: import, load, first decode, peak memory.

``python -m decant_bench.latency.worker`` reads a JSON object from stdin and writes one to stdout; ``measure``
in this file is the other side. Only what the interpreter has loaded anyway is imported at the top, since the
time of imports and the memory they take are what is measured.
"""

import json
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from decant_bench.common.cases import Case

DECODES = 4  # pictures decoded before the peak of memory is read


def measure(
    case: "Case", files: "Sequence[Path]", cold: "Sequence[Path]", timeout_s: float = 300
) -> dict[str, Any]:
    """Run ``case`` in a fresh interpreter on the first of ``files``.

    The contents of ``cold`` are dropped from the file cache just before the load. Gives import_ns, load_ns,
    first_decode_ns, peak_memory_kib, cache_left (see page_cache.drop) and cold_process_ns: from before the
    interpreter starts to the first pixels, without the time to drop the file cache. Raises RuntimeError with
    the worker's last line when it fails.
    """
    import subprocess

    task = {
        "subject": case.as_dict(),
        "files": [str(path) for path in files[:DECODES]],
        "cold": [str(path) for path in cold],
    }
    command = [sys.executable, "-P", "-m", "decant_bench.latency.worker"]
    started = time.monotonic_ns()
    try:
        done = subprocess.run(
            command, input=json.dumps(task), capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{case.key}: nothing after {timeout_s:.0f} s in a fresh process") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RuntimeError(f"{case.key}: failed in a fresh process: {lines[-1]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    # The monotonic clock is the system's: both processes read the same one.
    result["cold_process_ns"] = result.pop("first_pixels_at") - started - result.pop("dropping_ns")
    return result


def _run(task: dict[str, Any]) -> dict[str, Any]:
    started = time.perf_counter_ns()
    from decant_bench.common.cases import from_dict

    case = from_dict(task["subject"])
    case.prepare()
    imported = time.perf_counter_ns()

    from pathlib import Path

    from decant_bench.common import machine
    from decant_bench.latency import page_cache

    files = [Path(path) for path in task["files"]]
    datas = [path.read_bytes() for path in files]
    cache_left = page_cache.drop(Path(path) for path in task["cold"]) if task["cold"] else None

    dropped = time.perf_counter_ns()
    before_load = time.perf_counter_ns()
    decode = case.load(files[0])
    loaded = time.perf_counter_ns()
    decode(datas[0])
    decoded = time.perf_counter_ns()
    first_pixels_at = time.monotonic_ns()
    for data in datas[1:]:
        decode(data)
    return {
        "first_pixels_at": first_pixels_at,
        "dropping_ns": dropped - imported,
        "import_ns": imported - started,
        "load_ns": loaded - before_load,
        "first_decode_ns": decoded - loaded,
        "peak_memory_kib": machine.peak_memory_kib(),
        "cache_left": cache_left,
    }


if __name__ == "__main__":
    print(json.dumps(_run(json.load(sys.stdin))))
