"""ONNX -> OpenVINO IR, weights in the precision that the ONNX graph gives them."""

import re
import tempfile
from pathlib import Path
from typing import Any

import onnx
from decant.backends.openvino import openvino_module

from decant_export.common.onnx_graph import serialise

# Names that OpenVINO makes up from a counter of the process, and which would differ from export to export.
_MADE_UP = re.compile(r"[A-Za-z0-9]+_\d+")
_MADE_UP_LAYER = re.compile(rb'<layer id="(\d+)" name="[A-Za-z0-9]+_\d+" type="(\w+)"')


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
        ends = {name for port in (*converted.inputs, *converted.outputs) for name in port.get_names()}
        return _compact(path.read_bytes(), ends), path.with_suffix(".bin").read_bytes()


def _compact(xml: bytes, ends: set[str]) -> bytes:
    """``xml`` in half its length: without blanks, shapes between operators, which OpenVINO infers again when
    it reads a graph, and names of tensors other than those of the ``ends``.
    """
    xml = re.sub(rb">\s+<", b"><", xml).replace(b" />", b"/>")
    xml = _MADE_UP_LAYER.sub(rb'<layer id="\1" name="\2.\1" type="\2"', xml)  # in the bodies of branches
    xml = re.sub(rb"(?:<dim>-?\d+</dim>)+", b"", xml)
    xml = re.sub(rb"<port ([^>]*)></port>", rb"<port \1/>", xml)
    xml = re.sub(rb"<input>.*?</input>", lambda part: re.sub(rb' precision="\w+"', b"", part[0]), xml)
    kept = {name.encode() for name in ends}
    return re.sub(rb' names="([^"]*)"', lambda part: part[0] if part[1] in kept else b"", xml)


def _rename(model: Any) -> None:
    model.set_friendly_name("decant")
    for index, node in enumerate(model.get_ordered_ops()):
        if _MADE_UP.fullmatch(node.get_friendly_name()):
            node.set_friendly_name(f"{node.get_type_name()}.{index}")
