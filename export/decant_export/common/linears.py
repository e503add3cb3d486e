"""Linear layers of a float graph with smaller weights: int8 with dynamic activations, or 4 bits.

The int8 form is what ONNX Runtime's ``quantize_dynamic`` makes of a Gemm (DynamicQuantizeLinear,
MatMulInteger, one scale per tensor), with two exact changes before it:

* Every input is multiplied by the range of its row of weights, and the row divided by it, so one
  scale fits all rows.
* A Linear layer of few inputs is run as several rows of a wider one (``widened``). Libraries pad the inner
  dimension of an 8-bit product to 64 when they pack the weights at load: with 16 inputs that is four times
  the memory, and most of the load time.

All other operators, ConvTranspose included, stay in float.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from decant_export.common.onnx_graph import CONTRIB_DOMAIN, constants, finish

INT8 = 127
INNER = 64  # what 8-bit matrix products pad their inner dimension to, at most
NBITS_BLOCK = 16  # the smallest block of MatMulNBits


@dataclass(frozen=True)
class _Linear:
    """y = x @ weight + bias; weight (inputs, outputs)."""

    name: str
    x: str
    weight: np.ndarray
    bias: np.ndarray


_Parts = tuple[list[onnx.NodeProto], dict[str, Any]]  # nodes and constants that take a Gemm's place


def to_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with int8 weights in every Gemm. Raises ValueError when it has none."""
    return _rewritten(model, _int8)


def to_int8_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with int8 weights in every Gemm and float activations: the form that OpenVINO keeps
    compressed.
    """
    return _rewritten(model, _int8_weights)


def to_int4(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with 4-bit weights (MatMulNBits) in every Gemm. Raises ValueError when it has none."""
    return _rewritten(model, _int4)


def has_linears(model: onnx.ModelProto) -> bool:
    """Whether ``model`` has a Linear layer that could be made small."""
    return any(node.op_type == "Gemm" for node in model.graph.node)


def balanced(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight (inputs, outputs) -> (rows that all use the range [-1, 1], factor per input (inputs,)).

    Their product is ``weight``. A few values of a row may lie outside the range. Quantization clips them if
    that costs the row less than a coarser step.
    """
    ranges = np.abs(weight).max(axis=1)
    sample = weight[:, :: max(1, weight.shape[1] // 65536)]
    best, factors = np.full(len(weight), np.inf), np.ones(len(weight), np.float32)
    for shrink in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5):
        step = (np.where(ranges > 0, ranges, 1) * shrink / INT8)[:, None]
        error = np.square(np.clip(np.rint(sample / step), -INT8, INT8) * step - sample).sum(axis=1)
        better = error < best
        factors[better] = step[better, 0] * INT8
        best = np.minimum(best, error)
    rows: np.ndarray = weight / factors[:, None]
    return rows, factors


def groups_of(inputs: int, outputs: int) -> int:
    """How many rows a Linear layer is spread over: a power of two, 1 where nothing is gained."""
    groups = 1
    while inputs * groups * 2 <= INNER and outputs % (groups * 2) == 0:
        groups *= 2
    return groups


def widened(weight: np.ndarray, groups: int) -> np.ndarray:
    """Weight (inputs, outputs) -> (groups * inputs, outputs / groups): the groups of outputs below each
    other.
    """
    inputs, outputs = weight.shape
    split = weight.reshape(inputs, groups, outputs // groups).transpose(1, 0, 2)
    return np.array(split.reshape(groups * inputs, outputs // groups), order="C")


def spread(factors: np.ndarray, groups: int) -> np.ndarray:
    """Multiplier (1, groups, groups, inputs) that puts ``factors * x`` on the diagonal of a block matrix:
    with it, row g of the product with ``widened`` weights is output group g.
    """
    placed: np.ndarray = np.eye(groups, dtype=np.float32)[None, :, :, None] * factors
    return placed


def to_steps(values: np.ndarray) -> np.ndarray:
    """Values as int8 steps of 1/127; what lies outside [-1, 1] is clipped."""
    steps: np.ndarray = np.clip(np.rint(values * INT8), -INT8, INT8).astype(np.int8)
    return steps


def _rewritten(model: onnx.ModelProto, rewrite: Callable[[_Linear], _Parts]) -> onnx.ModelProto:
    known = constants(model)
    nodes: list[onnx.NodeProto] = []
    added: list[onnx.TensorProto] = []
    dropped: set[str] = set()
    # ONNX's shape inference ends at operators that it does not know; what follows needs a start.
    results: list[onnx.ValueInfoProto] = []
    for node in model.graph.node:
        if node.op_type != "Gemm":
            nodes.append(node)
            continue
        _, weight, bias = node.input
        linear = _Linear(node.output[0], node.input[0], known[weight], known[bias])
        new_nodes, new_constants = rewrite(linear)
        nodes += new_nodes
        added += [numpy_helper.from_array(np.array(v, order="C"), k) for k, v in new_constants.items()]
        dropped |= {weight, bias}
        shape = ["n", linear.weight.shape[1]]
        results.append(helper.make_tensor_value_info(linear.name, TensorProto.FLOAT, shape))
    if not dropped:
        raise ValueError(f"graph {model.graph.name} has no Linear layer to quantize")
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in dropped]
    old = model.graph
    tensors = [*kept, *added]
    return finish(helper.make_graph(nodes, old.name, old.input, old.output, tensors, value_info=results))


def _int8(linear: _Linear) -> _Parts:
    n, (inputs, outputs) = linear.name, linear.weight.shape
    groups = groups_of(inputs, outputs)
    weight, factors = balanced(linear.weight)
    values = {
        f"{n}.split": np.array([-1, 1, 1, inputs]),
        f"{n}.factors": spread(factors, groups),
        f"{n}.rows": np.array([-1, groups, groups * inputs]),
        f"{n}.weight.int8": to_steps(widened(weight, groups)),
        f"{n}.weight.zero": np.int8(0),
        f"{n}.weight.scale": np.float32(1 / INT8),
        f"{n}.bias": linear.bias.reshape(1, groups, outputs // groups),
        f"{n}.join": np.array([-1, outputs]),
    }
    quantized_x = [f"{n}.x.uint8", f"{n}.x.scale", f"{n}.x.zero"]
    make = helper.make_node
    nodes = [
        make("Reshape", [linear.x, f"{n}.split"], [f"{n}.x.split"]),
        make("Mul", [f"{n}.x.split", f"{n}.factors"], [f"{n}.x.spread"]),
        make("Reshape", [f"{n}.x.spread", f"{n}.rows"], [f"{n}.x"]),
        make("DynamicQuantizeLinear", [f"{n}.x"], quantized_x),
        make(
            "MatMulInteger",
            [quantized_x[0], f"{n}.weight.int8", quantized_x[2], f"{n}.weight.zero"],
            [f"{n}.int32"],
        ),
        make("Cast", [f"{n}.int32"], [f"{n}.float"], to=TensorProto.FLOAT),
        make("Mul", [quantized_x[1], f"{n}.weight.scale"], [f"{n}.scale"]),
        make("Mul", [f"{n}.float", f"{n}.scale"], [f"{n}.product"]),
        make("Add", [f"{n}.product", f"{n}.bias"], [f"{n}.sum"]),
        make("Reshape", [f"{n}.sum", f"{n}.join"], [n]),
    ]
    return nodes, values


def _int8_weights(linear: _Linear) -> _Parts:
    n = linear.name
    weight, factors = balanced(linear.weight)
    values = {
        f"{n}.factors": factors,
        f"{n}.weight.int8": to_steps(weight),
        f"{n}.weight.scale": np.float32(1 / INT8),
        f"{n}.bias": linear.bias,
    }
    make = helper.make_node
    nodes = [
        make("Mul", [linear.x, f"{n}.factors"], [f"{n}.x"]),
        make("DequantizeLinear", [f"{n}.weight.int8", f"{n}.weight.scale"], [f"{n}.weight"]),
        make("MatMul", [f"{n}.x", f"{n}.weight"], [f"{n}.product"]),
        make("Add", [f"{n}.product", f"{n}.bias"], [n]),
    ]
    return nodes, values


def _int4(linear: _Linear) -> _Parts:
    n, (inputs, outputs) = linear.name, linear.weight.shape
    blocks = -(-inputs // NBITS_BLOCK)
    padded = np.zeros((blocks * NBITS_BLOCK, outputs), np.float32)
    padded[:inputs] = linear.weight
    columns = np.ascontiguousarray(padded.T).reshape(outputs, blocks, NBITS_BLOCK)
    scale = _int4_scale(columns)
    nibbles = (np.clip(np.rint(columns / scale[..., None]), -8, 7) + 8).astype(np.uint8)  # 8 is zero
    values = {
        f"{n}.weight.int4": nibbles[..., 0::2] | (nibbles[..., 1::2] << 4),
        f"{n}.weight.scale": scale.reshape(-1),
        f"{n}.bias": linear.bias,
    }
    product = helper.make_node(
        "MatMulNBits",
        [linear.x, f"{n}.weight.int4", f"{n}.weight.scale"],
        [f"{n}.product"],
        domain=CONTRIB_DOMAIN,
        K=inputs,
        N=outputs,
        bits=4,
        block_size=NBITS_BLOCK,
    )
    return [product, helper.make_node("Add", [f"{n}.product", f"{n}.bias"], [n])], values


def _int4_scale(columns: np.ndarray) -> np.ndarray:
    """Blocks (..., 16) -> the scale (...) of least squared error among a few that clip the largest value a
    little.
    """
    largest = np.abs(columns).max(axis=-1)
    largest = np.where(largest > 0, largest, np.float32(1))
    best = np.full(largest.shape, np.inf, np.float32)
    chosen = np.zeros(largest.shape, np.float32)
    for divisor in (7.0, 7.5, 8.0, 8.5, 9.0, 10.0):
        scale = (largest / divisor).astype(np.float32)
        step = scale[..., None]
        error = np.square(np.clip(np.rint(columns / step), -8, 7) * step - columns).sum(axis=-1)
        chosen = np.where(error < best, scale, chosen)
        best = np.minimum(error, best)
    return chosen
