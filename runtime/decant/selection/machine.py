"""What decides how a graph runs here, besides its runtime: the processor and switches of the environment."""

import os
from functools import cache
from pathlib import Path

# Environment variables of onnxruntime, openvino and their libraries of kernels begin so.
_SWITCHES = (
    *("DNNL_", "ONEDNN_", "MKL_", "OMP_", "KMP_", "OV_", "OPENVINO_"),
    *("ORT_", "ONNXRUNTIME_", "MLAS_", "ARM_COMPUTE_", "XNNPACK_", "KLEIDIAI_", "QNN_"),
)
_NO_SWITCHES = ("ORT_DISABLE_TELEMETRY",)


def machine() -> list[str]:
    """The processor, its instruction sets, and the environment variables that choose other kernels."""
    return [_processor(), *switches()]


def switches() -> list[str]:
    """The environment variables that choose other kernels (ONEDNN_MAX_CPU_ISA=AVX2, say), name=value."""
    return sorted(
        f"{name}={value}"
        for name, value in os.environ.items()
        if name.startswith(_SWITCHES) and name not in _NO_SWITCHES
    )


@cache
def _processor() -> str:
    """What decides which CPU kernels run: model and instruction sets. Virtual machines hide the model, so
    both are taken.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        import platform

        import numpy as np

        simd = np.show_config(mode="dicts").get("SIMD Extensions", {}).get("found", [])
        return f"{platform.machine()} {platform.processor()} {' '.join(simd)}"
    telling = ("model name", "flags", "Features", "CPU part")
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(telling)))
