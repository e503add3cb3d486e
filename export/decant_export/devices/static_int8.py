"""A static float graph in int8: QDQ pairs that NPUs run in integers.

Weights have 8 bits, symmetric, one scale an output channel. Activations have 16 bits, unsigned, one scale a
tensor: dequantized latents need finer steps than 8 bits have, and NPUs multiply 16 bits with 8. The picture
is stored in steps of 1/65535 and becomes pixels in steps of 1/255.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import numpy_helper

from decant_export.common.linears import INT8
from decant_export.common.onnx_graph import GraphBuilder
from decant_export.errors import ExportError

Integers: TypeAlias = np.dtype[np.uint8] | np.dtype[np.uint16]
# Lowest and highest value of every float tensor, by name.
Ranges = Mapping[str, tuple[float, float]]

OPSET = 21  # the first whose QuantizeLinear gives integers of 16 bits
_LEVELS = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
# How much wider than what calibration saw a range is: other pictures have other extremes.
_WIDER = 1.5
_MOVING = ("DepthToSpace", "Slice", "Transpose", "Reshape", "Relu", "Pad")  # values stay what they are
_WHOLE = 1e-3  # how far from a whole number of steps a weight of int8 may lie
_BIAS_STEPS = 2**24  # of a bias, at most: sums have 32 bits
_WEIGHTED = ("Conv", "ConvTranspose", "MatMul")


@dataclass(frozen=True)
class Steps:
    """How the integers of a tensor stand for real numbers: real = step * (integer - zero)."""

    step: float
    zero: int
    dtype: Integers

    @classmethod
    def covering(cls, lowest: float, highest: float, dtype: Integers) -> "Steps":
        """Those of the range [lowest, highest], widened to hold 0."""
        lowest, highest = min(lowest, 0.0), max(highest, 0.0)
        levels = _LEVELS[dtype]
        step = float(np.float32((highest - lowest) / levels or 1.0))
        return cls(step, round(-lowest / step), dtype)


# Of the picture, whose range is known, and of the pixels that it becomes.
_PICTURE = Steps(float(np.float32(1 / 65535)), 0, np.dtype(np.uint16))
_PIXELS = Steps(float(np.float32(1 / 255)), 0, np.dtype(np.uint8))


def quantized(model: onnx.ModelProto, ranges: Ranges, picture: str) -> onnx.ModelProto:
    """The int8 form of a static float ``model`` (``decant_export.devices.tiles``), for tensors within
    ``ranges``; ``picture`` is the float tensor that QuantizeLinear makes pixels of.

    Raises ExportError for an operator that has no int8 form here, and for a tensor without a range.
    """
    return _Quantizer(model, ranges, picture).model()


class _Quantizer:
    def __init__(self, model: onnx.ModelProto, ranges: Ranges, picture: str) -> None:
        self._source = model.graph
        self._ranges, self._picture = ranges, picture
        self._constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        first, *others = model.graph.input
        self._graph = GraphBuilder(model.graph.name, first.name, "float32", _shape(first))
        for value in others:
            self._graph.input(value.name, "float32", _shape(value))
        self._stored: dict[str, tuple[str, Steps]] = {}  # float tensor -> its integers and their steps

    def model(self) -> onnx.ModelProto:
        for value in self._source.input:
            self._store(value.name, value.name, self._steps(value.name))
        for node in self._source.node:
            self._add(node)
        (output,) = self._source.output
        dtype = {onnx.TensorProto.UINT8: "uint8", onnx.TensorProto.FLOAT: "float32"}
        kind = dtype[output.type.tensor_type.elem_type]
        stored, steps = self._stored[output.name]
        self._outputs(stored, output.name, kind, steps)
        made = self._graph.model(output.name, kind, _shape(output))
        made.opset_import[0].version = OPSET
        onnx.checker.check_model(made, full_check=True)
        return made

    def _outputs(self, stored: str, name: str, kind: str, steps: Steps) -> None:
        """The output ``name`` of the integers ``stored``: pixels as they are, others as float numbers."""
        if kind == "float32":
            self._graph.node("DequantizeLinear", [stored, *self._scale(f"{name}.out", steps)], name)

    def _add(self, node: onnx.NodeProto) -> None:
        name, kind = node.output[0], node.op_type
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if kind in _WEIGHTED:
            self._weighted(node, attributes)
        elif kind == "QuantizeLinear":
            self._store(self._float(node.input[0], f"{name}.x"), name, _PIXELS)
        elif kind in _MOVING:
            x, steps = node.input[0], self._stored[node.input[0]][1]
            if kind == "Relu" and steps.zero == 0:  # integers from 0 on hold nothing negative
                self._stored[name] = self._stored[x]
                return
            if kind == "Relu":
                steps = self._steps(name)
            inputs = [self._float(x, f"{name}.x"), *map(self._constant, node.input[1:])]
            self._store(self._graph.node(kind, inputs, f"{name}.float", **attributes), name, steps)
        elif kind in ("Add", "Mul"):
            inputs = [self._float(x, f"{name}.{i}") for i, x in enumerate(node.input)]
            made = self._graph.node(kind, inputs, f"{name}.float", **attributes)
            self._store(made, name, self._steps(name))
        elif kind == "Sigmoid":
            made = self._graph.node(kind, [self._float(node.input[0], f"{name}.x")], f"{name}.float")
            self._store(made, name, self._steps(name))
        else:
            raise ExportError(f"graph {self._source.name}: operator {kind} has no int8 form")

    def _weighted(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        name = node.output[0]
        x = self._float(node.input[0], f"{name}.x")
        axis = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1}[node.op_type]
        if node.op_type == "MatMul":
            axis = -1
        bias = self._constants[node.input[2]] if len(node.input) > 2 else np.zeros(1, np.float32)
        x_step = np.float32(self._stored[node.input[0]][1].step)
        # A channel without weights gets a step that leaves its bias, which is counted in it, exact enough.
        least = np.maximum(np.abs(bias), 1e-6) / (x_step * _BIAS_STEPS)
        weight, steps = self._weight(node.input[1], axis, least)
        inputs = [x, weight]
        if len(node.input) > 2:
            scale = (steps * x_step).astype(np.float32)
            inputs.append(self._bias(node.input[2], scale))
        made = self._graph.node(node.op_type, inputs, f"{name}.float", **attributes)
        self._store(made, name, self._steps(name))

    def _weight(self, name: str, axis: int, least: np.ndarray) -> tuple[str, np.ndarray]:
        """The int8 weight ``name``, of steps along ``axis`` that are at least ``least``; and the steps."""
        weight = self._constants[name]
        axis %= weight.ndim
        others = tuple(i for i in range(weight.ndim) if i != axis)
        steps = np.maximum(np.abs(weight).max(axis=others) / INT8, least).astype(np.float32)
        whole = np.float32(np.abs(weight).max() / INT8)
        if np.abs(weight / whole - np.rint(weight / whole)).max() < _WHOLE:  # int8 weights made float again
            steps = np.full_like(steps, whole)
        shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
        integers = np.clip(np.rint(weight / steps.reshape(shape)), -INT8, INT8).astype(np.int8)
        inputs = [
            self._graph.constant(f"{name}.int8", integers),
            self._graph.constant(f"{name}.step", steps),
            self._graph.constant(f"{name}.zero", np.zeros(len(steps), np.int8)),
        ]
        return self._graph.node("DequantizeLinear", inputs, name, axis=axis), steps

    def _bias(self, name: str, scale: np.ndarray) -> str:
        integers = np.clip(np.rint(self._constants[name] / scale), -(2**30), 2**30).astype(np.int32)
        inputs = [
            self._graph.constant(f"{name}.int32", integers),
            self._graph.constant(f"{name}.step", scale),
            self._graph.constant(f"{name}.zero", np.zeros(len(scale), np.int32)),
        ]
        return self._graph.node("DequantizeLinear", inputs, name, axis=0)

    def _steps(self, name: str) -> Steps:
        """Those of a float tensor, or of the Relu of it where that alone reads it."""
        readers = self._readers.get(name, [])
        if len(readers) == 1 and readers[0].op_type == "Relu":
            return self._steps(readers[0].output[0])
        # What follows moves values only, up to the picture.
        at = name
        while at != self._picture and len(self._readers.get(at, [])) == 1:
            if self._readers[at][0].op_type != "DepthToSpace":
                break
            at = self._readers[at][0].output[0]
        if at == self._picture:
            return _PICTURE
        if name in self._exact:
            return self._exact[name]
        if name not in self._ranges:
            raise ExportError(f"graph {self._source.name}: calibration gave no range of {name}")
        lowest, highest = self._ranges[name]
        return Steps.covering(lowest * _WIDER, highest * _WIDER, np.dtype(np.uint16))

    _exact: Mapping[str, Steps] = {"inside": Steps(1.0, 0, np.dtype(np.uint16))}

    def _store(self, x: str, name: str, steps: Steps) -> None:
        (output,) = self._source.output
        last = name == output.name and steps.dtype == np.uint8  # pixels are what is stored
        stored = name if last else f"{name}.stored"
        made = self._graph.node("QuantizeLinear", [x, *self._scale(name, steps)], stored)
        self._stored[name] = made, steps

    def _float(self, name: str, what: str) -> str:
        """The float tensor ``what``, of the integers of ``name`` or of a constant."""
        if name in self._constants:
            steps = _constant_steps(self._constants[name])
            integers = np.rint(self._constants[name] / steps.step) + steps.zero
            stored = self._graph.constant(f"{name}.stored", integers.astype(steps.dtype))
            return self._graph.node("DequantizeLinear", [stored, *self._scale(name, steps)], what)
        stored, steps = self._stored[name]
        scale = [f"{name}.stored.step", f"{name}.stored.zero"]
        if not self._graph.has(scale[0]):  # integers that another tensor has the name of
            scale = self._scale(what, steps)
        return self._graph.node("DequantizeLinear", [stored, *scale], what)

    def _scale(self, name: str, steps: Steps) -> list[str]:
        return [
            self._graph.constant(f"{name}.stored.step", np.float32(steps.step)),
            self._graph.constant(f"{name}.stored.zero", steps.dtype.type(steps.zero)),
        ]

    def _constant(self, name: str) -> str:
        if not self._graph.has(name):
            self._graph.constant(name, self._constants[name])
        return name


def _constant_steps(value: np.ndarray) -> Steps:
    return Steps.covering(float(value.min()), float(value.max()), np.dtype(np.uint16))


def _shape(value: onnx.ValueInfoProto) -> Sequence[int]:
    return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
