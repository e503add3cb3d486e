"""Layers in static int8: QDQ pairs that runtimes fuse into integer kernels.

Activations are unsigned 8-bit with one scale and zero point per tensor, weights signed 8-bit with one scale
per output channel: on x86, the only combination with fast kernels. A tensor whose zero point is 0 cannot hold
negative values, so storing it so *is* the ReLU.
"""

import math
from dataclasses import dataclass

import numpy as np

from decant_export.common.linears import INT8, to_steps
from decant_export.common.onnx_graph import GraphBuilder

LEVELS = 255
# Of the step that holds the largest weight: those that are tried. Where pairs are bounded, wider ones too.
PARTS = (2.0, 1.68, 1.41, 1.19, 1.0, 0.84, 0.71, 0.59)
# Processors without VNNI (x86 up to AVX2) add two products of 8 bits in 16, which saturate. The weights of
# two neighbouring input channels add up to no more, of either sign: 255 * 128 < 2**15.
PAIR = 128


@dataclass(frozen=True)
class Scale:
    """How real numbers become uint8: real = step * (stored - zero)."""

    step: float
    zero: int

    @classmethod
    def covering(cls, lowest: float, highest: float) -> "Scale":
        """The scale of the range [lowest, highest], widened to hold 0; a lowest of 0 or more gives zero point
        0.
        """
        lowest, highest = min(float(lowest), 0.0), max(float(highest), 0.0)
        step = (highest - lowest) / LEVELS or 1.0
        return cls(step, round(-lowest / step))


@dataclass(frozen=True)
class Stored:
    """A uint8 tensor of a graph and what its numbers mean."""

    name: str
    scale: Scale


def store(graph: GraphBuilder, x: str, scale: Scale) -> Stored:
    """The float tensor ``x`` as uint8."""
    name = f"{x}.uint8"
    return Stored(graph.node("QuantizeLinear", [x, *_scale(graph, name, scale)], name), scale)


def restore(graph: GraphBuilder, x: Stored, name: str) -> str:
    """The uint8 tensor ``x`` as float ``name``."""
    return graph.node("DequantizeLinear", [x.name, *_scale(graph, name, x.scale)], name)


@dataclass(frozen=True)
class Rounded:
    """Weights int8 (out, in, h, w) in steps float32 (out,)."""

    stored: np.ndarray
    steps: np.ndarray

    def rows(self, order: np.ndarray) -> "Rounded":
        """Those of the output channels ``order``."""
        return Rounded(self.stored[order], self.steps[order])


def rounded(weight: np.ndarray, bias: np.ndarray, x: Scale, moment: np.ndarray | None = None) -> Rounded:
    """Round a weight float32 (out, in, h, w), with a bias (out,), for inputs of scale ``x``.

    Without ``moment``, values are rounded to the nearest step. ``moment`` is the second moment of the inputs,
    (in * h * w, same); with it, the rounding changes the products least.
    """
    ranges = np.abs(weight).max(axis=(1, 2, 3))
    # A channel without weights gets a step that leaves its bias, which is counted in it, exact enough.
    steps = np.where(ranges > 0, ranges / INT8, np.maximum(np.abs(bias), 1e-6) / (x.step * 2**16))
    steps = steps.astype(np.float32)
    if moment is None:
        return Rounded(to_steps(weight / (steps * INT8)[:, None, None, None]), steps)
    rows, steps = _best_steps(weight.reshape(len(weight), -1), steps, moment, math.prod(weight.shape[2:]))
    return Rounded(rows.reshape(weight.shape).astype(np.int8), steps)


def conv(
    graph: GraphBuilder,
    x: Stored,
    weight: np.ndarray | Rounded,
    bias: np.ndarray,
    pads: list[int],
    name: str,
    result: Scale,
) -> Stored:
    """A stride-1 convolution: weight (out, in, h, w), ``rounded`` to the nearest where it is not yet, bias
    (out,), pads top, left, bottom, right.
    """
    if isinstance(weight, np.ndarray):
        weight = rounded(weight, bias, x.scale)
    stored, steps = weight.stored, weight.steps
    bias_steps = (steps * np.float32(x.scale.step)).astype(np.float32)
    # A bias beyond all that products reach saturates what is stored, and must not turn around in the sums.
    bias_integers = np.clip(np.rint(bias / bias_steps), -(2**30), 2**30).astype(np.int32)
    zeros = graph.constant(f"{name}.weight.zero", np.zeros(len(steps), np.int8))
    kernel = graph.node(
        "DequantizeLinear",
        [
            graph.constant(f"{name}.weight.int8", stored),
            graph.constant(f"{name}.weight.step", steps),
            zeros,
        ],
        f"{name}.weight",
        axis=0,
    )
    offset = graph.node(
        "DequantizeLinear",
        [
            graph.constant(f"{name}.bias.int32", bias_integers),
            graph.constant(f"{name}.bias.step", bias_steps),
            graph.constant(f"{name}.bias.zero", np.zeros(len(steps), np.int32)),
        ],
        f"{name}.bias",
        axis=0,
    )
    shape = list(stored.shape[2:])
    x_float = restore(graph, x, f"{name}.x")
    return store(
        graph, graph.node("Conv", [x_float, kernel, offset], name, kernel_shape=shape, pads=pads), result
    )


def _best_steps(
    rows: np.ndarray, steps: np.ndarray, moment: np.ndarray, taps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows (out, k) -> integers, and the step of each row: of ``steps`` and others, at the finer of which the
    largest weights are clipped, that whose products change least with inputs of second moment (k, k). A
    channel has ``taps`` columns, one after another.
    """
    tried = (np.array(PARTS, np.float32)[:, None] * steps).astype(np.float32)  # (parts, out)
    integers = compensated((rows / tried[:, :, None]).reshape(-1, rows.shape[1]), moment, taps=taps)
    integers = integers.reshape(len(PARTS), *rows.shape)
    wrong = integers * tried[:, :, None].astype(np.float64) - rows
    error = ((wrong @ moment) * wrong).sum(2)
    best, every = error.argmin(0), np.arange(len(rows))
    return integers[best, every], tried[best, every]


def compensated(
    rows: np.ndarray, moment: np.ndarray, most: int = INT8, taps: int | None = None
) -> np.ndarray:
    """Rows (out, k) in steps -> integers within +-``most`` that give nearly the same products with inputs of
    second moment (k, k). Given ``taps``, columns of a channel, those of channels 2 i and 2 i + 1 add up to at
    most PAIR.

    Columns are rounded one after another. The remaining columns compensate the error of each (GPTQ, Frantar
    et al. 2022, arXiv:2210.17323).
    """
    rows = rows.astype(np.float64)
    damped = moment + np.eye(len(moment)) * 1e-4 * np.diag(moment).mean()
    order = np.argsort(-np.diag(damped), kind="stable")
    inverse = np.linalg.inv(damped[np.ix_(order, order)])
    upper = np.linalg.cholesky(inverse).T
    left, integers = rows[:, order], np.zeros_like(rows)  # zeros of those not yet rounded bound nothing
    for k, column in enumerate(order):
        lowest, highest = np.full(len(rows), -most), np.full(len(rows), most)
        beside = None if taps is None else (column // taps ^ 1) * taps + column % taps
        if beside is not None and beside < rows.shape[1]:
            lowest = np.maximum(lowest, -PAIR - np.minimum(integers[:, beside], 0))
            highest = np.minimum(highest, PAIR - np.maximum(integers[:, beside], 0))
        rounded = integers[:, column] = np.clip(np.rint(left[:, k]), lowest, highest)
        error = (left[:, k] - rounded) / upper[k, k]
        left[:, k + 1 :] -= error[:, None] * upper[k, k + 1 :]
    return integers


def add(graph: GraphBuilder, a: Stored, b: Stored, name: str, result: Scale) -> Stored:
    """The sum of two tensors."""
    inputs = [restore(graph, a, f"{name}.a"), restore(graph, b, f"{name}.b")]
    return store(graph, graph.node("Add", inputs, name), result)


def matmul(graph: GraphBuilder, x: Stored, weight: np.ndarray, name: str, result: Scale) -> Stored:
    """x (n, rows, inputs) times weight (inputs, outputs), which is stored over the range [-1, 1]."""
    values = [
        graph.constant(f"{name}.weight.int8", to_steps(weight)),
        graph.constant(f"{name}.weight.step", np.float32(1 / INT8)),
        graph.constant(f"{name}.weight.zero", np.int8(0)),
    ]
    kernel = graph.node("DequantizeLinear", values, f"{name}.weight")
    return store(graph, graph.node("MatMul", [restore(graph, x, f"{name}.x"), kernel], name), result)


def _scale(graph: GraphBuilder, name: str, scale: Scale) -> list[str]:
    return [
        graph.constant(f"{name}.step", np.float32(scale.step)),
        graph.constant(f"{name}.zero", np.uint8(scale.zero)),
    ]
