"""The other branch of an int8 synthesis: the same int8 weights, activations in floats that saturate nowhere.

Photos hardly need it. Text, stripes and checks have latents several times beyond the ranges of photos; ranges
that hold them would cost every picture more than the rounding of all else together. The branch reads the
weights of ``up`` that the int8 branch stores. Those of ``last`` and of the first residual layers it has in
16-bit floats: rounded to int8 they cost up to 2 dB on stripes and QR-like modules. It takes about the time of
the float graph, and computes with the first copy of every channel, where the int8 branch stores several.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
from decant_train.codec.layers import Residual

from decant_export.common.onnx_graph import GraphBuilder
from decant_export.common.pictures import to_pixels
from decant_export.families.codec.calibration import bias_of
from decant_export.families.codec.channel_copies import Copies
from decant_export.families.codec.float_graphs import array
from decant_export.families.codec.limits import Limits

MOST_HALVES = 65536  # weights of residual layers, from the first on, that the branch has in 16-bit floats

if TYPE_CHECKING:
    from decant_export.families.codec.int8_graphs import StaticCodec


def overflows(graph: GraphBuilder, latents: str, limits: Limits) -> str:
    """A bool: whether a channel of the mixed ``latents`` (1, M, h, w) lies beyond its limits."""
    sides = graph.constant("overflow.sides", np.array([2, 3], np.int64))
    most = graph.node("ReduceMax", [latents, sides], "overflow.most", keepdims=0)
    least = graph.node("ReduceMin", [latents, sides], "overflow.least", keepdims=0)
    above = graph.node("Sub", [most, graph.constant("overflow.upper", limits.upper[None])], "overflow.above")
    # The lower limit counts from 0 outwards: a latent is below it where least + lower < 0.
    lowest = graph.node("Add", [least, graph.constant("overflow.lower", limits.lower[None])], "overflow.rest")
    beyond = graph.node("Max", [above, graph.node("Neg", [lowest], "overflow.below")], "overflow.beyond")
    furthest = graph.node("ReduceMax", [beyond], "overflow.furthest", keepdims=0)
    return graph.node("Greater", [furthest, graph.constant("overflow.none", np.float32(0))], "overflow")


def further_copies(graph: GraphBuilder, latents: str, copies: Copies) -> str | None:
    """The copies of the mixed ``latents`` beyond the first of each channel; None where there are none."""
    m = len(copies.factor)
    if copies.count == m:
        return None
    shift = (copies.shift[m:] - copies.shift[copies.source[m:]]).reshape(1, -1, 1, 1)
    source = _once(graph, "copied", copies.source[m:])
    again = graph.node("Gather", [latents, source], "latents.copied", axis=1)
    return graph.node("Add", [again, _once(graph, "copied.shift", shift)], "latents.1")


def branch(root: GraphBuilder, latents: str, static: StaticCodec, order: str) -> tuple[GraphBuilder, str]:
    """The branch and the pixels that it gives; ``root`` has the constants of the int8 branch. ``order`` of
    the output channels of that branch's ``up`` and ``last``, as DepthToSpace calls it: DCR (position,
    channel) or CRD (channel, position).
    """
    graph, network, once = root.branch("exact"), static.network, _unshifted(static.quarter)
    more = further_copies(graph, latents, static.latents)
    y = latents if more is None else graph.node("Concat", [latents, more], "latents.every", axis=1)
    _, bias = once.write(array(network.up.weight), array(bias_of(network.up)), 16)
    first = _first_copies(graph, static.quarter, order)
    x = _conv(graph, y, first, bias[ordered(once.count, order)], "up")
    x = start = graph.node("DepthToSpace", [x], "quarter", blocksize=4, mode=order)
    layers = [layer for layer in network.render if isinstance(layer, Residual)]
    hidden = []
    for i, layer in enumerate(layers):
        name, bias = f"render.{i}", array(bias_of(layer.first))
        read = static.quarter.first().read(array(layer.first.weight))
        y = _conv(graph, x, _renderer(graph, static, f"{name}.first", read), bias, f"{name}.first", pad=1)
        hidden.append(graph.node("Relu", [y], f"{name}.relu"))
        if i + 1 < len(layers):
            weight, bias = once.write(array(layer.second.weight), array(bias_of(layer.second)), 1)
            kernel = _renderer(graph, static, f"{name}.second", weight)
            y = _conv(graph, hidden[-1], kernel, bias, f"{name}.second")
            x = graph.node("Add", [x, y], name)
    if static.added is not None:
        every = hidden[0] if len(hidden) == 1 else graph.node("Concat", hidden, "hidden", axis=1)
        bias = np.sum([array(bias_of(layer.second)) for layer in layers], axis=0)
        weight = np.concatenate([array(layer.second.weight) for layer in layers], axis=1)
        weight, bias = _unshifted(static.added).write(weight, bias, 1)
        more = _conv(graph, every, _renderer(graph, static, "added", weight), bias, "added")
        start = graph.node("Concat", [start, more], "rendered", axis=1)
    bias = array(bias_of(network.last)) + np.float32(0.5)
    x = _conv(graph, start, _last(graph, static, order), bias[ordered(len(bias) // 16, order)], "last", pad=1)
    return graph, to_pixels(graph, graph.node("DepthToSpace", [x], "planes", blocksize=4, mode=order))


def ordered(channels: int, order: str) -> np.ndarray:
    """Where each output channel of a convolution before DepthToSpace(4) of this ``order`` comes from, in
    order CRD.
    """
    rows = np.arange(16 * channels)
    return rows if order == "CRD" else rows.reshape(channels, 16).T.reshape(-1)


def _first_copies(graph: GraphBuilder, quarter: Copies, order: str) -> str:
    """The weights of ``up`` that write the first copy of each of the renderer's input channels."""
    stored, count = graph.value("up.weight.int8"), quarter.first().count
    kept = ordered(quarter.count, order) // 16 < count
    if count == quarter.count:
        return _weight(graph, "up")
    shape = (-1, 16, stored.shape[1]) if order == "CRD" else (16, -1, stored.shape[1])
    bounds = {"from": 0, "to": count, "axis": int(order == "DCR")}
    named = [_once(graph, f"exact.up.{k}", np.array([v], np.int64)) for k, v in bounds.items()]
    x = graph.node("Slice", [graph.reshape("up.weight.int8", shape, "up.blocks"), *named], "up.first")
    x = graph.reshape(x, (16 * count, *stored.shape[1:]), "up.rows")
    step = _once(graph, "exact.up.step", graph.value("up.weight.step")[kept])
    zero = _once(graph, "exact.up.zero", np.zeros(16 * count, np.int8))
    return graph.node("DequantizeLinear", [x, step, zero], "up.weight", axis=0)


def _last(graph: GraphBuilder, static: StaticCodec, order: str) -> str:
    """The weights of ``last`` on one copy of each channel, in 16-bit floats."""
    tensors = [tensor.first() for tensor in (static.quarter, static.added) if tensor is not None]
    weight = array(static.network.last.weight)
    read = np.concatenate([tensor.read(weight) for tensor in tensors], axis=1)
    return _halves(graph, "last", read[ordered(len(read) // 16, order)])


def _renderer(graph: GraphBuilder, static: StaticCodec, name: str, weight: np.ndarray) -> str:
    """The weights of a residual layer: ``weight`` in 16-bit floats for the first layers, else those that the
    int8 branch stores.
    """
    layers = [layer for layer in static.network.render if isinstance(layer, Residual)]
    until = 0 if name == "added" else int(name.split(".")[1]) + 1
    counts = (layer.first.weight.numel() + layer.second.weight.numel() for layer in layers[:until])
    return _halves(graph, name, weight) if sum(counts) <= MOST_HALVES else _weight(graph, name)


def _halves(graph: GraphBuilder, name: str, weight: np.ndarray) -> str:
    stored = _once(graph, f"exact.{name}.half", weight.astype(np.float16))
    return graph.node("Cast", [stored], f"{name}.weight", to=onnx.TensorProto.FLOAT)


def _weight(graph: GraphBuilder, name: str) -> str:
    """The weights that the int8 branch stores, as floats."""
    stored = [f"{name}.weight.{part}" for part in ("int8", "step", "zero")]
    return graph.node("DequantizeLinear", stored, f"{name}.weight", axis=0)


def _conv(graph: GraphBuilder, x: str, weight: str, bias: np.ndarray, name: str, pad: int = 0) -> str:
    offset = _once(graph, f"exact.{name}.bias", bias.astype(np.float32))
    side = [2 * pad + 1] * 2
    return graph.node("Conv", [x, weight, offset], name, kernel_shape=side, pads=[pad] * 4)


def _once(graph: GraphBuilder, name: str, value: np.ndarray) -> str:
    """The constant ``name``, which another branch may have added."""
    return name if graph.has(name) else graph.constant(name, value)


def _unshifted(copies: Copies) -> Copies:
    first = copies.first()
    return replace(first, shift=np.zeros_like(first.shift))
