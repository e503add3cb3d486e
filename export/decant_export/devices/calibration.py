"""The ranges of a float graph's tensors, on the golden files of a bundle and on stronger latents."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from decant.backends.session import Pending, Session
from decant.bundles.bundle import Bundle
from decant.formats import container

# Latents are made so many times stronger and weaker: files of other pictures and qualities have such ones.
STRENGTHS = (1.0, 1.5)


class Recorder:
    """A session that keeps its inputs."""

    def __init__(self, session: Session) -> None:
        self.inputs: list[tuple[np.ndarray, ...]] = []
        self._session = session
        self.runtime, self.runtime_version = session.runtime, session.runtime_version
        self.requested_device, self.device = session.requested_device, session.device
        self.device_name, self.driver = session.device_name, session.driver
        self.precision = session.precision

    def run(self, *inputs: np.ndarray) -> np.ndarray:
        """See Session.run."""
        self.inputs.append(inputs)
        return self._session.run(*inputs)

    def start(self, *inputs: np.ndarray) -> Pending:
        """See Session.start."""
        made = self.run(*inputs)
        return lambda: made


def recorded(bundle: Bundle, sessions: Mapping[str, Session]) -> dict[str, list[tuple[np.ndarray, ...]]]:
    """The inputs that the graphs of ``bundle`` take when its golden files are decoded, by role."""
    kept = {role: Recorder(session) for role, session in sessions.items()}
    decoder = bundle.layout.decoder(bundle, kept["synthesis"], lambda role: kept[role], overlap=False)
    for golden in bundle.golden:
        decoder.decode(container.parse(bundle.read(golden.file), golden.file))
    return {role: recorder.inputs for role, recorder in kept.items()}


def ranges(
    model: onnx.ModelProto, inputs: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, tuple[float, float]]:
    """The lowest and highest value of every float tensor of ``model`` over runs with ``inputs``."""
    import onnxruntime

    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    given = {value.name for value in shown.graph.output}
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.value_info
    shown.graph.output.extend(
        value
        for value in inferred
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT and value.name not in given
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        shown.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    found: dict[str, tuple[float, float]] = {}
    for feed in inputs:
        values = dict(zip(names, session.run(names, dict(feed)), strict=True)) | dict(feed)
        for name, value in values.items():
            if value.dtype == np.float32:
                lowest, highest = found.get(name, (0.0, 0.0))
                found[name] = min(lowest, float(value.min())), max(highest, float(value.max()))
    return found
