"""New limits for the int8 graphs of a bundle, chosen by measured loss; their weights stay.

``requantize`` makes new int8 weights. Where only a few pictures lose, new limits are the smaller change: the
graph itself says what its mixed latents reach, and what it loses without its float branch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import onnx
from decant.backends.session import Session
from decant.backends.sessions import create_session
from decant.bundles.bundle import Bundle
from decant.formats.manifest import Graph, TensorSpec
from onnx import numpy_helper

from decant_export.common.gate import session_of
from decant_export.common.onnx_graph import serialise
from decant_export.common.variants import Variant, make
from decant_export.errors import ExportError
from decant_export.families.codec.judging import Files
from decant_export.families.codec.limits import Limits
from decant_export.families.codec.recorder import Recorder

MIXED_LATENTS = "latents.0"
_UPPER, _LOWER = "overflow.upper", "overflow.lower"


class LimitedGraph:
    """The int8 synthesis of ``bundle`` for ONNX Runtime, and its ``limits``. Raises ExportError where the
    graph has no float branch.
    """

    def __init__(self, bundle: Bundle) -> None:
        graph = bundle.graph("synthesis", "int8", "onnxruntime")
        self._model = onnx.load_from_string(bundle.read(graph.files[0]))
        self._bundle = bundle
        found = {tensor.name: tensor for tensor in self._model.graph.initializer}
        if not {_UPPER, _LOWER} <= set(found):
            raise ExportError(f"{bundle.path}: its int8 synthesis has no float branch; requantize it first")
        self.limits = Limits(*(numpy_helper.to_array(found[name])[0] for name in (_UPPER, _LOWER)))

    def always_int8(self) -> Session:
        """A session that never takes the float branch."""
        limits = Limits.of(np.full_like(self.limits.both, np.inf))
        return session_of(make("synthesis", "int8", "onnxruntime", self._with(limits)), self._bundle.name)

    def reached(self, coded: Files, files: Sequence[bytes]) -> np.ndarray:
        """float32 (n, 2 M), as ``limits.reached`` gives it, of files of one window each."""
        session = self._mixing()
        recorder = Recorder(coded.exact)
        coded.decode(recorder, files)
        mixed = (session.run(*inputs)[0] for inputs in recorder.inputs)
        return np.array([np.concatenate([x.max((1, 2)), -x.min((1, 2))]) for x in mixed])

    def variant(self, runtime: str) -> Variant:
        """The graph for ``runtime`` with the present ``limits``, the rest of its files as the bundle has it.
        Raises ExportError where they have no limits.
        """
        model = self._with(self.limits)
        if runtime == "onnxruntime":
            return make("synthesis", "int8", runtime, model)
        graph = self._bundle.graph("synthesis", "int8", runtime)
        layers, weights = (self._bundle.read(entry) for entry in graph.files)
        blobs = layers, weights
        for name, values in ((_UPPER, self.limits.upper), (_LOWER, self.limits.lower)):
            blobs = _with_constant(*blobs, name, values.astype(np.float32).tobytes(), str(self._bundle.path))
        return Variant("synthesis", "int8", runtime, model, blobs)

    def _with(self, limits: Limits) -> onnx.ModelProto:
        """The graph with other limits."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        new = {_UPPER: limits.upper, _LOWER: limits.lower}
        for tensor in model.graph.initializer:
            if tensor.name in new:
                values = new[tensor.name][None].astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return model

    def _mixing(self) -> Session:
        """A session from the graph's inputs to its mixed latents float32 (1, M, h, w)."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        nodes = list(model.graph.node)
        last = next(i for i, node in enumerate(nodes) if MIXED_LATENTS in node.output)
        del model.graph.node[last + 1 :]
        used = {name for node in model.graph.node for name in node.input}
        kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
        shape: tuple[int | str, ...] = (1, len(self.limits.upper), "h", "w")
        del model.graph.output[:]
        model.graph.output.append(
            onnx.helper.make_tensor_value_info(MIXED_LATENTS, onnx.TensorProto.FLOAT, shape)
        )
        whole = self._bundle.graph("synthesis", "int8", "onnxruntime")
        outputs = (TensorSpec(MIXED_LATENTS, "float32", shape),)
        cut = Graph("synthesis", "float", "onnxruntime", (), whole.inputs, outputs, whole.opset, None)
        return create_session(cut, [serialise(model)], threads=1)


def _with_constant(
    layers: bytes, weights: bytes, name: str, values: bytes, where: str
) -> tuple[bytes, bytes]:
    """The XML and weights of an OpenVINO graph with other ``values`` of a constant. Raises ExportError where
    the graph does not have it, of that size.
    """
    described = (
        re.escape(f'name="{name}" type="Const"').encode() + rb'[^>]*><data [^>]*offset="(\d+)" size="(\d+)"'
    )
    found = re.search(described, layers)
    if found is None or int(found[2]) != len(values):
        raise ExportError(f"{where}: synthesis.int8 (openvino) has no {name} of {len(values)} bytes")
    at = int(found[1])
    if len(re.findall(rb'offset="%d"' % at, layers)) == 1:
        return layers, weights[:at] + values + weights[at + len(values) :]
    # Equal constants are stored once: this one gets a place of its own.
    return layers[: found.start(1)] + b"%d" % len(weights) + layers[found.end(1) :], weights + values
