"""Refuses an ONNX graph that holds anything but what decant's own exports hold, before a runtime reads it.

The rules are those of ``decant.backends.graph_limits``: operators of two domains with bounded attributes,
dense tensors whose data lie in the file and have the size of their shape. External data, sparse tensors,
functions, training graphs, runtime settings and unknown fields are refused. Field numbers are those of
onnx.proto3.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

from decant.backends.graph_limits import (
    DEEPEST_SUBGRAPH,
    LARGEST_DIMENSION,
    MOST_NODES,
    MOST_RANK,
    MOST_TENSORS,
    ONNX_DOMAINS,
    ONNX_OPERATORS,
    TENSOR_BITS,
    Permutation,
    Real,
    Rule,
    Subgraph,
    Whole,
    Words,
)
from decant.backends.protobuf import BYTES, FIXED32, FIXED64, VARINT, WireError, fields, numbers, signed, text
from decant.errors import BundleError

_MODEL = {1: VARINT, 2: BYTES, 3: BYTES, 4: BYTES, 5: VARINT, 6: BYTES, 7: BYTES, 8: BYTES, 14: BYTES}
_ENTRY = {1: BYTES, 2: BYTES}
_OPSET = {1: BYTES, 2: VARINT}
_GRAPH = {1: BYTES, 2: BYTES, 5: BYTES, 10: BYTES, 11: BYTES, 12: BYTES, 13: BYTES}
_NODE = {1: BYTES, 2: BYTES, 3: BYTES, 4: BYTES, 5: BYTES, 6: BYTES, 7: BYTES}
_ATTRIBUTE = {1: BYTES, 2: FIXED32, 3: VARINT, 4: BYTES, 6: BYTES, 8: VARINT, 13: BYTES, 20: VARINT}
_TENSOR = {
    1: VARINT,
    2: VARINT,
    4: FIXED32,
    5: VARINT,
    7: VARINT,
    8: BYTES,
    9: BYTES,
    10: FIXED64,
    11: VARINT,
    12: BYTES,
    14: VARINT,
}
_INFO = {1: BYTES, 2: BYTES, 3: BYTES}
_TYPE = {1: BYTES, 6: BYTES}
_TENSOR_TYPE = {1: VARINT, 2: BYTES}
_SHAPE = {1: BYTES}
_DIMENSION = {1: VARINT, 2: BYTES, 3: BYTES}

# Fields that are refused with a reason of their own.
_REASONS = {
    ("model", 20): "training graphs",
    ("model", 25): "functions",
    ("graph", 15): "sparse initializers",
    ("attribute", 5): "tensors in attributes",
    ("attribute", 11): "lists of graphs in attributes",
    ("attribute", 22): "sparse tensors in attributes",
    ("attribute", 23): "sparse tensors in attributes",
    ("tensor", 13): "external data",
}
# AttributeProto.AttributeType -> the field that holds the value.
_VALUE_FIELDS = {1: 2, 2: 3, 3: 4, 5: 6, 7: 8}
_INTEGERS = frozenset((2, 3, 4, 5, 6, 9, 10, 21, 22))  # types whose values int32_data may hold
_MOST_ATTRIBUTES = 16
_CONTINUED = bytes(range(128, 256))  # bytes of a varint that others follow


@dataclass
class _Counts:
    """Of one file, so that subgraphs cannot multiply what the limits bound."""

    nodes: int = 0
    tensors: int = 0
    domains: dict[str, int] = field(default_factory=dict)


def check_onnx(data: bytes, where: str) -> None:
    """Raise BundleError, beginning with ``where``, for a graph that may not reach a runtime."""
    try:
        _model(memoryview(data))
    except WireError as error:
        raise BundleError(
            f"{where}: {error}; graphs hold what decant export writes (docs/security.md)"
        ) from None


def _fields(
    data: int | memoryview, kinds: dict[int, int], repeated: tuple[int, ...], what: str
) -> Iterator[tuple[int, int | memoryview]]:
    """``fields``, one at a time: a hostile file has more of them than memory holds."""
    assert isinstance(data, memoryview)
    try:
        yield from fields(data, kinds, repeated, what)
    except WireError as error:
        for (message, number), reason in _REASONS.items():
            if message == what and f"{what} with field {number}," in str(error):
                raise WireError(f"{reason} are not allowed") from None
        raise


def _whole(value: int | memoryview) -> int:
    assert isinstance(value, int)
    return signed(value)


def _size(value: int | memoryview) -> int:
    assert isinstance(value, memoryview)
    return len(value)


def _model(data: memoryview) -> None:
    counts, graph = _Counts(), None
    for number, value in _fields(data, _MODEL, (8, 14), "model"):
        if number == 7:
            graph = value
        elif number == 8:
            found = dict(_fields(value, _OPSET, (), "operator set"))
            domain = text(found.get(1, memoryview(b"")), "domain")
            version = _whole(found.get(2, 0))
            if domain in counts.domains or version not in ONNX_DOMAINS.get(domain, ()):
                raise WireError(f"operator set {domain!r} version {version} is not allowed")
            counts.domains[domain] = version
        elif number == 14:
            entry = dict(_fields(value, _ENTRY, (), "metadata"))
            # ONNX Runtime reads settings of a session from this key where its environment says so.
            if text(entry.get(1, memoryview(b"")), "metadata's key") == "ort_config":
                raise WireError("settings of a runtime are not allowed")
    if graph is None or "" not in counts.domains:
        raise WireError("no graph, or no operator set")
    _graph(graph, counts, 0)


def _graph(data: int | memoryview, counts: _Counts, depth: int) -> None:
    if depth > DEEPEST_SUBGRAPH:
        raise WireError(f"graphs nested deeper than {DEEPEST_SUBGRAPH}")
    names: set[str] = set()
    for number, value in _fields(data, _GRAPH, (1, 5, 11, 12, 13), "graph"):
        if number == 1:
            counts.nodes += 1
            if counts.nodes > MOST_NODES:
                raise WireError(f"more than {MOST_NODES} nodes")
            _node(value, counts, depth)
        elif number == 5:
            name = _tensor(value)
            if name in names:
                raise WireError(f"two initializers are called {name!r}")
            names.add(name)
        elif number in (11, 12, 13):
            _value_info(value)
        if number not in (1, 2, 10):
            counts.tensors += 1
            if counts.tensors > MOST_TENSORS:
                raise WireError(f"more than {MOST_TENSORS} tensors")


def _node(data: int | memoryview, counts: _Counts, depth: int) -> None:
    operator = domain = ""
    attributes: list[int | memoryview] = []
    links = 0
    for number, value in _fields(data, _NODE, (1, 2, 5), "node"):
        if number == 4:
            operator = text(value, "operator")
        elif number == 7:
            domain = text(value, "domain")
        elif number == 5:
            attributes.append(value)
        else:
            links += 1
        if links > 2 * MOST_TENSORS or len(attributes) > _MOST_ATTRIBUTES:
            raise WireError(f"operator {operator!r}: too many inputs or attributes")
    rules = ONNX_OPERATORS.get((domain, operator))
    if rules is None or domain not in counts.domains:
        raise WireError(f"operator {operator!r} of domain {domain!r} is not allowed")
    given: set[str] = set()
    for attribute in attributes:
        name = _attribute(attribute, operator, rules, counts, depth)
        if name in given:
            raise WireError(f"operator {operator}: attribute {name!r} is given twice")
        given.add(name)


def _attribute(
    data: int | memoryview, operator: str, rules: dict[str, Rule], counts: _Counts, depth: int
) -> str:
    name, kind = "", 0
    values: dict[int, list[int | memoryview]] = {}
    for number, value in _fields(data, _ATTRIBUTE, (8,), "attribute"):
        if number == 1:
            name = text(value, "attribute's name")
        elif number == 20:
            kind = _whole(value)
        elif number != 13:
            found = values.setdefault(number, [])
            if len(found) >= MOST_RANK:
                raise WireError(f"operator {operator}: an attribute of too many numbers")
            found.append(value)
    what = f"operator {operator}: attribute {name!r}"
    rule = rules.get(name)
    if rule is None:
        raise WireError(f"{what} is not allowed")
    if kind not in _VALUE_FIELDS or set(values) - {_VALUE_FIELDS[kind]}:
        raise WireError(f"{what} is not of one type")
    parts = values.get(_VALUE_FIELDS[kind], [])
    if isinstance(rule, Subgraph):
        if kind != 5 or len(parts) != 1:
            raise WireError(f"{what} must be a graph")
        _graph(parts[0], counts, depth + 1)
    elif kind == 3 and isinstance(rule, Words):
        word = text(parts[0], what) if parts else ""
        if word not in rule.words:
            raise WireError(f"{what} is {word!r}; one of {', '.join(sorted(rule.words))} expected")
    elif kind == 1 and isinstance(rule, Real):
        real = float(struct.unpack("<f", parts[0])[0]) if parts else 0.0  # type: ignore[arg-type]
        if not math.isfinite(real) or abs(real) > rule.largest:
            raise WireError(f"{what} is {real}; at most {rule.largest} expected")
    elif kind in (2, 7) and isinstance(rule, Whole | Permutation):
        most = rule.most if isinstance(rule, Whole) else MOST_RANK
        if len(parts) > most:
            raise WireError(f"{what}: more than {most} numbers")
        whole = list(chain.from_iterable(numbers(part, most, what) for part in parts)) or [0] * (kind == 2)
        check_numbers(whole, rule, what)
    else:
        raise WireError(f"{what} is of another type than expected")
    return name


def check_numbers(found: list[int], rule: Whole | Permutation, what: str) -> None:
    """Raise WireError for numbers that break ``rule``."""
    if isinstance(rule, Permutation):
        if len(found) > MOST_RANK or sorted(found) != list(range(len(found))):
            raise WireError(f"{what} is not a permutation")
        return
    if len(found) > rule.most or any(not rule.low <= number <= rule.high for number in found):
        shown = str(found[0]) if len(found) == 1 else str(found[:8])
        raise WireError(f"{what} is {shown}; {rule.low} to {rule.high} expected")


def _tensor(data: int | memoryview) -> str:
    dims: list[int] = []
    name, kind, typed = "", 0, 0
    raw: int | None = None
    counted = 0
    for number, value in _fields(data, _TENSOR, (1, 4, 5, 7, 10, 11), "tensor"):
        if number == 1:
            dims += numbers(value, MOST_RANK, "tensor's shape")
            if len(dims) > MOST_RANK:
                raise WireError(f"a tensor of more than {MOST_RANK} dimensions")
        elif number == 2:
            kind = _whole(value)
        elif number == 8:
            name = text(value, "tensor's name")
        elif number == 9:
            raw = _size(value)
        elif number == 14:
            if value:
                raise WireError("external data are not allowed")
        elif number != 12:
            if typed not in (0, number):
                raise WireError(f"tensor {name!r}: values of two types")
            typed = number
            counted += _count(number, value)
    bits = TENSOR_BITS.get(kind)
    if not name or bits is None:
        raise WireError(f"tensor {name!r} of type {kind}, which is not allowed")
    if any(not 0 <= size <= LARGEST_DIMENSION for size in dims):
        raise WireError(f"tensor {name!r}: shape {dims} is not valid")
    count = math.prod(dims)
    if raw is not None and not typed:
        fits = raw == (count * bits + 7) // 8
    else:
        allowed = {4: kind == 1, 5: kind in _INTEGERS, 7: kind == 7, 10: kind == 11, 11: False}
        packed = (count + 1) // 2 if bits == 4 else count
        fits = raw is None and counted == packed and (not typed or allowed[typed])
    if not fits:
        raise WireError(f"tensor {name!r}: its data do not fit its shape {dims}")
    return name


def _count(number: int, value: int | memoryview) -> int:
    """How many values one occurrence of a typed field holds."""
    if isinstance(value, int):
        return 1
    width = {4: 4, 10: 8}.get(number)
    if width is None:
        if len(value) and value[-1] >= 128:
            raise WireError("a number that does not end")
        return len(bytes(value).translate(None, _CONTINUED))
    if len(value) % width:
        raise WireError("values are cut off")
    return len(value) // width


def _value_info(data: int | memoryview) -> None:
    found = dict(_fields(data, _INFO, (), "tensor's description"))
    name = text(found.get(1, memoryview(b"")), "tensor's name")
    if 2 not in found:
        return
    kinds = dict(_fields(found[2], _TYPE, (), "type"))
    if 1 not in kinds:
        raise WireError(f"{name!r} is not a dense tensor")
    tensor = dict(_fields(kinds[1], _TENSOR_TYPE, (), "tensor type"))
    if tensor.get(1, 0) not in TENSOR_BITS:
        raise WireError(f"{name!r} is of type {tensor.get(1, 0)}, which is not allowed")
    sizes = _fields(tensor.get(2, memoryview(b"")), _SHAPE, (1,), "shape")
    for rank, (_, size) in enumerate(sizes):
        if rank >= MOST_RANK:
            raise WireError(f"{name!r} has more than {MOST_RANK} dimensions")
        dimension = dict(_fields(size, _DIMENSION, (), "dimension"))
        if not 0 <= _whole(dimension.get(1, 0)) <= LARGEST_DIMENSION:
            raise WireError(f"{name!r} has a dimension that is not valid")
