"""Multiply-accumulates of a graph, counted from its nodes."""

import math
from collections.abc import Mapping
from types import MappingProxyType

import onnx

_PRODUCTS = {"MatMul", "MatMulInteger"}


def kmac_per_pixel(
    model: onnx.ModelProto, pixels: int, sizes: Mapping[str, int] = MappingProxyType({})
) -> float:
    """Thousands of multiply-accumulates for each of the ``pixels`` of one picture, rounded to three digits
    after the point.

    Convolutions and matrix products are counted, as the graph computes them, with a batch of 1. ``sizes`` are
    the free dimensions for such a picture. Of an ``If``, the else branch is counted, which is the usual one.
    """
    model = _usual(model)
    shapes = _shapes(model, sizes)
    total = sum(_macs(node, shapes) for node in model.graph.node)
    return round(total / pixels / 1000, 3)


def _usual(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with the other branch of every ``If`` in its place."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    del plain.graph.node[:]
    for node in model.graph.node:
        if node.op_type != "If":
            plain.graph.node.append(node)
            continue
        (other,) = (attribute.g for attribute in node.attribute if attribute.name == "else_branch")
        plain.graph.node.extend(other.node)
        for inner, outer in zip(other.output, node.output, strict=True):
            plain.graph.node.append(onnx.helper.make_node("Identity", [inner.name], [outer]))
    return plain


def _macs(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    if node.op_type == "Conv":
        weight = shapes[node.input[1]]
        return math.prod(shapes[node.output[0]]) * math.prod(weight[1:])
    if node.op_type == "ConvTranspose":
        weight = shapes[node.input[1]]
        return math.prod(shapes[node.input[0]]) * math.prod(weight[1:])
    if node.op_type in _PRODUCTS or node.op_type == "Gemm":
        return math.prod(shapes[node.input[0]]) * shapes[node.input[1]][-1]
    if node.op_type == "MatMulNBits":
        size = {attribute.name: attribute.i for attribute in node.attribute}
        return int(size["K"] * size["N"])
    return 0


def _shapes(model: onnx.ModelProto, sizes: Mapping[str, int]) -> dict[str, list[int]]:
    """Shape of every tensor for a batch of 1; dimensions that stay unknown (the batch, after foreign
    operators) count as 1.
    """
    single = onnx.ModelProto()
    single.CopyFrom(model)
    for value in [*single.graph.input, *single.graph.output]:
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_value = sizes.get(dimension.dim_param, 1)
    graph = onnx.shape_inference.infer_shapes(single, data_prop=True).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in [*graph.input, *graph.output, *graph.value_info]:
        shapes[value.name] = [max(d.dim_value, 1) for d in value.type.tensor_type.shape.dim]
    return shapes
