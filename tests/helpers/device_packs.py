"""Bundles with static graphs, made once in a test run, and what a test needs of the provider plugins."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from decant.backends.devices import available_devices
from decant.bundles.bundle import Bundle
from decant_export.devices.packing import pack


def packed(source: Path, out: Path, side: int = 12) -> Bundle:
    """The bundle in ``source`` with static graphs; small tiles, so that small pictures take several."""
    return pack(Bundle.open(source), out, side=side)


@cache
def emulator_here() -> bool:
    """Whether the Qualcomm emulator can be used."""
    return find_spec("onnxruntime_qnn") is not None and any(
        device.kind == "emulator" for device in available_devices("onnxruntime")
    )


needs_emulator = pytest.mark.skipif(
    find_spec("onnxruntime_qnn") is None,
    reason="needs the Qualcomm HTP emulator: pip install '.[qnn]' (256 MB)",
)
needs_openvino_plugin = pytest.mark.skipif(
    find_spec("onnxruntime_ep_openvino") is None,
    reason="needs the OpenVINO provider plugin: pip install '.[openvino-npu]' (165 MB)",
)
