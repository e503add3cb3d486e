"""A static float graph as a LiteRT model (``.tflite``), written operator by operator.

LiteRT keeps channels last, and in its DEPTH_TO_SPACE the channel comes last within a block: weights are
reordered here. Inputs and outputs have the names of the ONNX graph, channels last; pixels are float numbers
from 0 to 255, rounded.

Operators: https://www.tensorflow.org/mlir/tfl_ops. The schema comes with ai-edge-litert (extra ``litert``).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from decant.errors import MissingExtraError
from onnx import helper, numpy_helper

from decant_export.errors import ExportError

_VERSION = 3
_IDENTIFIER = b"TFL3"
_LAST = (0, 2, 3, 1)  # NCHW -> NHWC


def schema() -> Any:
    """The classes of LiteRT's schema. Raises MissingExtraError."""
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise MissingExtraError(
            f"LiteRT models need ai-edge-litert ({error}): pip install 'decant-codec[litert]'"
        ) from None
    return schema_py_generated


def to_litert(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> bytes:
    """The ``.tflite`` of a static float ``model`` whose tensors have ``shapes``. Raises ExportError for an
    operator that has no form here, MissingExtraError.
    """
    return _Writer(model, shapes).model()


class _Writer:
    def __init__(self, model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]]) -> None:
        self._schema = schema()
        self._graph = model.graph
        self._shapes = shapes
        self._constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self._buffers = [self._schema.BufferT()]
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: list[int] = []
        self._index: dict[str, int] = {}
        self._makers = {node.output[0]: node for node in model.graph.node}

    def model(self) -> bytes:
        import flatbuffers

        schema = self._schema
        inputs = [self._tensor(v.name, self._layout(v.name)) for v in self._graph.input]
        for node in self._graph.node:
            self._take(node)
        subgraph = schema.SubGraphT()
        subgraph.name = self._graph.name
        subgraph.tensors, subgraph.operators = self._tensors, self._operators
        subgraph.inputs = inputs
        subgraph.outputs = [self._index[v.name] for v in self._graph.output]
        made = schema.ModelT()
        made.version, made.description = _VERSION, "decant"
        made.operatorCodes = [self._code(code) for code in self._codes]
        made.subgraphs, made.buffers = [subgraph], self._buffers
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(made.Pack(builder), file_identifier=_IDENTIFIER)
        return bytes(builder.Output())

    def _code(self, builtin: int) -> Any:
        code = self._schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), 1
        return code

    def _layout(self, name: str) -> list[int]:
        """The shape of an ONNX tensor, channels last."""
        shape = list(self._shapes[name])
        return [shape[i] for i in _LAST] if len(shape) == 4 else shape

    def _tensor(self, name: str, shape: Sequence[int], values: np.ndarray | None = None) -> int:
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape = name, list(shape)
        kinds = self._schema.TensorType
        tensor.type = kinds.INT32 if values is not None and values.dtype == np.int32 else kinds.FLOAT32
        tensor.buffer = 0
        if values is not None:
            buffer = self._schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            self._buffers.append(buffer)
            tensor.buffer = len(self._buffers) - 1
        self._tensors.append(tensor)
        self._index[name] = len(self._tensors) - 1
        return len(self._tensors) - 1

    def _constant(self, name: str, values: np.ndarray) -> int:
        """A constant under a name of its own."""
        return self._index[name] if name in self._index else self._tensor(name, values.shape, values)

    def _input(self, name: str) -> int:
        """A tensor by its ONNX name; a constant is brought to channels last."""
        if name not in self._index:
            values = self._constants[name].astype(np.float32)
            if values.ndim == 4:
                values = values.transpose(_LAST)
            self._tensor(name, values.shape, values)
        return self._index[name]

    def _operator(
        self,
        builtin: str,
        inputs: Sequence[int],
        name: str,
        shape: Sequence[int],
        options: str | None = None,
        **fields: Any,
    ) -> None:
        number = getattr(self._schema.BuiltinOperator, builtin)
        if number not in self._codes:
            self._codes.append(number)
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._codes.index(number)
        operator.inputs = list(inputs)
        operator.outputs = [self._tensor(name, shape)]
        if options is not None:
            operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(self._schema, f"{options}T")()
            for field, value in fields.items():
                setattr(operator.builtinOptions, field, value)
        self._operators.append(operator)

    def _take(self, node: onnx.NodeProto) -> None:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        work: Callable[..., None] | None = getattr(self, f"_{node.op_type.lower()}", None)
        if work is None:
            raise ExportError(f"graph {self._graph.name}: operator {node.op_type} has no LiteRT form here")
        work(node, node.output[0], attributes)

    def _binary(self, builtin: str, options: str, node: onnx.NodeProto, name: str) -> None:
        inputs = [self._input(x) for x in node.input]
        self._operator(builtin, inputs, name, self._layout(name), options, fusedActivationFunction=0)

    def _mul(self, node: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> None:
        self._binary("MUL", "MulOptions", node, name)

    def _add(self, node: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> None:
        self._binary("ADD", "AddOptions", node, name)

    def _relu(self, node: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> None:
        self._operator("RELU", [self._input(node.input[0])], name, self._layout(name))

    def _sigmoid(self, node: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> None:
        self._operator("LOGISTIC", [self._input(node.input[0])], name, self._layout(name))

    def _conv(self, node: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> None:
        weight = self._constants[node.input[1]].astype(np.float32)  # (out, in, rows, columns)
        bias = np.zeros(len(weight), np.float32)
        if len(node.input) > 2:
            bias = self._constants[node.input[2]].astype(np.float32)
        order = self._block_order(name, len(weight))
        weight, bias = weight[order], bias[order]
        x, shape = self._input(node.input[0]), self._layout(name)
        pads = [int(p) for p in attributes.get("pads", [0, 0, 0, 0])]
        same = pads == [weight.shape[2] // 2, weight.shape[3] // 2] * 2 and weight.shape[2] % 2
        if any(pads) and not same:
            before = [[0, 0], [pads[0], pads[2]], [pads[1], pads[3]], [0, 0]]
            amounts = self._constant(f"{name}.pads", np.array(before, np.int32))
            n, rows, columns, channels = self._layout(node.input[0])
            padded = [n, rows + pads[0] + pads[2], columns + pads[1] + pads[3], channels]
            self._operator("PAD", [x, amounts], f"{name}.padded", padded, "PadOptions")
            x = self._index[f"{name}.padded"]
        inputs = [x, self._constant(f"{name}.filter", weight.transpose(0, 2, 3, 1))]
        inputs.append(self._constant(f"{name}.bias", bias))
        padding = self._schema.Padding.SAME if same else self._schema.Padding.VALID
        fields = {"padding": padding, "strideH": 1, "strideW": 1}
        fields |= {"dilationHFactor": 1, "dilationWFactor": 1}
        self._operator("CONV_2D", inputs, name, shape, "Conv2DOptions", **fields)

    def _block_order(self, name: str, channels: int) -> np.ndarray:
        """The order of a convolution's output channels: where DepthToSpace alone reads it, that of LiteRT."""
        readers = [node for node in self._graph.node if name in node.input]
        if len(readers) != 1 or readers[0].op_type != "DepthToSpace":
            return np.arange(channels)
        attributes = {a.name: helper.get_attribute_value(a) for a in readers[0].attribute}
        block = attributes["blocksize"]
        if attributes.get("mode", b"DCR") != b"CRD":
            return np.arange(channels)
        return np.arange(channels).reshape(-1, block * block).T.reshape(-1)

    def _depthtospace(self, node: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> None:
        maker = self._makers.get(node.input[0])
        if attributes.get("mode", b"DCR") == b"CRD" and (maker is None or maker.op_type != "Conv"):
            raise ExportError(f"DepthToSpace {name}: it must follow a convolution")
        self._operator(
            "DEPTH_TO_SPACE",
            [self._input(node.input[0])],
            name,
            self._layout(name),
            "DepthToSpaceOptions",
            blockSize=attributes["blocksize"],
        )

    def _slice(self, node: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> None:
        starts, _, axes = (self._constants[x] for x in node.input[1:4])
        shape = list(self._shapes[node.input[0]])
        begin = [0] * len(shape)
        for start, axis in zip(starts, axes, strict=True):
            begin[int(axis)] = int(start)
        if len(node.input) > 4 and (self._constants[node.input[4]] != 1).any():
            raise ExportError(f"Slice {name}: steps of 1 expected")
        size = list(self._shapes[name])
        if len(shape) == 4:
            begin, size = [begin[i] for i in _LAST], [size[i] for i in _LAST]
        inputs = [
            self._input(node.input[0]),
            self._constant(f"{name}.begin", np.array(begin, np.int32)),
            self._constant(f"{name}.size", np.array(size, np.int32)),
        ]
        self._operator("SLICE", inputs, name, self._layout(name))

    def _pad(self, node: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> None:
        pads = [int(p) for p in self._constants[node.input[1]]]
        count = len(pads) // 2
        pairs = [[pads[i], pads[i + count]] for i in range(count)]
        if count == 4:
            pairs = [pairs[i] for i in _LAST]
        inputs = [
            self._input(node.input[0]),
            self._constant(f"{name}.paddings", np.array(pairs, np.int32)),
        ]
        self._operator("PAD", inputs, name, self._layout(name), "PadOptions")

    def _reshape(self, node: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> None:
        """Rows-major as in ONNX: a tensor of four dimensions is brought to channels last afterwards, one that
        was is brought back before.
        """
        before, after = list(self._shapes[node.input[0]]), list(self._shapes[name])
        x = self._input(node.input[0])
        if len(before) == 4:
            order = self._constant("order.first", np.array([0, 3, 1, 2], np.int32))
            self._operator("TRANSPOSE", [x, order], f"{name}.first", before, "TransposeOptions")
            x = self._index[f"{name}.first"]
        rows = f"{name}.rows" if len(after) == 4 else name
        sizes = self._constant(f"{name}.sizes", np.array(after, np.int32))
        self._operator("RESHAPE", [x, sizes], rows, after, "ReshapeOptions", newShape=after)
        if len(after) == 4:
            order = self._constant("order.last", np.array(_LAST, np.int32))
            inputs = [self._index[rows], order]
            self._operator("TRANSPOSE", inputs, name, self._layout(name), "TransposeOptions")

    def _matmul(self, node: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> None:
        weight = self._constants[node.input[1]].astype(np.float32)
        inputs = [self._input(node.input[0]), self._constant(f"{name}.filter", weight.T)]
        fields = {"keepNumDims": True, "fusedActivationFunction": 0, "weightsFormat": 0}
        inputs.append(-1)
        self._operator("FULLY_CONNECTED", inputs, name, self._layout(name), "FullyConnectedOptions", **fields)

    def _quantizelinear(self, node: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> None:
        """Pixels as whole numbers of float: LiteRT clips them by two comparisons."""
        step = float(self._constants[node.input[1]])
        shape = self._layout(node.input[0])
        factor = self._constant(f"{name}.factor", np.array([1 / step], np.float32))
        inputs = [self._input(node.input[0]), factor]
        scaled, low, high = (f"{name}.{part}" for part in ("scaled", "low", "high"))
        self._operator("MUL", inputs, scaled, shape, "MulOptions", fusedActivationFunction=0)
        zero, most = (self._constant(f"{name}.{v:g}", np.array([v], np.float32)) for v in (0.0, 255.0))
        self._operator("MAXIMUM", [self._index[scaled], zero], low, shape, "MaximumMinimumOptions")
        self._operator("MINIMUM", [self._index[low], most], high, shape, "MaximumMinimumOptions")
        self._operator("ROUND", [self._index[high]], name, shape)

    def _transpose(self, node: onnx.NodeProto, name: str, attributes: dict[str, Any]) -> None:
        """To channels last, which every tensor is already."""
        if tuple(attributes["perm"]) != _LAST:
            raise ExportError(f"Transpose {name}: only to channels last")
        self._index[name] = self._index[node.input[0]]
