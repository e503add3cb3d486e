"""Graphs of the runtime ``native``: integer synthesis and hyper synthesis, made from the float graphs."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
from decant.backends.session import Pending, Session
from decant.codec.decoder import GridDecoder
from decant.codec.layout import GridLayout
from decant.formats import container
from safetensors.numpy import save

from decant_export.common.gate import Checks, Gate, session_of
from decant_export.common.variants import Variant
from decant_export.families.codec.integer import Case, tensors_of

PRECISION, RUNTIME = "int16", "native"


def variants(
    synthesis: onnx.ModelProto,
    hyper_mean: onnx.ModelProto,
    tables: Mapping[str, np.ndarray],
    cases: Sequence[Case],
) -> tuple[Variant, Variant]:
    """The hyper synthesis and the synthesis in integers; ``tables`` are those of
    the layout, ``cases`` show the ranges of activations. Raises
    ExportError.
    """
    pixels, means = tensors_of(synthesis, hyper_mean, tables, cases)
    return (
        Variant("hyper_mean", PRECISION, RUNTIME, hyper_mean, (save(dict(sorted(means.items()))),)),
        Variant("synthesis", PRECISION, RUNTIME, synthesis, (save(dict(sorted(pixels.items()))),)),
    )


def cases_of(
    layout: GridLayout, hyper_mean: Session, synthesis: Session, files: Sequence[bytes]
) -> list[Case]:
    """What the float graphs are given while ``files``, each of one coding tile, are decoded."""
    mean, picture = _Recorder(hyper_mean), _Recorder(synthesis)
    decoder = GridDecoder(layout, mean, picture, overlap=False)
    for file in files:
        decoder.decode(container.parse(file))
    return [Case(*z, *rest) for z, rest in zip(mean.inputs, picture.inputs, strict=True)]


def judge(
    gate: Gate,
    graphs: tuple[Variant, Variant],
    decode: Callable[[Session, Session], Sequence[np.ndarray]],
    exact: Session,
    expected: Sequence[np.ndarray],
    checks: Callable[[Session], Checks],
) -> None:
    """Judge hyper synthesis and synthesis: ``decode`` gives the golden pictures by a mean and a synthesis,
    ``exact`` is the float synthesis, ``checks`` makes the checks of a synthesis with the mean it is given.
    """
    hyper_mean, synthesis = graphs
    mean = session_of(hyper_mean, gate.name)
    gate.judge(hyper_mean, lambda session: decode(session, exact), expected)
    gate.judge(synthesis, lambda session: decode(mean, session), expected, checks(mean))


class _Recorder:
    """A session that keeps copies of its inputs."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.inputs: list[tuple[np.ndarray, ...]] = []
        self.runtime, self.runtime_version = session.runtime, session.runtime_version
        self.requested_device, self.device = session.requested_device, session.device
        self.device_name, self.precision = session.device_name, session.precision

    def run(self, *inputs: np.ndarray) -> np.ndarray:
        """See Session.run."""
        self.inputs.append(tuple(x.copy() for x in inputs))
        return self._session.run(*inputs)

    def start(self, *inputs: np.ndarray) -> Pending:
        """See Session.start."""
        made = self.run(*inputs)
        return lambda: made
