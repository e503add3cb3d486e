"""Hostile graphs: each maker changes a good graph; its docstring is the reason. None may reach a runtime."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from attack_table import AttackTable
from decant.backends.graph_check import check_graph
from decant.backends.ir_check import check_ir
from decant.backends.onnx_check import check_onnx
from decant.bundles.bundle import list_bundles
from decant.errors import BundleError
from onnx import TensorProto, helper, numpy_helper

ONNX_ATTACKS, IR_ATTACKS = AttackTable(), AttackTable()
ARTIFACTS = Path(__file__).parents[2] / "artifacts/decant_bundles"


def good() -> onnx.ModelProto:
    """Conv -> DepthToSpace -> Transpose, as small as can be."""
    info = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[1, 1], pads=[0, 0, 0, 0]),
        helper.make_node("DepthToSpace", ["c"], ["d"], blocksize=2, mode="CRD"),
        helper.make_node("Transpose", ["d"], ["y"], perm=[0, 2, 3, 1]),
    ]
    weight = numpy_helper.from_array(np.ones((4, 1, 1, 1), np.float32), "w")
    inputs = [info("x", TensorProto.FLOAT, ["n", 1, "h", "v"])]
    outputs = [info("y", TensorProto.FLOAT, ["n", "a", "b", 1])]
    graph = helper.make_graph(nodes, "good", inputs, outputs, [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def attribute(model: onnx.ModelProto, name: str) -> onnx.AttributeProto:
    return next(a for node in model.graph.node for a in node.attribute if a.name == name)


@ONNX_ATTACKS.attack("sparse initializers are not allowed")
def sparse_initializer(model: onnx.ModelProto) -> None:
    """ONNX Runtime 1.20 to 1.26 reads any file that its values name."""
    values = TensorProto(name="s", dims=[1], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    values.external_data.add(key="location", value="/etc/passwd")
    indices = numpy_helper.from_array(np.array([0]), "i")
    model.graph.sparse_initializer.add(values=values, indices=indices, dims=[4])


@ONNX_ATTACKS.attack("external data are not allowed")
def external_initializer(model: onnx.ModelProto) -> None:
    """Weights in a file that the graph names."""
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


@ONNX_ATTACKS.attack("external data are not allowed")
def external_mark_without_a_place(model: onnx.ModelProto) -> None:
    """Readers differ in what they take from a tensor that is marked and names nothing."""
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


@ONNX_ATTACKS.attack("attribute 'blocksize' is 4294967296; 1 to 64 expected")
def block_of_two_to_the_32(model: onnx.ModelProto) -> None:
    """Divides by zero in ONNX Runtime before 1.32, which ends the process."""
    attribute(model, "blocksize").i = 1 << 32


@ONNX_ATTACKS.attack("attribute 'blocksize' is 0; 1 to 64 expected")
def block_of_zero(model: onnx.ModelProto) -> None:
    """The same division, written openly."""
    attribute(model, "blocksize").i = 0


@ONNX_ATTACKS.attack("attribute 'blocksize' is -2;")
def block_below_zero(model: onnx.ModelProto) -> None:
    """A size that is negative becomes huge where it is taken as unsigned."""
    attribute(model, "blocksize").i = -2


@ONNX_ATTACKS.attack("attribute 'kernel_shape'")
def kernel_of_a_gigabyte(model: onnx.ModelProto) -> None:
    """Products of sizes wrap."""
    attribute(model, "kernel_shape").ints[:] = [1 << 31, 1 << 31]


@ONNX_ATTACKS.attack("attribute 'pads'")
def pads_below_zero(model: onnx.ModelProto) -> None:
    """Crops where a runtime counts on padding."""
    attribute(model, "pads").ints[:] = [-(1 << 40), 0, 0, 0]


@ONNX_ATTACKS.attack("an attribute of too many numbers")
def pads_of_a_million(model: onnx.ModelProto) -> None:
    """A list whose length nobody looks at."""
    attribute(model, "pads").ints[:] = [0] * 1_000_000


@ONNX_ATTACKS.attack("is not a permutation")
def axis_taken_twice(model: onnx.ModelProto) -> None:
    """Writes one axis twice and another never."""
    attribute(model, "perm").ints[:] = [0, 2, 2, 1]


@ONNX_ATTACKS.attack("attribute 'mode' is 'XYZ'")
def mode_unknown(model: onnx.ModelProto) -> None:
    """What a runtime does with a word that it does not know is its own affair."""
    attribute(model, "mode").s = b"XYZ"


@ONNX_ATTACKS.attack("operator 'Loop' of domain '' is not allowed")
def loop(model: onnx.ModelProto) -> None:
    """A program that never ends."""
    model.graph.node[0].op_type = "Loop"


@ONNX_ATTACKS.attack("is not allowed")
def operator_of_its_own_domain(model: onnx.ModelProto) -> None:
    """Code of a library that happens to be registered."""
    model.graph.node[0].domain = "com.example"


@ONNX_ATTACKS.attack("operator set 'com.example' version 1 is not allowed")
def operator_set_unknown(model: onnx.ModelProto) -> None:
    """The same, announced."""
    model.opset_import.add(domain="com.example", version=1)


@ONNX_ATTACKS.attack("functions are not allowed")
def function(model: onnx.ModelProto) -> None:
    """An operator may stand for others that no table names."""
    model.functions.add(name="Conv", domain="")


@ONNX_ATTACKS.attack("training graphs are not allowed")
def training(model: onnx.ModelProto) -> None:
    """A second graph that nobody looks at."""
    model.training_info.add()


@ONNX_ATTACKS.attack("settings of a runtime are not allowed")
def runtime_settings(model: onnx.ModelProto) -> None:
    """ONNX Runtime can take its settings from a graph."""
    model.metadata_props.add(key="ort_config", value="{}")


@ONNX_ATTACKS.attack("its data do not fit its shape")
def tensor_of_an_exabyte(model: onnx.ModelProto) -> None:
    """A shape of 2^62 values with four of them given."""
    model.graph.initializer[0].dims[:] = [1 << 31 >> 1, 1 << 31 >> 1, 1, 1]


@ONNX_ATTACKS.attack("is not valid")
def dimension_below_zero(model: onnx.ModelProto) -> None:
    """Two negative sizes make a positive product."""
    model.graph.initializer[0].dims[:] = [-4, -1, 1, 1]


@ONNX_ATTACKS.attack("which is not allowed")
def tensor_of_texts(model: onnx.ModelProto) -> None:
    """Texts have a layout of their own."""
    model.graph.initializer[0].data_type = TensorProto.STRING


@ONNX_ATTACKS.attack("two initializers are called 'w'")
def two_weights_of_one_name(model: onnx.ModelProto) -> None:
    """Which of the two counts depends on the reader."""
    model.graph.initializer.append(model.graph.initializer[0])


@ONNX_ATTACKS.attack("graphs nested deeper than 2")
def branches_without_end(model: onnx.ModelProto) -> None:
    """Readers that recurse run out of stack."""
    graph = helper.make_graph([], "leaf", [], [])
    for _ in range(10):
        node = helper.make_node("If", ["x"], ["y"], then_branch=graph)
        graph = helper.make_graph([node], "branch", [], [])
    model.graph.node[0].CopyFrom(graph.node[0])


@ONNX_ATTACKS.attack("more than 4096 nodes")
def nodes_without_end(model: onnx.ModelProto) -> None:
    """Optimisers are quadratic in the number of nodes."""
    model.graph.node.extend([model.graph.node[-1]] * 5000)


@ONNX_ATTACKS.attack("has a dimension that is not valid")
def input_beyond_sizes(model: onnx.ModelProto) -> None:
    """A declared size above 2^31."""
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1 << 60


def test_the_graph_under_attack_is_good():
    check_onnx(good().SerializeToString(), "graph")


@pytest.mark.parametrize("name", ONNX_ATTACKS)
def test_onnx_graphs_are_refused(name: str):
    maker, words = ONNX_ATTACKS[name]
    model = good()
    maker(model)
    with pytest.raises(BundleError) as caught:
        check_onnx(model.SerializeToString(), "bundle: synthesis.float")
    assert str(caught.value).startswith("bundle: synthesis.float: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no graph"),
        (b"\xff" * 40, "that does not end"),
        (b"\x3a\xff\xff\xff\xff\x0f", "reaches beyond the end"),
        (b"\x0b\x0c", "wire type 3"),
        (b"\x3a\x00\x3a\x00", "given twice"),
        (b"\x00\x00", "field 0"),
        (b"\x3d\x00\x00\x00\x00", "wire type 5"),
    ],
)
def test_bytes_that_are_no_graph(data: bytes, words: str):
    with pytest.raises(BundleError, match=words):
        check_onnx(data, "graph")


def test_every_cut_and_every_flipped_byte_is_refused_or_read():
    data = good().SerializeToString()
    for at in range(len(data)):
        for changed in (data[:at], data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]):
            try:
                check_onnx(changed, "graph")
            except BundleError as error:
                assert "\n" not in str(error)  # noqa: PT017


def test_memory_is_bounded():
    """Fields of two bytes end at the limit on nodes, before they are held."""
    nodes = b"\x0a\x00" * (1 << 19)
    data = b"\x42\x02\x10\x14" + b"\x3a" + varint(len(nodes)) + nodes
    tracemalloc.start()
    with pytest.raises(BundleError, match="is not allowed"):
        check_onnx(data, "graph")
    infos = b"\x5a\x00" * (1 << 19)
    with pytest.raises(BundleError):
        check_onnx(b"\x42\x02\x10\x14" + b"\x3a" + varint(len(infos)) + infos, "graph")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * len(data)  # the two inputs themselves, and little else


def varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


# ---- OpenVINO ----

CONST = '<data element_type="f32" shape="4, 1" offset="0" size="16" />'
BLOCK = '<data block_size="2" mode="depth_first" />'
GOOD_IR = f"""<?xml version="1.0"?>
<net name="decant" version="11"><layers>
<layer id="0" name="x" type="Parameter" version="opset1"><data shape="1,4,?,?" element_type="f32" /></layer>
<layer id="1" name="w" type="Const" version="opset1">{CONST}</layer>
<layer id="2" name="d" type="DepthToSpace" version="opset1">{BLOCK}</layer>
</layers><edges><edge from-layer="0" from-port="0" to-layer="2" to-port="0" /></edges></net>"""
BILLION = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 10))


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


IR_CHANGES = {
    "entities that multiply": (
        replaced("<net", f'<!DOCTYPE net [<!ENTITY a0 "x">{BILLION}]>\n<net'),
        "must begin with <net>",
    ),
    "a document type within": (replaced("<edges>", "<!DOCTYPE net [ ]><edges>"), "not well-formed"),
    "an entity that names a file": (
        replaced('name="decant"', 'name="&file;"'),
        "undefined entity",
    ),
    "a comment, which readers may see differently": (replaced("<edges>", "<!-- --><edges>"), "not allowed"),
    "an instruction to the reader": (replaced("<edges>", "<?include file?><edges>"), "not allowed"),
    "weights beyond the file": (replaced('offset="0"', 'offset="1"'), "are not in the .bin file"),
    "weights before the file": (replaced('offset="0"', 'offset="-16"'), "are not in the .bin file"),
    "a shape larger than its weights": (replaced("4, 1", "4, 1000"), "not the size of its shape"),
    "a shape whose size wraps": (
        replaced("4, 1", "2147483647,2147483647,2147483647"),
        "not the size of its shape",
    ),
    "a block of 2^32": (replaced('block_size="2"', 'block_size="4294967296"'), "1 to 64 expected"),
    "a block that is no number": (replaced('block_size="2"', 'block_size="two"'), "whole numbers expected"),
    "a layer of an extension": (replaced('type="DepthToSpace"', 'type="Shell"'), "is not allowed"),
    "an operator set of an extension": (
        replaced(f'version="opset1">{BLOCK}', f'version="extension">{BLOCK}'),
        "is not allowed",
    ),
    "a layer that keeps state": (replaced('type="DepthToSpace"', 'type="ReadValue"'), "is not allowed"),
    "an attribute that names a file": (replaced("<edges>", '<edges file="/etc/passwd">'), "with attribute"),
    "an element unknown": (replaced("<edges>", "<include /><edges>"), "element <include>"),
    "elements nested without end": (replaced("<edges>", "<rt_info>" + "<info>" * 5000), "nested too deep"),
    "another encoding": (lambda text: text.replace("?>", ' encoding="utf-7"?>', 1), "in UTF-8"),
    "no end": (lambda text: text[:-10], "graph: "),
}


def test_the_ir_graph_under_attack_is_good():
    check_ir(GOOD_IR.encode(), 16, "graph")


@pytest.mark.parametrize("reason", IR_CHANGES)
def test_ir_graphs_are_refused(reason: str):
    change, words = IR_CHANGES[reason]
    with pytest.raises(BundleError) as caught:
        check_ir(change(GOOD_IR).encode(), 16, "graph")
    assert words in str(caught.value)


# ---- good graphs ----


def test_graphs_of_all_shipped_bundles_pass():
    found = list_bundles(ARTIFACTS)
    assert {"full", "lite", "nano", "small"} <= {bundle.name for bundle in found}
    for bundle in found:
        for graph in bundle.graphs:
            if all(entry.of is None for entry in graph.files):
                check_graph(graph.runtime, [bundle.read(entry) for entry in graph.files], graph.label)


def test_typed_values_are_counted(tiny: Path):
    """Other writers keep small tensors in typed fields; their number must be that of the shape."""
    model = good()
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [4, 1, 1, 1], [1.0] * 4)
    assert not tensor.raw_data
    model.graph.initializer[0].CopyFrom(tensor)
    check_onnx(model.SerializeToString(), "graph")
    model.graph.initializer[0].float_data.append(1.0)
    with pytest.raises(BundleError, match="do not fit its shape"):
        check_onnx(model.SerializeToString(), "graph")
    check_onnx((tiny / "synthesis.int8.onnx").read_bytes(), "graph")
