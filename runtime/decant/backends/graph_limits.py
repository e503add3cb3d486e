"""The allow-list of graphs: the operators that the exports of decant use, with bounds for their attributes.

An export that needs another operator adds it here; nothing else decides. ``decant.backends.onnx_check`` and
``decant.backends.ir_check`` read these tables.
"""

from dataclasses import dataclass
from typing import TypeAlias

# Counts and sizes of one graph. The largest shipped graph has 150 nodes and 480 layers.
MOST_NODES = 4096
MOST_TENSORS = 8192
MOST_LAYERS = 16384
MOST_RANK = 8
LARGEST_DIMENSION = (1 << 31) - 1
DEEPEST_SUBGRAPH = 2


@dataclass(frozen=True)
class Whole:
    """A whole number, or a list of at most ``most`` of them, each within ``low`` and ``high``."""

    low: int
    high: int
    most: int = 1


@dataclass(frozen=True)
class Real:
    """A finite number of at most ``largest`` in magnitude."""

    largest: float


@dataclass(frozen=True)
class Words:
    """One of ``words``."""

    words: frozenset[str]


@dataclass(frozen=True)
class Permutation:
    """Every number from 0 to below the length of the list, once."""


@dataclass(frozen=True)
class Subgraph:
    """A graph inside a node, checked as the outer one."""


Rule: TypeAlias = Whole | Real | Words | Permutation | Subgraph


def _words(*words: str) -> Words:
    return Words(frozenset(words))


_SIZES = Whole(1, 256, 4)
_PADS = Whole(0, 256, 8)
_AXIS = Whole(-MOST_RANK, MOST_RANK - 1)
_FLAG = Whole(0, 1)
_BLOCK = Whole(1, 64)
_TYPE = Whole(1, 22)  # of TensorProto.DataType; the type itself is looked up in TENSOR_BITS
_WINDOW: dict[str, Rule] = {
    "kernel_shape": _SIZES,
    "strides": _SIZES,
    "dilations": _SIZES,
    "pads": _PADS,
    "auto_pad": _words("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"),
}

# Bits of a value, by TensorProto.DataType: float, uint8, int8, uint16, int16, int32, int64, bool, float16,
# double, uint4, int4.
TENSOR_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 21: 4, 22: 4}

# Operator sets: domain -> versions.
ONNX_DOMAINS = {"": range(13, 27), "com.microsoft": range(1, 2)}

# (domain, operator) -> attributes.
ONNX_OPERATORS: dict[tuple[str, str], dict[str, Rule]] = {
    **{("", name): {} for name in ("Abs", "Add", "Asinh", "Clip", "Div", "Equal", "Exp", "Floor", "Greater")},
    **{("", name): {} for name in ("GreaterOrEqual", "Less", "LessOrEqual", "Log", "MatMul", "Max", "Min")},
    **{
        ("", name): {}
        for name in ("MatMulInteger", "Mul", "Neg", "Not", "Or", "And", "Pow", "Relu", "Reshape")
    },
    **{("", name): {} for name in ("Round", "Sigmoid", "Sign", "Slice", "Sqrt", "Squeeze", "Sub", "Tanh")},
    **{("", name): {} for name in ("DynamicQuantizeLinear", "GlobalAveragePool", "Unsqueeze", "Where")},
    **{
        ("", name): {"keepdims": _FLAG, "noop_with_empty_axes": _FLAG}
        for name in ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum")
    },
    ("", "AveragePool"): _WINDOW | {"ceil_mode": _FLAG, "count_include_pad": _FLAG},
    ("", "Cast"): {"to": _TYPE, "saturate": _FLAG},
    ("", "Concat"): {"axis": _AXIS},
    ("", "Conv"): _WINDOW | {"group": Whole(1, 4096)},
    ("", "ConvInteger"): _WINDOW | {"group": Whole(1, 4096)},
    ("", "ConvTranspose"): _WINDOW | {"group": Whole(1, 4096), "output_padding": _PADS},
    ("", "DepthToSpace"): {"blocksize": _BLOCK, "mode": _words("CRD", "DCR")},
    ("", "DequantizeLinear"): {"axis": _AXIS, "block_size": Whole(0, 1 << 16)},
    ("", "Flatten"): {"axis": _AXIS},
    ("", "Gather"): {"axis": _AXIS},
    ("", "Gemm"): {"alpha": Real(1e6), "beta": Real(1e6), "transA": _FLAG, "transB": _FLAG},
    ("", "If"): {"then_branch": Subgraph(), "else_branch": Subgraph()},
    ("", "LeakyRelu"): {"alpha": Real(1e6)},
    ("", "MaxPool"): _WINDOW | {"ceil_mode": _FLAG, "storage_order": _FLAG},
    ("", "Pad"): {"mode": _words("constant", "edge", "reflect")},
    ("", "QuantizeLinear"): {"axis": _AXIS, "saturate": _FLAG, "block_size": Whole(0, 1 << 16)},
    ("", "Shape"): {"start": _AXIS, "end": _AXIS},
    ("", "Softmax"): {"axis": _AXIS},
    ("", "SpaceToDepth"): {"blocksize": _BLOCK},
    ("", "Split"): {"axis": _AXIS, "num_outputs": Whole(1, 256)},
    ("", "Transpose"): {"perm": Permutation()},
    ("com.microsoft", "MatMulNBits"): {
        "K": Whole(1, 1 << 20),
        "N": Whole(1, 1 << 20),
        "bits": Whole(2, 8),
        "block_size": Whole(16, 1024),
        "accuracy_level": Whole(0, 4),
    },
}

# Bits of a value, by the element types of OpenVINO IR.
IR_BITS = {
    "boolean": 8,
    "u8": 8,
    "i8": 8,
    "u16": 16,
    "i16": 16,
    "u32": 32,
    "i32": 32,
    "u64": 64,
    "i64": 64,
    "f16": 16,
    "f32": 32,
    "f64": 64,
    "u4": 4,
    "i4": 4,
}

_IR_TYPE = _words(*IR_BITS)
_IR_INDEX = _words("i32", "i64")
_IR_FLAG = _words("true", "false")
_BROADCAST: dict[str, Rule] = {"auto_broadcast": _words("numpy", "none")}
_IR_WINDOW: dict[str, Rule] = {
    "strides": _SIZES,
    "dilations": _SIZES,
    "pads_begin": _PADS,
    "pads_end": _PADS,
    "auto_pad": _words("explicit", "valid", "same_upper", "same_lower"),
}
_IR_BLOCK: dict[str, Rule] = {"block_size": _BLOCK, "mode": _words("depth_first", "blocks_first")}
_IR_POOL = _IR_WINDOW | {"kernel": _SIZES, "rounding_type": _words("floor", "ceil", "ceil_torch")}

# Layer type -> attributes of its ``data``; those of Const and Parameter are checked in
# decant.backends.ir_check.
IR_LAYERS: dict[str, dict[str, Rule]] = {
    **dict.fromkeys(
        ("Add", "Subtract", "Multiply", "Maximum", "Minimum", "Power", "Equal", "Greater", "Less"), _BROADCAST
    ),
    **dict.fromkeys(("GreaterEqual", "LessEqual", "LogicalAnd", "LogicalOr", "Select"), _BROADCAST),
    **{
        name: {}
        for name in ("Abs", "Asinh", "Exp", "Floor", "If", "LogicalNot", "Negative", "ReLU", "Result")
    },
    **{name: {} for name in ("Log", "PReLU", "Sigmoid", "Sign", "Slice", "Sqrt", "Squeeze", "Tanh", "Tile")},
    **{name: {} for name in ("Transpose", "Unsqueeze", "VariadicSplit")},
    **{name: {"keep_dims": _IR_FLAG} for name in ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum")},
    "AvgPool": _IR_POOL | {"exclude-pad": _IR_FLAG},
    "Broadcast": {"mode": _words("numpy", "bidirectional")},
    "Clamp": {"min": Real(3.5e38), "max": Real(3.5e38)},
    "Concat": {"axis": _AXIS},
    "Const": {},
    "Convert": {"destination_type": _IR_TYPE},
    "ConvertLike": {},
    "Convolution": _IR_WINDOW,
    "ConvolutionBackpropData": _IR_WINDOW | {"output_padding": _PADS},
    "DepthToSpace": _IR_BLOCK,
    "Divide": _BROADCAST | {"m_pythondiv": _IR_FLAG},
    "FakeQuantize": _BROADCAST | {"levels": Whole(2, 1 << 16)},
    "Gather": {"batch_dims": Whole(0, MOST_RANK)},
    "GroupConvolution": _IR_WINDOW,
    "MatMul": {"transpose_a": _IR_FLAG, "transpose_b": _IR_FLAG},
    "MaxPool": _IR_POOL | {"axis": _AXIS, "index_element_type": _IR_INDEX},
    "Pad": {"pad_mode": _words("constant", "edge", "reflect", "symmetric")},
    "Parameter": {},
    "Range": {"output_type": _IR_TYPE},
    "Reshape": {"special_zero": _IR_FLAG},
    "Round": {"mode": _words("half_to_even", "half_away_from_zero")},
    "ShapeOf": {"output_type": _IR_INDEX},
    "SoftMax": {"axis": _AXIS},
    "SpaceToDepth": _IR_BLOCK,
    "Split": {"num_splits": Whole(1, 256)},
}
