"""C programs of runtime/libdcn built and run: here, for 64-bit ARM (qemu) and for WebAssembly (node)."""

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

LIBDCN = Path(__file__).parents[2] / "runtime" / "libdcn"
TARGETS = ("native", "aarch64", "wasm")
_ZIG = {"aarch64": ["-target", "aarch64-linux-musl"], "wasm": ["-target", "wasm32-wasi", "-msimd128"]}
_RUN = {
    "native": [],
    "aarch64": ["qemu-aarch64"],
    "wasm": ["node", "--no-warnings", str(LIBDCN / "tests" / "wasi.mjs")],
}


def compiler(target: str) -> list[str]:
    """The command of a C compiler for ``target``. Skips the test where there is none, or nothing runs it."""
    for program in _RUN[target][:1]:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed here: programs for {target} cannot be run")
    if target == "native":
        found = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
        if not found:
            pytest.skip("no C compiler is installed here")
        return found.split()
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip(f"ziglang, the C compiler for {target}, is not installed here")
    return [sys.executable, "-m", "ziglang", "cc", *_ZIG[target]]


@functools.cache
def built(target: str, folder: Path, sources: tuple[str, ...], flags: tuple[str, ...] = ()) -> Path:
    """The program of these ``sources`` (below runtime/libdcn), built once in ``folder``."""
    program = folder / f"{Path(sources[0]).stem}-{target}"
    command = [*compiler(target), "-std=c11", "-O2", *flags]
    command += ["-I", str(LIBDCN / "src"), "-I", str(LIBDCN / "include")]
    command += [str(LIBDCN / source) for source in sources] + ["-o", str(program)]
    command += [] if target == "wasm" else ["-lm", "-lpthread"]
    # Compiled libraries of C are kept where zig keeps them, though tests move the user's cache.
    cache = {"ZIG_GLOBAL_CACHE_DIR": str(Path.home() / ".cache" / "zig")}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | cache)
    assert result.returncode == 0, result.stderr[-4000:]
    return program


def run(target: str, program: Path, arguments: Sequence[str] = (), given: bytes = b"") -> tuple[int, str]:
    """Exit code and output of ``program``."""
    result = subprocess.run(
        [*_RUN[target], str(program), *arguments], input=given, capture_output=True, check=False
    )
    return result.returncode, (result.stdout + result.stderr).decode()
