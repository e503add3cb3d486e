"""What a figure depends on besides the code: the processor, the system, its load, and the versions."""

import os
import platform
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from decant_bench.common import power

# Instruction sets that decide which kernels run.
TELLING_FLAGS = (
    "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx_vnni",
    "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme",
)  # fmt: skip
PACKAGES = (
    "decant-codec",
    "numpy",
    "onnxruntime",
    "openvino",
    "pillow",
    "imagecodecs",
    "scikit-image",
    "simplejpeg",
    "PyTurboJPEG",
    "torchcodec",
    "mlcommons-loadgen",
    "torch",
)

# How many threads numpy's matrix products take, where the user has said it; the decoder's are its own.
THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

# Two machines are one when these agree; kernel, governor and load may change from day to day.
IDENTITY = ("cpu", "architecture", "system", "cores", "cores_usable", "flags", "memory_gib")


def describe_machine() -> dict[str, Any]:
    """The machine as plain data. What cannot be read is None."""
    fields = _cpu_fields()
    cpu = fields.get("model name") or platform.processor() or None
    stepping = [fields[key] for key in ("cpu family", "model", "stepping") if key in fields]
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return {
        "cpu": f"{cpu} (family/model/stepping {'/'.join(stepping)})" if cpu and stepping else cpu,
        "architecture": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "cores_usable": _cores_usable(),
        "flags": [flag for flag in TELLING_FLAGS if flag in flags],
        "memory_gib": _memory_gib(),
        "virtual": "hypervisor" in flags,
        "kernel": platform.release(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "power": power.state(),
        "load_average": load_average(),
        "thread_settings": " ".join(
            f"{name}={os.environ[name]}" for name in THREAD_SETTINGS if name in os.environ
        )
        or None,
    }


def versions() -> dict[str, str | None]:
    """Versions of Python, of the packages that are measured, and of the libraries inside Pillow."""
    # Here, for a codec's own process imports this module and should not hold decant.
    from decant.codec.entropy import native

    found: dict[str, str | None] = {
        "python": platform.python_version(),
        "libc": " ".join(platform.libc_ver()),
    }
    found["decant streams"] = "C" if native.available() else "numpy"
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    try:
        from PIL import features
    except ImportError:
        return found
    for label, name in (
        ("libjpeg-turbo", "libjpeg_turbo"),
        ("libwebp", "webp"),
        ("libavif", "avif"),
        ("zlib", "zlib"),
    ):
        found[label] = features.version(name) if name != "libjpeg_turbo" else features.version_feature(name)
    return found


def load_average() -> list[float] | None:
    """Over 1, 5 and 15 minutes; None where the system has none."""
    try:
        return [round(value, 2) for value in os.getloadavg()]
    except (OSError, AttributeError):
        return None


def busy(before: list[float] | None, cores: int) -> bool:
    """Was the machine busy with other work when measuring began?"""
    return before is not None and before[0] > 0.3 * cores


def peak_memory_kib() -> int | None:
    """The most memory that this process has held (resident), in KiB."""
    status = _read("/proc/self/status") or ""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


def page_faults() -> int | None:
    """Pages that the system has given this process without reading a file; None where it does not say."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _cores_usable() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@cache
def _cpu_fields() -> dict[str, str]:
    """The first processor of /proc/cpuinfo."""
    text = (_read("/proc/cpuinfo") or "").split("\n\n")[0]
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _memory_gib() -> float | None:
    for line in (_read("/proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return round(int(line.split()[1]) / 2**20)
    return None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
