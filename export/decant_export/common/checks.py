"""The comparison of float graphs with PyTorch, and the choice of ranges for static int8."""

from collections.abc import Mapping

import numpy as np
import onnx

from decant_export.common.family import StaticGraph
from decant_export.common.gate import psnr_db, run_each, session_of
from decant_export.common.onnx_graph import serialise, with_output
from decant_export.common.variants import make
from decant_export.errors import ExportError

TOLERANCE = 1e-4
# Parts of a tensor's range that are tried for static int8: clipping a few values leaves finer steps for the
# others.
_KEPT = (0.9, 0.8, 0.7, 0.6, 0.5)


def against_torch(
    model: onnx.ModelProto, inputs: np.ndarray, tensor: str, expected: np.ndarray, where: str
) -> float:
    """Largest difference of the float ``tensor`` of ``model`` from ``expected``, which PyTorch gives for
    ``inputs``.

    Raises ExportError above 1e-4 (of the largest expected value, where that is above 1).
    """
    import onnxruntime as ort

    session = ort.InferenceSession(serialise(with_output(model, tensor)), providers=["CPUExecutionProvider"])
    name = model.graph.input[0].name
    differences = []
    for i in range(len(inputs)):
        (found,) = session.run(None, {name: inputs[i : i + 1]})
        differences.append(np.abs(found[0] - expected[i]).max())
    worst = float(np.max(differences))  # a NaN stays one
    allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if not worst <= allowed:  # and fails
        raise ExportError(
            f"{where}: graph {model.graph.name} differs from PyTorch by {worst:.2g} in {tensor}, more than "
            f"{allowed:.2g}: a checkpoint with NaN, or an error of decant; report it with the checkpoint"
        )
    return worst


def calibrated(static: StaticGraph, latents: np.ndarray, expected: np.ndarray, where: str) -> onnx.ModelProto:
    """The static graph whose pixels for ``latents`` come closest to ``expected``, uint8 (n, H, W, 3).

    It is one greedy pass: each stored tensor in turn gets the part of its range with the best PSNR of pixels.
    The measure is pixels, not the error of the layer, because rounding errors of layers interact.
    """
    kept: dict[str, float] = {}

    def score(choice: Mapping[str, float]) -> float:
        variant = make("synthesis", "int8-static", "onnxruntime", static.build(choice))
        return psnr_db(run_each(session_of(variant, where), latents), expected)

    best = score(kept)
    for knob in static.knobs:
        for part in _KEPT:
            found = score({**kept, knob: part})
            if found > best:
                best, kept = found, {**kept, knob: part}
    return static.build(kept)
