"""ONNX -> OpenVINO IR, weights in the precision that the ONNX graph gives them."""

import re
import tempfile
from pathlib import Path
from typing import Any

import onnx
from decant.sessions import openvino_module

from decant_export.onnx_graph import serialise

# Names that OpenVINO makes up from a counter of the process, and which would differ from export to export.
_MADE_UP = re.compile(r"[A-Za-z0-9]+_\d+")


def to_ir(model: onnx.ModelProto) -> tuple[bytes, bytes]:
    """The content of the .xml and of the .bin file; equal models give equal bytes.

    Nothing is rounded: float32 stays float32, int8 constants stay int8. Raises MissingExtraError without
    openvino.
    """
    ov = openvino_module()
    converted = ov.Core().read_model(serialise(model))
    _rename(converted)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.xml"
        ov.save_model(converted, path, compress_to_fp16=False)
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def _rename(model: Any) -> None:
    model.set_friendly_name("decant")
    for index, node in enumerate(model.get_ordered_ops()):
        if _MADE_UP.fullmatch(node.get_friendly_name()):
            node.set_friendly_name(f"{node.get_type_name()}.{index}")
