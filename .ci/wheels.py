"""One abi3 wheel for each platform of Linux, built here with zig as the compiler: `make wheels`.

Each wheel is checked: tag, compiled modules, their machine, and the newest glibc that they need. The one for
this processor decodes a golden file, unpacked in a folder. That for another processor is not loaded here; the
tests run its C code under qemu. Wheels for macOS and Windows: .github/workflows/wheels.yml.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).parent.parent
GLIBC = (2, 17)  # manylinux2014: every Linux distribution that has Python 3.11
PARTS = ("pyproject.toml", "README.md", "LICENSE", "runtime", "train", "export", "bench", "artifacts")
DECODE = """
import decant, numpy, pathlib, sys
from decant.backends import native
folder = pathlib.Path(decant.__file__).parent
assert str(folder).startswith(sys.argv[1]), folder
print(native.kernels_module().kernels(), decant.decode(pathlib.Path(sys.argv[2]).read_bytes()).shape)
"""


@dataclass(frozen=True)
class Target:
    """A platform: its name in wheels and for zig, and the number of its machine in ELF headers."""

    machine: str
    elf: int

    @property
    def tag(self) -> str:
        """The platform tag of a wheel."""
        return f"manylinux_{GLIBC[0]}_{GLIBC[1]}_{self.machine}"


TARGETS = (Target("x86_64", 62), Target("aarch64", 183))


def build(target: Target, out: Path) -> Path:
    """The wheel for ``target``, in ``out``."""
    zig = Path(str(files("ziglang"))) / "zig"  # a build in isolation does not see the module
    compiler = f"{zig} cc -target {target.machine}-linux-gnu.{GLIBC[0]}.{GLIBC[1]}"
    settings = {
        "CC": compiler,
        "LDSHARED": f"{compiler} -shared",
        "CFLAGS": "-O3 -DNDEBUG",
        "LDFLAGS": "-s -lm -lpthread",
    }
    with tempfile.TemporaryDirectory() as folder:
        for part in PARTS:
            source, copy = ROOT / part, Path(folder) / part
            if source.is_file():
                shutil.copy2(source, copy)
            else:
                shutil.copytree(
                    source, copy, ignore=shutil.ignore_patterns("*.so", "__pycache__", "checkpoints")
                )
        result = subprocess.run(
            [
                sys.executable,
                "-m",
                "pip",
                "wheel",
                "--quiet",
                "--no-deps",
                "--disable-pip-version-check",
                f"--config-settings=--build-option=--plat-name={target.tag}",
                "--wheel-dir",
                folder + "/made",
                folder,
            ],
            env=os.environ | settings,
            capture_output=True,
            text=True,
        )
        if result.returncode:
            sys.exit(f"{target.tag}: the wheel was not built:\n{result.stderr[-3000:]}")
        (made,) = Path(folder, "made").glob("*.whl")
        return Path(shutil.copy2(made, out))


def faults(target: Target, wheel: Path) -> list[str]:
    """What is wrong with a wheel."""
    found = [] if wheel.name.endswith(f"-cp311-abi3-{target.tag}.whl") else [f"its name is {wheel.name}"]
    with zipfile.ZipFile(wheel) as archive:
        modules = [name for name in archive.namelist() if name.endswith(".so")]
        compiled = set(
            re.findall(r'^name = "decant\.(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
        )
        missing = {f"decant/{name.replace('.', '/')}.abi3.so" for name in compiled} - set(modules)
        found += [f"it has no {name}" for name in sorted(missing)]
        for name in modules:
            data = archive.read(name)
            if int.from_bytes(data[18:20], "little") != target.elf:
                found.append(f"{name} is for another processor")
            versions = {tuple(map(int, v.split(b"."))) for v in re.findall(rb"GLIBC_(\d+\.\d+)", data)}
            if versions and max(versions) > GLIBC:
                found.append(f"{name} needs glibc {'.'.join(map(str, max(versions)))}")
    return found


def decoded(wheel: Path) -> str:
    """What the wheel says when it decodes a golden file from a folder of its own."""
    golden = next((ROOT / "artifacts" / "decant_bundles" / "nano" / "golden").glob("*.dcn"))
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        result = subprocess.run(
            [sys.executable, "-c", DECODE, folder, str(golden)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": folder},
            capture_output=True,
            text=True,
        )
    if result.returncode:
        sys.exit(f"{wheel.name} does not decode:\n{result.stderr[-3000:]}")
    return result.stdout.strip()


def main() -> None:
    """Build and check the wheels of all platforms, or of those named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("machines", nargs="*", default=[target.machine for target in TARGETS])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for target in (target for target in TARGETS if target.machine in options.machines):
        wheel = build(target, options.out.resolve())
        wrong = faults(target, wheel)
        if wrong:
            sys.exit(f"{wheel.name}: {'; '.join(wrong)}")
        ran = decoded(wheel) if platform.machine() == target.machine else "not loaded: another processor"
        print(f"{wheel.name}  {wheel.stat().st_size / 1e6:.2f} MB  {ran}")


if __name__ == "__main__":
    main()
