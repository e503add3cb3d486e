"""A static float graph as a CoreML ML program in half precision, built operator by operator in MIL.

The one output is the picture in float, channels last, from 0 to 255 and rounded. coremltools (extra
``coreml``) builds and checks it on any system; macOS and iOS run it.

Operators: https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from decant.errors import MissingExtraError
from onnx import helper, numpy_helper

from decant_export.errors import ExportError

# What a program made here consists of, besides constants and the casts between float32 and float16.
OPERATORS = frozenset(
    [
        "add",
        "cast",
        "clip",
        "conv",
        "matmul",
        "mul",
        "pad",
        "pixel_shuffle",
        "relu",
        "reshape",
        "round",
        "sigmoid",
        "slice_by_index",
        "transpose",
    ]
)


def coremltools() -> Any:
    """The imported coremltools. Raises MissingExtraError."""
    try:
        import coremltools as module
    except ImportError as error:
        raise MissingExtraError(
            f"CoreML models need coremltools ({error}): pip install 'decant-codec[coreml]'"
        ) from None
    return module


def to_coreml(model: onnx.ModelProto) -> Any:
    """The ``coremltools`` model of a static float ``model``. Raises ExportError for an operator that has no
    form here, MissingExtraError.
    """
    ct = coremltools()
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil import Function, Program

    shapes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in model.graph.input
    }
    values: dict[str, Any] = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    inputs = {name: Builder.placeholder(shape=tuple(shape)) for name, shape in shapes.items()}
    program = Program()
    with Function(inputs, opset_version=ct.target.iOS16) as function:
        values.update(function.inputs)
        for node in model.graph.node:
            values[node.output[0]] = _made(Builder, node, values)
        function.set_outputs([values[model.graph.output[0].name]])
    program.add_function("main", function)
    return ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=ct.precision.FLOAT16,
        compute_units=ct.ComputeUnit.CPU_AND_NE,
        skip_model_load=True,
    )


def operators_of(model: Any) -> set[str]:
    """The types of the operations of a CoreML ML program, without constants."""
    found = set()
    for function in model.get_spec().mlProgram.functions.values():
        for block in function.block_specializations.values():
            found |= {operation.type for operation in block.operations}
    return {name.split(".")[-1] for name in found} - {"const"}


def write_coreml(model: onnx.ModelProto, path: Path) -> None:
    """Write the ``.mlpackage`` of ``model``. Raises ExportError where it has an operator that is not in
    OPERATORS, MissingExtraError.
    """
    made = to_coreml(model)
    if unknown := operators_of(made) - OPERATORS:
        raise ExportError(f"graph {model.graph.name}: CoreML operators {', '.join(sorted(unknown))}")
    made.save(str(path))


def _made(builder: Any, node: onnx.NodeProto, values: Mapping[str, Any]) -> Any:
    """What MIL makes of ``node``."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    inputs = [values[name] for name in node.input]
    name = node.output[0].replace(".", "_")
    kind = node.op_type
    if kind == "Conv":
        top, left, bottom, right = (int(p) for p in attributes.get("pads", [0, 0, 0, 0]))
        more = {"bias": inputs[2]} if len(inputs) > 2 else {}
        return builder.conv(
            x=inputs[0],
            weight=inputs[1],
            pad_type="custom",
            pad=[top, bottom, left, right],
            name=name,
            **more,
        )
    if kind in ("Add", "Mul"):
        return getattr(builder, kind.lower())(x=inputs[0], y=inputs[1], name=name)
    if kind in ("Relu", "Sigmoid"):
        return getattr(builder, kind.lower())(x=inputs[0], name=name)
    if kind == "DepthToSpace" and attributes.get("mode") == b"CRD":
        return builder.pixel_shuffle(x=inputs[0], upscale_factor=attributes["blocksize"], name=name)
    if kind == "Slice":
        begin, end = [0] * inputs[0].rank, [int(n) for n in inputs[0].shape]
        for start, stop, axis in zip(inputs[1], inputs[2], inputs[3], strict=True):
            begin[int(axis)] = int(start)
            end[int(axis)] = min(int(stop), end[int(axis)])
        return builder.slice_by_index(x=inputs[0], begin=begin, end=end, name=name)
    if kind == "Pad":
        count = len(inputs[1]) // 2
        pads = [int(inputs[1][i + side * count]) for i in range(count) for side in (0, 1)]
        return builder.pad(x=inputs[0], pad=pads, mode="constant", constant_val=0.0, name=name)
    if kind == "Reshape":
        return builder.reshape(x=inputs[0], shape=[int(n) for n in inputs[1]], name=name)
    if kind == "MatMul":
        return builder.matmul(x=inputs[0], y=inputs[1], name=name)
    if kind == "Transpose":
        return builder.transpose(x=inputs[0], perm=list(attributes["perm"]), name=name)
    if kind == "QuantizeLinear":  # pixels as whole numbers of float
        scaled = builder.mul(x=inputs[0], y=np.float32(1 / float(inputs[1])), name=f"{name}_scaled")
        clipped = builder.clip(x=scaled, alpha=0.0, beta=255.0, name=f"{name}_clipped")
        return builder.round(x=clipped, name=name)
    raise ExportError(f"operator {kind} has no CoreML form here")
