"""``fuzz.py [--seconds N] [--runs N] [--target NAME]``: fuzz every target, one process after the other.

Python targets run under atheris (``pip install '.[fuzz]'``), the C decoder under libFuzzer with
AddressSanitizer and UndefinedBehaviorSanitizer (clang). A tool that is not here is named, and its targets are
skipped. Prints the executions of every target; exits 1 on a fault, whose input lies in the folder ``runs``.
"""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE.parent / "corpus"
FINDINGS = HERE.parents[2] / "runs/fuzz"
PYTHON_TARGETS = ("container", "layouts", "bundles", "graphs", "pillow")
# Each with its source; all of libdcn is linked to it.
C_TARGETS = ("kernels", "libdcn")
LIBDCN = HERE.parents[2] / "runtime/libdcn"
_DONE = re.compile(r"Done (\d+) runs|stat::number_of_executed_units:\s+(\d+)|^#(\d+)\s", re.MULTILINE)


@dataclass(frozen=True)
class Result:
    """``executions`` of a target; ``fault``: the end of what was printed; ``skipped``: why it did not run."""

    target: str
    executions: int = 0
    fault: str = ""
    skipped: str = ""

    def __str__(self) -> str:
        if self.skipped:
            return f"skip {self.target}: {self.skipped}"
        return f"{'FAIL' if self.fault else 'ok  '} {self.target}: {self.executions} executions{self.fault}"


def clang() -> str | None:
    """The newest clang on the path."""
    names = ["clang", *(f"clang-{version}" for version in range(30, 12, -1))]
    return next((found for name in names if (found := shutil.which(name))), None)


def command_of(target: str, folder: Path) -> list[str] | str:
    """The command that fuzzes ``target``, built in ``folder``; a text is why there is none."""
    if target not in C_TARGETS:
        if importlib.util.find_spec("atheris") is None:
            return "atheris is not installed: pip install 'decant-codec[fuzz]'"
        return [sys.executable, str(HERE / "run.py"), target]
    compiler = clang()
    if compiler is None:
        return "clang is not installed: apt-get install clang libclang-rt-14-dev"
    program = folder / f"fuzz-{target}"
    source = HERE / "kernels.c" if target == "kernels" else LIBDCN / "fuzz/fuzz_dcn.c"
    model = LIBDCN.parents[1] / "artifacts/decant_bundles/nano/nano.dcnm"
    options = ["-g", "-O2", "-I", str(LIBDCN / "src"), "-I", str(LIBDCN / "include")]
    options += ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    options += [f'-DMODEL="{model}"']
    sources = [source, *sorted((LIBDCN / "src").glob("*.c"))]
    built = subprocess.run(
        [compiler, *options, "-o", program, *sources],
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode:
        return f"{compiler} cannot build it (its runtime libraries?): {built.stderr.strip()[-300:]}"
    return [str(program)]


def run(target: str, seconds: int, runs: int) -> Result:
    """Fuzz ``target`` for ``seconds``, or for ``runs`` executions where that is less (0: no bound)."""
    with tempfile.TemporaryDirectory() as name:
        command = command_of(target, Path(name))
        if isinstance(command, str):
            return Result(target, skipped=command)
        FINDINGS.mkdir(parents=True, exist_ok=True)
        grown = Path(name) / "corpus"
        grown.mkdir()
        command += [str(grown), str(CORPUS / target), f"-max_total_time={seconds}", "-print_final_stats=1"]
        command += [
            f"-artifact_prefix={FINDINGS}/{target}-",
            "-timeout=30",
            "-rss_limit_mb=4096",
            "-max_len=4096",
        ]
        command += [f"-runs={runs}"] if runs else []
        # What the sanitizer keeps back of freed memory counts as used: keep it far below the limit.
        variables = os.environ | {"ASAN_OPTIONS": "quarantine_size_mb=64"}
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, env=variables
        )
    counts = [int(next(filter(None, found))) for found in _DONE.findall(done.stderr)]
    fault = f"\n{done.stdout[-2000:]}{done.stderr[-4000:]}" if done.returncode else ""
    return Result(target, max(counts, default=0), fault)


def results(targets: tuple[str, ...], seconds: int, runs: int) -> Iterator[Result]:
    for target in targets:
        yield run(target, seconds, runs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="of all targets together")
    parser.add_argument("--runs", type=int, default=0, help="at most so many executions of each")
    parser.add_argument("--target", choices=(*PYTHON_TARGETS, *C_TARGETS))
    options = parser.parse_args()
    targets = (options.target,) if options.target else (*PYTHON_TARGETS, *C_TARGETS)
    failed = False
    for result in results(targets, max(1, options.seconds // len(targets)), options.runs):
        print(result, flush=True)
        failed |= bool(result.fault)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
