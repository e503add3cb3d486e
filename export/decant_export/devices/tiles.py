"""The float graph of a decoder in the form that NPUs take: static shapes, plain float weights, few operators.

A graph of the layout ``grid`` becomes the graph of one tile. Its further input ``inside`` is 1 where the tile
lies within the picture and 0 outside. Activations are multiplied by it before a 3x3 convolution, so that the
convolution sees the zero padding that it sees at the border of a whole picture. One static graph then decodes
pictures of any size, those smaller than a tile included (``decant.backends.tiling``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from decant.backends.tiling import INSIDE
from onnx import helper, numpy_helper

from decant_export.common.onnx_graph import finish
from decant_export.errors import ExportError

_STORED = ("Cast", "DequantizeLinear")  # operators that restore stored weights
_KEEP_ZERO = ("Slice", "Relu", "DepthToSpace", "Pad")
_FLOAT = onnx.TensorProto.FLOAT


@dataclass
class _Rewrite:
    """A graph being rewritten: the nodes so far, every constant, and the static shape of every tensor."""

    nodes: list[onnx.NodeProto]
    constants: dict[str, np.ndarray]
    shapes: dict[str, list[int]]
    zero: set[str]  # tensors that are 0 wherever the tile lies outside of the picture
    masked: dict[str, str] = field(default_factory=dict)
    inside: list[int] | None = None


def static(model: onnx.ModelProto, sizes: Mapping[str, int]) -> onnx.ModelProto:
    """``model`` with its free dimensions set to ``sizes`` and its weights as plain float constants.

    Raises ExportError for a free dimension that ``sizes`` does not name.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for value in [*changed.graph.input, *changed.graph.output]:
        for dimension in value.type.tensor_type.shape.dim:
            if name := dimension.dim_param:
                if name not in sizes:
                    raise ExportError(f"graph {model.graph.name}: its dimension {name} has no size")
                dimension.dim_value = sizes[name]
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in changed.graph.initializer}
    nodes = []
    for node in changed.graph.node:
        if node.op_type in _STORED and node.input[0] in constants:
            constants[node.output[0]] = _restored(node, constants)
        else:
            nodes.append(node)
    return assembled(changed.graph, nodes, constants)


def tile(model: onnx.ModelProto, sizes: Mapping[str, int]) -> onnx.ModelProto:
    """The tile graph of a float graph of the layout ``grid``: ``static`` with the input ``inside``.

    ``sizes`` are those of the free dimensions. Raises ExportError for an operator that no such graph has, and
    where convolutions of different resolutions would need a mask each.
    """
    fixed = static(model, sizes)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in fixed.graph.initializer}
    free = {value.name: _shape(value) for value in fixed.graph.input}
    tiled = {name for name, shape in free.items() if len(shape) == 4 and shape[2] > 1}
    rewrite = _Rewrite([], constants, {**free, **_inferred(fixed)}, {n for n in tiled if n != INSIDE})
    for node in fixed.graph.node:
        _take(rewrite, node)
    if rewrite.inside is None:
        raise ExportError(f"graph {model.graph.name}: no 3x3 convolution, so nothing to cut into tiles")
    fixed.graph.input.append(helper.make_tensor_value_info(INSIDE, _FLOAT, rewrite.inside))
    return assembled(fixed.graph, _half_in_bias(rewrite.nodes, constants), constants)


def _take(rewrite: _Rewrite, node: onnx.NodeProto) -> None:
    """Add ``node`` to what is rewritten, its input masked where it is a convolution that looks around."""
    new = onnx.NodeProto()
    new.CopyFrom(node)
    if node.op_type == "Conv" and max(rewrite.constants[node.input[1]].shape[2:]) > 1:
        new.input[0] = _masked(rewrite, node.input[0])
    rewrite.nodes.append(new)
    zero = rewrite.zero
    keeps = (node.op_type in _KEEP_ZERO and node.input[0] in zero) or (
        node.op_type == "Mul" and any(name in zero for name in node.input)
    )
    keeps = keeps or (node.op_type == "Add" and all(name in zero for name in node.input))
    if keeps:
        zero.update(node.output)


def _masked(rewrite: _Rewrite, x: str) -> str:
    if x in rewrite.zero:
        return x
    if x not in rewrite.masked:
        shape = [1, 1, *rewrite.shapes[x][2:]]
        if rewrite.inside not in (None, shape):
            raise ExportError(f"masks of two resolutions, {rewrite.inside} and {shape}, are needed")
        rewrite.inside = shape
        name = f"{x}.inside"
        rewrite.nodes.append(helper.make_node("Mul", [x, INSIDE], [name], name=name))
        rewrite.masked[x] = name
    return rewrite.masked[x]


def _half_in_bias(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    """``nodes`` with a constant that is added after Conv and DepthToSpace put into the bias instead."""
    makers = {node.output[0]: node for node in nodes}
    found = []
    for node in nodes:
        shuffle = makers.get(node.input[0]) if node.op_type == "Add" else None
        maker = makers.get(shuffle.input[0]) if shuffle and shuffle.op_type == "DepthToSpace" else None
        added = constants.get(node.input[1]) if len(node.input) == 2 else None
        if maker is None or maker.op_type != "Conv" or len(maker.input) < 3 or added is None or added.ndim:
            found.append(node)
            continue
        assert shuffle is not None
        constants[maker.input[2]] = (constants[maker.input[2]] + added).astype(np.float32)
        shuffle.output[0] = node.output[0]
    return found


def _restored(node: onnx.NodeProto, constants: Mapping[str, np.ndarray]) -> np.ndarray:
    """The float weights that ``node`` restores from stored ones."""
    stored = constants[node.input[0]].astype(np.float32)
    if node.op_type == "Cast":
        return stored
    steps = constants[node.input[1]]
    zero = constants[node.input[2]].astype(np.float32) if len(node.input) > 2 else np.float32(0)
    wide = (-1, *[1] * (stored.ndim - 1)) if np.ndim(steps) else ()
    return ((stored - np.reshape(zero, wide)) * np.reshape(steps, wide)).astype(np.float32)


def assembled(
    graph: onnx.GraphProto, nodes: list[onnx.NodeProto], constants: Mapping[str, np.ndarray]
) -> onnx.ModelProto:
    """The checked model of ``nodes`` with the inputs and outputs of ``graph``, and the ``constants`` that the
    nodes read.
    """
    read = {name for node in nodes for name in node.input}
    tensors = [
        numpy_helper.from_array(np.array(value, order="C"), name)
        for name, value in constants.items()
        if name in read
    ]
    return finish(helper.make_graph(nodes, graph.name, list(graph.input), list(graph.output), tensors))


def _inferred(model: onnx.ModelProto) -> dict[str, list[int]]:
    """The shape of every tensor between the nodes of a graph of static inputs."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    return {value.name: _shape(value) for value in [*inferred.graph.value_info, *inferred.graph.output]}


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
