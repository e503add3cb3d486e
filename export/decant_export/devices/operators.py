"""Which ONNX operators the compilers of NPUs take, each table with its source, and the check against them.

A table is what its source lists; a compiler may take more. Operators of LiteRT and CoreML are given by the
ONNX operators of the float graphs that the exports here make them of.
"""

from dataclasses import dataclass, field

import onnx


@dataclass(frozen=True)
class Target:
    """A compiler of graphs: its ``operators``, those that it takes in one precision alone, and where that is
    said.
    """

    name: str
    source: str
    operators: frozenset[str]
    static_shapes: bool = True
    precisions: tuple[str, ...] = ("int8-static", "float16")
    most_rank: int = 5
    limits: dict[str, str] = field(default_factory=dict)  # operator -> what else its source says


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TARGETS = {
    "qnn-htp": Target(
        "Qualcomm HTP",
        "https://github.com/onnxruntime/onnxruntime-qnn/blob/0131740f31800af002800abb7886dfba60d5febe/"
        "docs/execution_providers/QNN-ExecutionProvider.md#supported-onnx-operators",
        _words(
            """Abs Add And ArgMax ArgMin Asin Atan AveragePool BatchNormalization Cast Ceil Clip Concat Conv
            ConvTranspose Cos CumSum DepthToSpace DequantizeLinear Div Einsum Elu Equal Exp Expand Flatten
            Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater
            GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization
            LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization MatMul Max
            MaxPool Mean Min Mod Mul Neg NonZero Not Or PRelu Pad Pow QuantizeLinear Reciprocal ReduceMax
            ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Resize RoiAlign Round ScatterElements
            ScatterND Sigmoid Sign Sin Slice Softmax Softplus SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh
            ThresholdedRelu Tile TopK Transpose Unsqueeze Upsample Where"""
        ),
        limits={"MatMul": "(uint8, uint8), (uint8, uint16) or (uint16, uint8) inputs where quantized"},
    ),
    "openvino-npu": Target(
        "Intel NPU",
        "https://github.com/microsoft/onnxruntime/blob/v1.16.3/onnxruntime/core/providers/openvino/"
        "ov_versions/data_ops.cc (entries of VPUX, the NPU's name then)",
        _words(
            """Abs Add AveragePool BatchNormalization Cast Clip Concat Constant ConstantOfShape Conv Cos
            CumSum DepthToSpace DequantizeLinear Div Dropout Elu Equal Erf Exp Expand EyeLike Flatten Gather
            Gemm GlobalAveragePool Greater GreaterOrEqual Identity ImageScaler InstanceNormalization LeakyRelu
            Less LessOrEqual Log LRN MatMul Max MaxPool Mean Min Mul Neg Pad Pow PRelu QuantizeLinear Range
            Reciprocal ReduceMean Relu Reshape Shape Shrink Sigmoid Sign Sin Slice Softmax Softplus
            SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh ThresholdedRelu Tile TopK Transpose Unsqueeze
            Upsample Where"""
        ),
    ),
    "coreml": Target(
        "CoreML",
        "https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html (iOS 16: "
        "conv, pixel_shuffle, add, mul, relu, sigmoid, pad, slice_by_index, matmul, reshape, transpose)",
        _words("Add Conv DepthToSpace MatMul Mul Pad QuantizeLinear Relu Reshape Sigmoid Slice Transpose"),
        precisions=("float",),
        limits={"QuantizeLinear": "of pixels alone: made of mul, clip and round"},
    ),
    "litert": Target(
        "LiteRT",
        "https://github.com/google-ai-edge/LiteRT/blob/08c8bf6e33593e900a260f8cb4fd2d328338f72d/"
        "litert/vendors/qualcomm/compiler/Qualcomm_QNN_Compiler.md#supported-operations (Conv2d, "
        "DepthToSpace, Add, Mul, Relu, Logistic, Pad, Slice, BatchMatmul, Reshape, Round)",
        _words("Add Conv DepthToSpace MatMul Mul Pad QuantizeLinear Relu Reshape Sigmoid Slice Transpose"),
        precisions=("float",),
        limits={"QuantizeLinear": "of pixels alone: made of Mul and Round"},
    ),
}


def unsupported(model: onnx.ModelProto, target: str, precision: str) -> list[str]:
    """What of ``model`` the compiler ``target`` does not take, in words; empty where it takes all of it, or
    where graphs of ``precision`` are not for it.
    """
    table = TARGETS[target]
    if precision not in table.precisions:
        return []
    found = {
        f"operator {node.op_type}" for node in model.graph.node if node.op_type not in table.operators
    } | {f"domain {node.domain}" for node in model.graph.node if node.domain not in ("", "ai.onnx")}
    for value in [*model.graph.input, *model.graph.output]:
        sizes = value.type.tensor_type.shape.dim
        if table.static_shapes and any(not size.HasField("dim_value") for size in sizes):
            found.add(f"free dimension in {value.name}")
        if len(sizes) > table.most_rank:
            found.add(f"{value.name} of {len(sizes)} dimensions")
    return sorted(found)
