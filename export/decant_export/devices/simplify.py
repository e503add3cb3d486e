"""Operators that NPUs lack, made of those that they have: dynamically quantized Linear layers become float
ones, and a transposed convolution becomes a convolution of 1x1 and DepthToSpace.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from decant_export.common.onnx_graph import finish
from decant_export.errors import ExportError


def without_dynamic(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with every DynamicQuantizeLinear, MatMulInteger and what scales its sums as one float MatMul
    of the same weights, and every Gemm as MatMul and Add. Raises ExportError.
    """
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    readers: dict[str, onnx.NodeProto] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, node)
    dropped: set[str] = set()
    replaced: dict[str, onnx.NodeProto] = {}
    for node in model.graph.node:
        if node.op_type != "MatMulInteger":
            continue
        quantize = makers[node.input[0]]
        cast = readers[node.output[0]]
        product = readers[cast.output[0]]
        scale = makers[next(name for name in product.input if name != cast.output[0])]
        steps = next(constants[name] for name in scale.input if name in constants)
        zero = constants[node.input[3]].astype(np.float32) if len(node.input) > 3 else np.float32(0)
        weight = f"{product.output[0]}.weight"
        constants[weight] = ((constants[node.input[1]].astype(np.float32) - zero) * steps).astype(np.float32)
        dropped |= {part.output[0] for part in (quantize, node, cast, scale)}
        replaced[product.output[0]] = helper.make_node(
            "MatMul", [quantize.input[0], weight], [product.output[0]], name=product.output[0]
        )
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "Gemm":
            nodes += _product_and_sum(node, constants)
        elif node.output[0] not in dropped:
            nodes.append(replaced.get(node.output[0], node))
    return _rebuilt(model, nodes, constants)


def _product_and_sum(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    """A Gemm with constant weights as MatMul and Add."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    plain = attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0
    if not plain or attributes.get("transA", 0) or node.input[1] not in constants:
        raise ExportError(f"Gemm {node.output[0]}: constant weights, alpha 1 and beta 1 expected")
    weight = constants[node.input[1]]
    name, product = node.output[0], f"{node.output[0]}.product"
    constants[f"{product}.weight"] = weight.T if attributes.get("transB", 0) else weight
    if len(node.input) < 3:
        return [helper.make_node("MatMul", [node.input[0], f"{product}.weight"], [name], name=name)]
    return [
        helper.make_node("MatMul", [node.input[0], f"{product}.weight"], [product], name=product),
        helper.make_node("Add", [product, node.input[2]], [name], name=name),
    ]


def without_transposed(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with every ConvTranspose as a convolution of 1x1 and DepthToSpace. Raises ExportError for one
    whose kernel is wider than its strides.
    """
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type != "ConvTranspose":
            nodes.append(node)
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        stride = attributes.get("strides", [1, 1])[0]
        weight = constants[node.input[1]]  # (in, out, kernel, kernel)
        kernel = weight.shape[2]
        rest = [stride - kernel] * 2
        plain = attributes.get("group", 1) == 1 and not any(attributes.get("pads", [0]))
        if attributes.get("output_padding", [0, 0]) != rest or not plain:
            raise ExportError(f"ConvTranspose {node.output[0]}: a kernel within its strides expected")
        channels, name = weight.shape[1], node.output[0]
        spread = np.zeros((channels, stride, stride, weight.shape[0]), np.float32)
        spread[:, :kernel, :kernel] = weight.transpose(1, 2, 3, 0)
        constants[f"{name}.spread"] = spread.reshape(-1, weight.shape[0], 1, 1)
        inputs = [node.input[0], f"{name}.spread"]
        if len(node.input) > 2:
            constants[f"{name}.spread.bias"] = np.repeat(constants[node.input[2]], stride**2)
            inputs.append(f"{name}.spread.bias")
        phases = f"{name}.phases"
        nodes.append(helper.make_node("Conv", inputs, [phases], name=phases, kernel_shape=[1, 1]))
        nodes.append(
            helper.make_node("DepthToSpace", [phases], [name], name=name, blocksize=stride, mode="CRD")
        )
    return _rebuilt(model, nodes, constants)


def centred(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` for half precision: a Sigmoid that becomes 8-bit pixels is computed around 0, as Tanh.

    The steps of half precision are 1/8 of a pixel's level near 1, and finer near 0. Pixels are
    255 sigmoid(x) = 127.5 tanh(x / 2) + 127.5.
    """
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    sigmoids = {node.output[0]: node for node in model.graph.node if node.op_type == "Sigmoid"}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type != "QuantizeLinear" or node.input[0] not in sigmoids:
            nodes.append(node)
            continue
        step, zero = (constants[name] for name in node.input[1:3])
        if zero.dtype != np.uint8 or zero.any() or not np.allclose(step, 1 / 255):
            nodes.append(node)
            continue
        name = node.output[0]
        half, tanh, shifted = (f"{name}.{part}" for part in ("half", "tanh", "shifted"))
        given = {"factor": 0.5, "offset": -0.5 / 127.5, "step": 1 / 127.5}
        constants |= {f"{name}.{part}": np.array(value, np.float32) for part, value in given.items()}
        constants[f"{name}.zero"] = np.array(128, np.uint8)
        x = sigmoids[node.input[0]].input[0]
        nodes += [
            helper.make_node("Mul", [x, f"{name}.factor"], [half], name=half),
            helper.make_node("Tanh", [half], [tanh], name=tanh),
            helper.make_node("Add", [tanh, f"{name}.offset"], [shifted], name=shifted),
            helper.make_node("QuantizeLinear", [shifted, f"{name}.step", f"{name}.zero"], [name], name=name),
        ]
    read = {name for node in nodes for name in node.input} | {value.name for value in model.graph.output}
    return _rebuilt(model, [node for node in nodes if read & set(node.output)], constants)


def _rebuilt(
    model: onnx.ModelProto, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]
) -> onnx.ModelProto:
    read = {name for node in nodes for name in node.input}
    tensors = [
        numpy_helper.from_array(np.array(value, order="C"), name)
        for name, value in constants.items()
        if name in read
    ]
    inputs, outputs = list(model.graph.input), list(model.graph.output)
    return finish(helper.make_graph(nodes, model.graph.name, inputs, outputs, tensors))
