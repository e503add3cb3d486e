"""Building and reading ONNX graphs: one small builder, whose output depends on its inputs alone.

Graphs are written node by node rather than traced, so that every name, operator and byte is chosen here: the
same checkpoint gives the same file, on any version of PyTorch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
IR_VERSION = 10
CONTRIB_DOMAIN = "com.microsoft"
_DTYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}


class GraphBuilder:
    """Collects nodes and constants of a graph with one output and, unless ``input`` adds more, one input.

    ``branch`` begins a subgraph, which ``choice`` puts behind an ``If``. All constants lie in the outermost
    graph, where both branches read them.
    """

    def __init__(self, name: str, input_name: str, dtype: str, shape: Sequence[int | str]) -> None:
        self.name = name
        self._inputs = [helper.make_tensor_value_info(input_name, _DTYPES[dtype], list(shape))]
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._names = {input_name}
        self._prefix = ""

    @classmethod
    def continuing(cls, model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> "GraphBuilder":
        """A graph with the inputs of ``model`` and those of its ``nodes``, with the constants they read."""
        graph = cls.__new__(cls)
        read = {name for node in nodes for name in node.input}
        graph.name = model.graph.name
        graph._inputs, graph._nodes, graph._prefix = list(model.graph.input), list(nodes), ""
        graph._constants = {t.name: t for t in model.graph.initializer if t.name in read}
        graph._names = {value.name for value in graph._inputs} | set(graph._constants)
        graph._names |= {name for node in nodes for name in node.output}
        return graph

    def branch(self, name: str) -> "GraphBuilder":
        """A subgraph for ``choice``: it reads the tensors and constants of this graph; names of its own
        tensors, not of its constants, begin with ``name`` and a point.
        """
        graph = GraphBuilder.__new__(GraphBuilder)
        graph.name, graph._prefix = name, f"{name}."
        graph._inputs, graph._nodes = [], []
        graph._constants, graph._names = self._constants, self._names
        return graph

    def choice(
        self, condition: str, then: tuple["GraphBuilder", str], other: tuple["GraphBuilder", str], name: str
    ) -> str:
        """``name``: the uint8 tensor that branch ``then`` gives where ``condition`` holds, else ``other``."""
        branches = {
            key: helper.make_graph(
                branch._nodes,
                branch.name,
                [],
                [helper.make_tensor_value_info(output, TensorProto.UINT8, None)],
            )
            for key, (branch, output) in (("then_branch", then), ("else_branch", other))
        }
        return self.node("If", [condition], name, **branches)

    def has(self, name: str) -> bool:
        """Whether there is a constant of that name."""
        return name in self._constants

    def value(self, name: str) -> np.ndarray:
        """The constant ``name``."""
        return numpy_helper.to_array(self._constants[name])

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> str:
        """Add a further input and return its name."""
        self._take(name)
        self._inputs.append(helper.make_tensor_value_info(name, _DTYPES[dtype], list(shape)))
        return name

    def constant(self, name: str, value: Any) -> str:
        """Add ``value`` (anything numpy takes; its dtype decides) as the constant ``name`` and return the
        name.
        """
        self._take(name)
        self._constants[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def node(self, op: str, inputs: Sequence[str], name: str, *, domain: str = "", **attributes: Any) -> str:
        """Add a node whose one output is ``name`` and return the name, in a branch with its prefix."""
        (output,) = self.nodes(op, inputs, [name], domain=domain, **attributes)
        return output

    def nodes(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str], *, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Add one node with several outputs and return their names."""
        outputs = [self._full(name) for name in outputs]
        for name in outputs:
            self._take(name)
        node = helper.make_node(op, list(inputs), list(outputs), name=outputs[0], domain=domain, **attributes)
        self._nodes.append(node)
        return outputs

    def reshape(self, x: str, shape: Sequence[int], name: str) -> str:
        """``x`` in the constant shape ``shape`` (-1: what is left)."""
        sizes = self.constant(f"{self._full(name)}.shape", np.array(shape, np.int64))
        return self.node("Reshape", [x, sizes], name)

    def model(self, output: str, dtype: str, shape: Sequence[int | str]) -> onnx.ModelProto:
        """The finished, checked model, giving tensor ``output``."""
        result = helper.make_tensor_value_info(output, _DTYPES[dtype], list(shape))
        graph = helper.make_graph(
            self._nodes, self.name, self._inputs, [result], list(self._constants.values())
        )
        return finish(graph)

    def _full(self, name: str) -> str:
        return name if name.startswith(self._prefix) else f"{self._prefix}{name}"

    def _take(self, name: str) -> None:
        if name in self._names:
            raise ValueError(f"graph {self.name}: two tensors are called {name!r}")
        self._names.add(name)


def finish(graph: onnx.GraphProto) -> onnx.ModelProto:
    """The checked model of ``graph``, naming the operator sets that its nodes use."""
    opsets = [helper.make_opsetid("", OPSET)]
    if any(node.domain == CONTRIB_DOMAIN for node in graph.node):
        opsets.append(helper.make_opsetid(CONTRIB_DOMAIN, 1))
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="decant")
    onnx.checker.check_model(model)
    return model


def serialise(model: onnx.ModelProto) -> bytes:
    """The bytes of ``model``; equal models give equal bytes. Raises ValueError above protobuf's 2 GB."""
    try:
        return bytes(model.SerializeToString(deterministic=True))
    except Exception as error:  # protobuf's error type differs between its implementations
        raise ValueError(f"graph {model.graph.name} does not fit in one ONNX file of 2 GB: {error}") from None


def nodes_of(model: onnx.ModelProto, name: str) -> list[onnx.NodeProto]:
    """The nodes that the tensor ``name`` is computed by, in their order."""
    wanted, found = {name}, []
    for node in reversed(model.graph.node):
        if wanted & set(node.output):
            found.append(node)
            wanted |= set(node.input)
    return found[::-1]


def tensor_shape(value: onnx.ValueInfoProto) -> list[int | str]:
    """Declared shape; free dimensions are their names."""
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Constant tensors of the graph, by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def with_output(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """``model`` giving the float32 tensor ``name`` alone, whatever follows it left out."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.output[:]
    changed.graph.output.append(helper.make_empty_tensor_value_info(name))
    changed.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    return changed


__all__ = [
    "CONTRIB_DOMAIN",
    "IR_VERSION",
    "OPSET",
    "GraphBuilder",
    "constants",
    "finish",
    "nodes_of",
    "serialise",
    "tensor_shape",
    "with_output",
]
