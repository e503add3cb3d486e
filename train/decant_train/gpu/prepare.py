"""Prepare and check everything for two short GPU jobs without network: ``make gpu-plan IMAGES=...``.

Writes shards and packages into ``.gpu``, checks sizes and the schedule, looks for tensors that would be made
on the wrong device, rehearses both calls on this machine's processor with a small codec, and prints the
calls.
"""

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from decant_train.codec.encoder import Encoding
from decant_train.common import checkpoint as checkpoints
from decant_train.gpu.plan import FOLDER, MOST_TRAVELLING, Plan
from decant_train.gpu.run import network, run_call
from decant_train.gpu.shards import write_shards

PACKAGES = ("constriction",)  # that training needs and the machine lacks
MACHINE: tuple[str, ...] = ("--python-version", "3.12", "--platform", "manylinux_2_28_x86_64", "--platform")
MACHINE += ("manylinux_2_17_x86_64", "--platform", "manylinux2014_x86_64", "--implementation", "cp")
REHEARSAL: Mapping[str, Any] = {
    "latents": 64,
    "channel_groups": (8, 24, 32),
    "predicted_channels": 16,
    "hyper": 8,
    "analysis_width": 16,
    "analysis_blocks": 1,
    "beside": ("nano",),
    "ssimulacra2": 0.6,
    "colour": "ycbcr",
}


def fetch_packages(folder: Path, constraints: Path) -> None:
    """Put ``PACKAGES`` for the machine's Python into ``folder``, at the versions of ``constraints``.

    Raises subprocess.CalledProcessError where pip finds none.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as wheels:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--disable-pip-version-check", *MACHINE, "-c", str(constraints), "-d", wheels, *PACKAGES]
        subprocess.run(command, check=True)
        for wheel in Path(wheels).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)


def travelling(root: Path, carried: Sequence[str]) -> int:
    """Bytes that a call takes along: files git tracks or does not ignore, and the paths ``carried``."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
    ).stdout.split(b"\0")
    files = {root / name.decode() for name in listed if name}
    for path in (root / name for name in carried):
        files |= set(path.rglob("*")) if path.is_dir() else {path}
    return sum(path.stat().st_size for path in files if path.is_file())


def check_devices(plan: Plan) -> None:
    """Run a step on the device "meta", where tensors have no values but mixing devices is an error, too.

    Raises RuntimeError where a tensor was made on another device than its operands.
    """
    model = network(plan).to("meta")
    pictures = torch.empty(2, 3, 192, 192, device="meta")
    rate_point = torch.full((2,), 3.5, device="meta")
    with _no_autocast():
        for encoding in (None, Encoding(model.eval(), pictures, 1)):
            terms = model.train().terms(pictures, rate_point, encoding)
            torch.stack([term.mean() for term in terms]).sum().backward()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _no_autocast() -> Iterator[None]:
    with mock.patch.object(torch, "autocast", return_value=contextlib.nullcontext()):
        yield


def small_plan(minutes: float) -> Plan:
    """A plan of two calls of ``minutes`` for this machine's processor, with a small codec."""
    options = {"batch_size": 2, "crop": 192, "device": "cpu", "precision": "float32", "warmup": 2}
    options |= {"validate_every": 1000, "validation_crops": 1, "save_minutes": 60.0}
    options |= {"curriculum_start": 0.3, "refine_from": 0.6}
    return Plan("lite", REHEARSAL, options, (minutes, minutes), 2_000_000)


def rehearse(images: Sequence[Path], folder: Path, *, steps_minutes: float = 0.1) -> int:
    """Run both calls on this machine's processor with a small codec; returns the steps trained.

    The second call resumes the first; then it runs once more as on a new machine, from the weights that came
    back. Raises AssertionError where a call trains no step.
    """
    plan = small_plan(steps_minutes)
    write_shards(images, folder, plan.calls, plan.shard_bytes)
    second = folder / "shard-1.safetensors"
    second.rename(folder / "later")  # it comes with the second call
    run_call(plan, 0, folder, folder / "out-0")
    (folder / "later").rename(second)
    run_call(plan, 1, folder, folder / "out-1")
    shutil.rmtree(folder / "state")
    (folder / "out-0").rename(folder / "returned")
    run_call(plan, 1, folder, folder / "out-2")
    steps = [_steps(folder / name) for name in ("returned", "out-1", "out-2")]
    assert 0 < steps[0] < steps[1], f"steps {steps}: the second call did not go on"
    assert steps[2] > 0, "no step from returned weights"
    return steps[1]


def _steps(folder: Path) -> int:
    return int(checkpoints.read_description(folder)["step"])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="folders or packed files")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository")
    given = parser.parse_args()
    plan, root = Plan(), given.root
    folder = root / FOLDER
    check_devices(plan)
    print("devices: no tensor on the wrong one")
    shards = write_shards(given.images, folder, plan.calls, plan.shard_bytes)
    fetch_packages(folder / "packages", root / "constraints.txt")
    for shard in shards:
        print(f"{shard}: {shard.stat().st_size / 1e6:.1f} MB")
    with tempfile.TemporaryDirectory() as rehearsal:
        steps = rehearse([shards[0]], Path(rehearsal))
        print(f"rehearsal: {steps} steps in two calls, and from returned weights")
    for call in range(plan.calls):
        size = travelling(root, plan.carried(call))
        print(f"\ncall {call}: {size / 2**20:.1f} of {MOST_TRAVELLING / 2**20:.0f} MiB travel")
        if size > MOST_TRAVELLING:
            raise SystemExit("too much: make shard_bytes of the plan smaller")
        print(f"  command: {plan.command(call)}")
        print(f"  carry: {plan.carried(call)}\n  timeout_s: {plan.timeout_s(call)}")
    print("\nBetween the calls: copy weights-*.safetensors of the first into .gpu/returned, at once;")
    print("a machine that is still warm keeps the state and does not need them.")


if __name__ == "__main__":
    main()
