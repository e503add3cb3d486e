"""Refuses an OpenVINO IR graph that holds anything but what decant's own exports hold.

The XML file is read with expat as a stream of elements: no entities, no document type, no comments, a bounded
depth and a bounded number of layers. Layers and attributes are those of ``decant.backends.graph_limits``;
constants must lie in the .bin file and have the size of their shape. Nothing of the file is kept.
"""

import math
import re
from collections.abc import Mapping
from xml.parsers import expat

from decant.backends.graph_limits import (
    DEEPEST_SUBGRAPH,
    IR_BITS,
    IR_LAYERS,
    LARGEST_DIMENSION,
    MOST_LAYERS,
    MOST_RANK,
    Real,
    Whole,
    Words,
)
from decant.backends.onnx_check import check_numbers
from decant.backends.protobuf import WireError
from decant.errors import BundleError

# Element -> the elements that it may lie in, and its attributes.
_BODIES = ("net", "then_body", "else_body")
_ELEMENTS: dict[str, tuple[tuple[str, ...], frozenset[str]]] = {
    "net": (("",), frozenset(("name", "version"))),
    "layers": (_BODIES, frozenset()),
    "edges": (_BODIES, frozenset()),
    "rt_info": (_BODIES, frozenset()),
    "info": (("rt_info", "info"), frozenset(("name", "value"))),
    "layer": (("layers",), frozenset(("id", "name", "type", "version", "output_names"))),
    "data": (
        ("layer",),
        frozenset(attribute for rules in IR_LAYERS.values() for attribute in rules)
        | {"element_type", "shape", "offset", "size"},
    ),
    "input": (
        ("layer", "then_port_map", "else_port_map"),
        frozenset(("external_port_id", "internal_layer_id")),
    ),
    "output": (
        ("layer", "then_port_map", "else_port_map"),
        frozenset(("external_port_id", "internal_layer_id")),
    ),
    "port": (("input", "output"), frozenset(("id", "precision", "names"))),
    "dim": (("port",), frozenset()),
    "edge": (("edges",), frozenset(("from-layer", "from-port", "to-layer", "to-port"))),
    **{
        name: (("layer",), frozenset())
        for name in ("then_body", "else_body", "then_port_map", "else_port_map")
    },
}
_MOST_EDGES = 4 * MOST_LAYERS
_MOST_ELEMENTS = 64 * MOST_LAYERS
_DEEPEST = 8 + 4 * DEEPEST_SUBGRAPH
_LONGEST_TEXT = 512
_NUMBER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_VERSION = re.compile(r"opset[0-9]{1,2}", re.ASCII)
_DECLARATION = re.compile(rb'\s*<\?xml version="1\.0"( encoding="(utf|UTF)-8")?\s*\?>\s*<net[\s>]')
_BARE = re.compile(rb"\s*<net[\s>]")


def check_ir(xml: bytes, weights_size: int, where: str) -> None:
    """Raise BundleError, beginning with ``where``, for a graph that may not reach a runtime.

    ``weights_size``: the length of the .bin file in bytes.
    """
    try:
        _Reader(weights_size).read(xml)
    except (WireError, expat.ExpatError) as error:
        raise BundleError(
            f"{where}: {error}; graphs hold what decant export writes (docs/security.md)"
        ) from None


class _Reader:
    """The state of one reading: the elements that are open, the layer among them, and what was counted."""

    def __init__(self, weights_size: int) -> None:
        self._weights_size = weights_size
        self._open = [""]
        self._layers: list[str] = []
        self._counts = {"layer": 0, "edge": 0, "": 0}

    def read(self, xml: bytes) -> None:
        if b"\0" in xml or not (_DECLARATION.match(xml) or _BARE.match(xml)):
            raise WireError("the .xml file must begin with <net>, in UTF-8")
        parser = expat.ParserCreate("utf-8")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._refuse
        parser.EntityDeclHandler = self._refuse
        parser.ProcessingInstructionHandler = self._refuse
        parser.CommentHandler = self._refuse
        parser.StartCdataSectionHandler = self._refuse
        parser.Parse(xml, True)

    def _refuse(self, *_: object) -> None:
        raise WireError("document types, entities, comments and instructions are not allowed")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._counts[""] += 1
        found = _ELEMENTS.get(tag)
        if found is None or self._open[-1] not in found[0]:
            raise WireError(f"element <{tag[:80]}> in <{self._open[-1]}> is not allowed")
        if not attributes.keys() <= found[1]:
            raise WireError(f"<{tag}> with attribute {min(attributes.keys() - found[1])[:80]!r}")
        self._open.append(tag)
        if len(self._open) > _DEEPEST or self._counts[""] > _MOST_ELEMENTS:
            raise WireError("elements nested too deep, or too many")
        if tag == "layer":
            self._layer(attributes)
        elif tag == "data":
            self._data(attributes)
        elif tag == "edge":
            self._count("edge", _MOST_EDGES)
            if any(not _NUMBER.fullmatch(value) for value in attributes.values()):
                raise WireError("an edge whose ends are not numbers")

    def _end(self, tag: str) -> None:
        self._open.pop()
        if tag == "layer":
            self._layers.pop()

    def _count(self, what: str, most: int) -> None:
        self._counts[what] += 1
        if self._counts[what] > most:
            raise WireError(f"more than {most} {what}s")

    def _layer(self, attributes: Mapping[str, str]) -> None:
        self._count("layer", MOST_LAYERS)
        kind, version = attributes.get("type", ""), attributes.get("version", "")
        if kind not in IR_LAYERS or not _VERSION.fullmatch(version):
            raise WireError(f"layer {kind[:80]!r} of {version[:80]!r} is not allowed")
        if not _NUMBER.fullmatch(attributes.get("id", "")) or len(attributes.get("name", "")) > _LONGEST_TEXT:
            raise WireError(f"layer {kind}: its id or name is not valid")
        self._layers.append(kind)
        if self._layers.count("If") > DEEPEST_SUBGRAPH:
            raise WireError(f"graphs nested deeper than {DEEPEST_SUBGRAPH}")

    def _data(self, attributes: Mapping[str, str]) -> None:
        kind = self._layers[-1]
        if kind == "Const":
            return self._constant(attributes)
        if kind == "Parameter":
            return _parameter(attributes)
        rules = IR_LAYERS[kind]
        for name, value in attributes.items():
            what = f"layer {kind}: attribute {name!r}"
            rule = rules.get(name)
            if isinstance(rule, Words):
                if value not in rule.words:
                    raise WireError(f"{what} is {value[:80]!r}")
            elif isinstance(rule, Whole):
                check_numbers(_numbers(value, rule.most, what), rule, what)
            elif isinstance(rule, Real):
                _check_real(value, rule, what)
            else:
                raise WireError(f"{what} is not allowed")
        return None

    def _constant(self, attributes: Mapping[str, str]) -> None:
        if set(attributes) != {"element_type", "shape", "offset", "size"}:
            raise WireError("layer Const: element_type, shape, offset and size expected")
        bits = IR_BITS.get(attributes["element_type"])
        shape = _numbers(attributes["shape"], MOST_RANK, "layer Const: shape")
        offset, size = (_numbers(attributes[key], 1, f"layer Const: {key}") for key in ("offset", "size"))
        if bits is None or any(not 0 <= n <= LARGEST_DIMENSION for n in shape) or not offset or not size:
            raise WireError(f"layer Const of {attributes['element_type'][:80]!r} {shape} is not valid")
        if size[0] != (math.prod(shape) * bits + 7) // 8:
            raise WireError(f"layer Const: {size[0]} bytes are not the size of its shape {shape}")
        if offset[0] < 0 or offset[0] + size[0] > self._weights_size:
            raise WireError(
                f"layer Const: bytes {offset[0]} to {offset[0] + size[0]} are not in the .bin file"
            )


def _parameter(attributes: Mapping[str, str]) -> None:
    if set(attributes) != {"element_type", "shape"} or attributes["element_type"] not in IR_BITS:
        raise WireError("layer Parameter: element_type and shape expected")
    sizes = attributes["shape"].replace("?", "-1")
    check_numbers(
        _numbers(sizes, MOST_RANK, "layer Parameter: shape"),
        Whole(-1, LARGEST_DIMENSION, MOST_RANK),
        "layer Parameter: shape",
    )


def _numbers(value: str, most: int, what: str) -> list[int]:
    """The numbers of a list with commas; none of an empty text."""
    parts = [part.strip() for part in value.split(",", most + 1)] if value.strip() else []
    if len(parts) > most or any(not _NUMBER.fullmatch(part) for part in parts):
        raise WireError(f"{what} is {value[:80]!r}; at most {most} whole numbers expected")
    return [int(part) for part in parts]


def _check_real(value: str, rule: Real, what: str) -> None:
    try:
        number = float(value[:64])
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or abs(number) > rule.largest:
        raise WireError(f"{what} is {value[:80]!r}; at most {rule.largest} expected")
