"""A static float graph of a codec for ncnn: the text of a ``.param`` file and the weights of its ``.bin``.

The one output is the picture in float planes from 0 to 255, not rounded; blobs have no batch axis.
Layers: https://github.com/Tencent/ncnn/wiki/operation-param-weight-table
"""

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from onnx import helper, numpy_helper

from decant_export.errors import ExportError

_MAGIC = 7767517
_FLOAT32 = b"\0\0\0\0"  # before the weights of a convolution
_OPERATIONS = {"Add": 0, "Mul": 2}


def to_ncnn(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> tuple[str, bytes]:
    """The two files of a static float ``model`` whose tensors have ``shapes``. Raises ExportError for an
    operator that has no layer here.
    """
    return _Writer(model, shapes).files()


class _Writer:
    def __init__(self, model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> None:
        self._graph, self._shapes = model.graph, shapes
        self._constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self._lines: list[str] = []
        self._weights: list[bytes] = []
        self._blobs = 0
        self._left: dict[str, int] = {}  # readers of a tensor that have not taken their copy yet
        self._readers: dict[str, int] = {}
        for node in model.graph.node:
            for name in self._data(node):
                self._readers[name] = self._readers.get(name, 0) + 1

    def files(self) -> tuple[str, bytes]:
        for value in self._graph.input:
            self._layer("Input", value.name, [], value.name, self._sizes(value.name))
        for name, values in self._constants.items():
            if name in self._readers:
                self._weights.append(values.astype("<f4").tobytes())
                sizes = values.reshape(-1, 1, 1).shape
                self._layer("MemoryData", name, [], name, {0: sizes[2], 1: sizes[1], 2: sizes[0]})
        for node in self._graph.node:
            self._take(node)
        head = f"{_MAGIC}\n{len(self._lines)} {self._blobs}\n"
        return head + "\n".join(self._lines) + "\n", b"".join(self._weights)

    def _data(self, node: onnx.NodeProto) -> list[str]:
        """The inputs of a node that are blobs."""
        return list(node.input) if node.op_type in _OPERATIONS else [node.input[0]]

    def _sizes(self, name: str) -> dict[int, int]:
        _, channels, rows, columns = self._shapes[name]
        return {0: columns, 1: rows, 2: channels}

    def _layer(
        self, kind: str, name: str, inputs: Sequence[str], output: str, parameters: Mapping[int, Any]
    ) -> None:
        taken = [self._copy(x) for x in inputs]
        words = [kind, name, str(len(taken)), "1", *taken, output]
        self._lines.append(" ".join([*words, *(f"{key}={value}" for key, value in parameters.items())]))
        self._blobs += 1
        readers = self._readers.get(output, 0)
        if readers > 1:  # a blob has one reader
            copies = [f"{output}_{i}" for i in range(readers)]
            self._lines.append(" ".join(["Split", f"{output}_split", "1", str(readers), output, *copies]))
            self._blobs += readers
            self._left[output] = readers

    def _copy(self, name: str) -> str:
        if name not in self._left:
            return name
        self._left[name] -= 1
        return f"{name}_{self._left[name]}"

    def _take(self, node: onnx.NodeProto) -> None:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        name, kind, data = node.output[0], node.op_type, self._data(node)
        if kind == "Conv":
            self._convolution(node, attributes)
        elif kind in _OPERATIONS:
            self._layer("BinaryOp", name, data, name, {0: _OPERATIONS[kind]})
        elif kind == "Relu":
            self._layer("ReLU", name, data, name, {})
        elif kind == "DepthToSpace" and attributes.get("mode") == b"CRD":
            self._layer("PixelShuffle", name, data, name, {0: attributes["blocksize"]})
        elif kind == "Slice":
            start, axis = int(self._constants[node.input[1]][0]), int(self._constants[node.input[3]][0])
            if len(self._constants[node.input[1]]) > 1 or axis != 1:
                raise ExportError(f"Slice {name}: only channels can be sliced")
            sizes = self._sizes(name)
            self._layer(
                "Crop", name, data, name, {0: 0, 1: 0, 2: start, 3: sizes[0], 4: sizes[1], 5: sizes[2]}
            )
        elif kind == "Pad":
            pads = [int(p) for p in self._constants[node.input[1]]]
            if any(pads[i] for i in (0, 2, 3, 4, 6, 7)):
                raise ExportError(f"Pad {name}: only channels can be padded")
            self._layer("Padding", name, data, name, {4: 0, 5: "0.0", 7: pads[1], 8: pads[5]})
        elif kind == "QuantizeLinear":
            step = float(self._constants[node.input[1]])
            scaled = f"{name}_scaled"
            self._layer("BinaryOp", scaled, data, scaled, {0: 2, 1: 1, 2: f"{1 / step:.6f}"})
            self._layer("Clip", name, [scaled], name, {0: "0.0", 1: "255.0"})
        elif kind == "Transpose":
            self._layer("Noop", name, data, name, {})
        else:
            raise ExportError(f"graph {self._graph.name}: operator {kind} has no ncnn layer here")

    def _convolution(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        weight, name = self._constants[node.input[1]].astype("<f4"), node.output[0]
        top, left, bottom, right = (int(p) for p in attributes.get("pads", [0, 0, 0, 0]))
        bias = len(node.input) > 2
        parameters = {0: len(weight), 1: weight.shape[3], 11: weight.shape[2], 4: left, 14: top, 15: right}
        parameters |= {16: bottom, 5: int(bias), 6: weight.size}
        self._weights += [_FLOAT32, weight.tobytes()]
        if bias:
            self._weights.append(self._constants[node.input[2]].astype("<f4").tobytes())
        self._layer("Convolution", name, [node.input[0]], name, parameters)
