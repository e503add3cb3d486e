"""Machine, versions and installed size are those that other sources give."""

import os
import platform
from importlib import metadata
from pathlib import Path

import psutil
from decant_bench.common import machine
from decant_bench.latency import footprint


def test_cores_and_memory_are_those_of_psutil():
    described = machine.describe_machine()
    assert described["cores"] == psutil.cpu_count()
    if described["memory_gib"] is not None:
        assert abs(described["memory_gib"] - psutil.virtual_memory().total / 2**30) <= 1
    assert described["architecture"] == platform.machine()
    assert set(machine.IDENTITY) <= set(described)


def test_flags_are_flags_of_this_processor():
    described = machine.describe_machine()
    if platform.system() == "Linux":
        words = Path("/proc/cpuinfo").read_text().split()
        assert all(flag in words for flag in described["flags"])


def test_versions_are_those_installed():
    found = machine.versions()
    for name in ("onnxruntime", "numpy", "pillow"):
        assert found[name] == metadata.version(name)
    assert found["python"] == platform.python_version()


def test_a_busy_machine_is_one_with_load():
    assert machine.busy([1.9, 0, 0], 2)
    assert not machine.busy([0.1, 9, 9], 2)
    assert not machine.busy(None, 2)


def test_peak_memory_covers_what_was_held():
    held = bytearray(64 << 20)
    held[::4096] = b"x" * len(held[::4096])
    peak = machine.peak_memory_kib()
    assert peak is not None
    assert peak * 1024 >= len(held)
    assert peak * 1024 >= psutil.Process(os.getpid()).memory_info().rss * 0.9


def test_a_lean_install_counts_the_runtime_and_nothing_else():
    sizes = footprint.installed_mb()
    assert {"decant-codec", "numpy", "onnxruntime", "pillow"} <= set(sizes)
    assert not {"torch", "openvino", "scikit-image", "matplotlib"} & set(sizes)
    assert sizes["numpy"] > 10
    assert "openvino" in footprint.installed_mb("openvino")
    files = metadata.files("onnxruntime") or ()
    whole = sum(path.stat().st_size for file in files if (path := file.locate()).exists())  # type: ignore[attr-defined]
    assert abs(sizes["onnxruntime"] - whole / 1e6) < 0.01
