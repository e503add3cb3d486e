"""constraints.txt and requirements.lock name the same versions, and every one of the lock has a hash."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ONLY_LOCKED = {"setuptools"}  # builds the package without an isolated environment


def pins(name: str) -> dict[str, str]:
    """Version by normalised name of package."""
    lines = [line.split(" --")[0] for line in (ROOT / name).read_text().splitlines()]
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {re.sub(r"[-_.]+", "-", package.lower()): version.strip() for package, version in pairs}


def test_both_files_pin_the_same_versions():
    """After a change of constraints.txt: ``make lock``."""
    locked = {name: version.split("+")[0] for name, version in pins("requirements.lock").items()}
    assert {name: locked[name] for name in locked.keys() - ONLY_LOCKED} == pins("constraints.txt")


def test_every_locked_package_has_a_hash():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = [line for line in lines if not line.startswith("#")]
    assert locked
    assert all(re.search(r" --hash=sha256:[0-9a-f]{64}$", line) for line in locked)


def test_floors_are_past_known_faults():
    """onnxruntime 1.27 refuses sparse tensors with outside data; the others hold published fixes."""
    text = (ROOT / "pyproject.toml").read_text()
    floors = {"onnxruntime": (1, 27), "pillow": (12, 3), "torch": (2, 11), "onnx": (1, 21)}
    for package, least in floors.items():
        found = re.findall(rf'"{package}>=(\d+)\.(\d+)', text)
        assert found
        assert all((int(major), int(minor)) >= least for major, minor in found), package
    assert tuple(map(int, pins("constraints.txt")["onnxruntime"].split("."))) >= (1, 32, 0)
