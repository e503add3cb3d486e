"""The integer synthesis of a codec: 16-bit weights and activations (docs/synthesis.md).

Every channel of an activation is an integer times 2^-exponent. Every output channel of a layer has a weight
scale that is a power of two, so that rescaling is a rounding shift. Exponents leave room for pictures far
beyond photographs; 16 bits have it to spare. Weights are rounded so that products, not weights, change least
(GPTQ, Frantar et al. 2023, arXiv 2210.17323).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from decant.codec.entropy.checkerboard import anchor_positions, mean_context_name
from onnx import numpy_helper

from decant_export.common.qdq import compensated
from decant_export.errors import ExportError

# Activations beyond the largest seen that still fit: photographs are few, and pictures are many.
HEADROOM = 4.0
MOST_EXPONENT, MOST_WEIGHT = 20, 32767
LEAST_WEIGHT = 127
# Layers that lose nothing with weights of 8 bits; the others have 16, which take no more time.
IN_8_BITS = ("mean.0", "mean.1", "prediction")
HYPER_EXPONENT = 4  # hyperlatents are multiples of 1/16
LATENT_EXPONENT_MOST = 12
POSITIONS = 4096  # of one picture whose products are counted


@dataclass(frozen=True)
class IntegerLayer:
    """A convolution: int8 or int16 ``weight`` (out, side, side, in), int32 ``bias``, uint8 ``shift``."""

    weight: np.ndarray
    bias: np.ndarray
    shift: np.ndarray

    def tensors(self, name: str) -> dict[str, np.ndarray]:
        """As they are stored."""
        return {f"{name}.weight": self.weight, f"{name}.bias": self.bias, f"{name}.shift": self.shift}


@dataclass(frozen=True)
class Case:
    """What the float graphs are given for one picture: hyperlatents float32 (1, hyper, hz, wz); symbols and
    mean (1, M, h, w), step (1, M, 1, 1).
    """

    hyperlatents: np.ndarray
    symbols: np.ndarray
    mean: np.ndarray
    step: np.ndarray


@dataclass
class _Seen:
    """Largest magnitude of each channel, and second moments of what a layer's kernels are multiplied with."""

    largest: dict[str, np.ndarray] = field(default_factory=dict)
    moments: dict[str, np.ndarray] = field(default_factory=dict)


def tensors_of(
    synthesis: onnx.ModelProto,
    hyper_mean: onnx.ModelProto,
    tables: Mapping[str, np.ndarray],
    cases: Sequence[Case],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Tensors of the integer synthesis and of the integer hyper synthesis, from the float graphs of both and
    from the ``cases`` that show the ranges; ``tables`` are the layout's. Raises ExportError.
    """
    network = _Network(_weights(synthesis), _weights(hyper_mean), tables)
    seen = network.measure(cases)
    exponents = {name: exponents_of(largest) for name, largest in seen.largest.items()}
    for name in ("latents", "mean.1", "mean.2"):
        exponents[name] = np.minimum(exponents[name], LATENT_EXPONENT_MOST)
    return network.synthesis(exponents, seen.moments), network.hyper(exponents, seen.moments)


def exponents_of(largest: np.ndarray) -> np.ndarray:
    """int (channels,): the exponent at which HEADROOM times the ``largest`` magnitude fits into 16 bits."""
    fitting = np.floor(np.log2(32767 / np.maximum(HEADROOM * largest, 1e-6)))
    return np.clip(fitting, 0, MOST_EXPONENT).astype(np.int64)


def integer_layer(
    weight: np.ndarray,
    bias: np.ndarray,
    inputs: np.ndarray,
    outputs: np.ndarray,
    moment: np.ndarray | None = None,
    most: int = MOST_WEIGHT,
) -> IntegerLayer:
    """A convolution on integers: float ``weight`` (out, in, side, side) and ``bias`` (out,) on real values;
    exponents of ``inputs`` (in,) and ``outputs`` (out,); ``moment`` (in * side * side, same) of the inputs as
    integers. Raises ExportError where a shift is out of range.
    """
    scaled = weight.astype(np.float64) * np.ldexp(1.0, -inputs)[None, :, None, None]
    rows, offset = scaled.reshape(len(weight), -1), bias.astype(np.float64)
    # No sum of products may leave 32 bits, whatever the activations are.
    largest = np.abs(rows).sum(axis=1) * 2.0**15 + np.abs(offset)
    fine = np.floor(np.log2((2.0**31 - 2.0**27) / np.maximum(largest, 1e-30)))
    fine = np.minimum(fine, np.floor(np.log2(most / np.maximum(np.abs(rows).max(axis=1), 1e-30))))
    fine = np.minimum(fine, outputs + 26).astype(np.int64)
    if (fine <= outputs).any():
        raise ExportError("the weights of a layer are too large for the range of what it gives")
    rows = rows * np.ldexp(1.0, fine)[:, None]
    whole = np.rint(rows) if moment is None else compensated(rows, moment, most)
    stored = whole.reshape(weight.shape).transpose(0, 2, 3, 1).astype(np.int8 if most < 128 else np.int16)
    offset = np.rint(offset * np.ldexp(1.0, fine)).astype(np.int32)
    return IntegerLayer(np.ascontiguousarray(stored), offset, (fine - outputs).astype(np.uint8))


def _weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """float32 values of a float graph's tensors, also of those it stores in fewer bits."""
    found = {t.name: numpy_helper.to_array(t).copy() for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]].astype(np.float32)
        elif node.op_type == "DequantizeLinear" and node.input[0] in found:
            steps = found[node.input[1]]
            values = found[node.input[0]].astype(np.float32)
            found[node.output[0]] = values * steps.reshape(-1, *[1] * (values.ndim - 1))
    return found


class _Network:
    """The float networks of both graphs, with output channels in the order of the integer ones: those of one
    pixel row of a DepthToSpace block together, (row, column, channel).
    """

    def __init__(
        self,
        synthesis: Mapping[str, np.ndarray],
        hyper: Mapping[str, np.ndarray],
        tables: Mapping[str, np.ndarray],
    ) -> None:
        given = synthesis
        self.layers = sum(name.endswith(".first.bias") for name in given)
        self.parts: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for name in ("up", "last"):
            self.parts[name] = _spread(given[f"{name}.weight"], given[f"{name}.bias"], 4)
        for i in range(self.layers):
            for part in ("first", "second"):
                key = f"render.{i}.{part}"
                self.parts[key] = given[f"{key}.weight"], given[f"{key}.bias"]
        self.first = self.known = self.predicted = 0
        if "prediction.weight" in given:
            weight = given["prediction.weight"]
            if "prediction.unit" in given:
                weight = weight * given["prediction.unit"].reshape(1, -1, 1, 1)
            self.predicted, self.known = weight.shape[:2]
            self.first = int(given["predicted.pads"][1])
            self.parts["prediction"] = weight, np.zeros(self.predicted, np.float32)
        for i, name in enumerate(("first", "second")):
            self.parts[f"mean.{i}"] = _spread(hyper[f"{name}.weight"], hyper[f"{name}.bias"], 2)
        self.parts["mean.2"] = hyper["mean.weight"], hyper["mean.bias"]
        self.near: list[slice] = []  # the channels of each group with a mean context
        while f"{mean_context_name(len(self.near))}.out_bias" in tables:
            i, name = len(self.near), mean_context_name(len(self.near))
            for part in ("hidden", "out"):
                weight = tables[f"{name}.{part}_weight"].astype(np.float32)[:, :, None, None]
                self.parts[f"near.{i}.{part}"] = weight, tables[f"{name}.{part}_bias"].astype(np.float32)
            first = self.near[-1].stop if self.near else 0
            self.near.append(slice(first, first + len(tables[f"{name}.out_bias"])))
        self.width = len(self.parts["up"][1]) // 16

    @torch.no_grad()
    def measure(self, cases: Iterable[Case]) -> _Seen:
        """Ranges and moments over all ``cases``; moments are of real values."""
        seen = _Seen()
        for case in cases:
            for name, x, side in self._activations(case):
                largest = x.abs().amax((0, 2, 3)).numpy()
                seen.largest[name] = np.maximum(seen.largest.get(name, largest), largest)
                if side:
                    rows = F.unfold(x, side, padding=side // 2)[0]
                    rows = rows[:, :: max(rows.shape[1] // POSITIONS, 1)]
                    moment = (rows @ rows.T).double().numpy() / rows.shape[1]
                    seen.moments[name] = seen.moments.get(name, 0) + moment
        return seen

    def _activations(self, case: Case) -> Iterator[tuple[str, torch.Tensor, int]]:
        """Name, values and the side of the kernels that read them (0: none that need moments)."""
        symbols, step = torch.from_numpy(case.symbols), torch.from_numpy(case.step)
        scaled = symbols * step
        y = scaled + torch.from_numpy(case.mean)
        if self.predicted:
            known = scaled[:, : self.known]
            yield "known", known, 3
            y = y.clone()
            y[:, self.first : self.first + self.predicted] += self._conv(known, "prediction")
        yield "latents", torch.maximum(y.abs(), scaled.abs()), 0
        yield "up", y, 1
        x = self._raised(y, "up", 4)
        for i in range(self.layers):
            yield f"stage.{i}", x, 3
            hidden = F.relu(self._conv(x, f"render.{i}.first"))
            yield f"hidden.{i}", hidden, 1
            x = x + self._conv(hidden, f"render.{i}.second")
        yield f"stage.{self.layers}", x, 3
        yield from self._contexts(scaled)
        z = torch.from_numpy(case.hyperlatents)
        yield "mean.0", z, 3
        for i in range(2):
            z = F.relu(self._raised(z, f"mean.{i}", 2))
            yield f"mean.{i + 1}", z, 3 if i == 0 else 1

    def _contexts(self, scaled: torch.Tensor) -> Iterator[tuple[str, torch.Tensor, int]]:
        """The checkerboard mean contexts at the non-anchor positions, from residuals (1, M, h, w)."""
        h, w = scaled.shape[2:]
        anchors = torch.from_numpy(anchor_positions(h, w))
        if h < 2 and w < 2:
            return
        for i, channels in enumerate(self.near):
            known = F.pad(scaled[:, channels] * anchors, (1, 1, 1, 1))
            beside = (
                known[:, :, 1:-1, :-2],
                known[:, :, 1:-1, 2:],
                known[:, :, :-2, 1:-1],
                known[:, :, 2:, 1:-1],
            )
            inputs = torch.cat(beside, 1)[:, :, ~anchors][..., None]
            yield f"near.{i}.in", inputs, 1
            yield f"near.{i}.mid", F.relu(self._conv(inputs, f"near.{i}.hidden")), 1

    def _conv(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = (torch.from_numpy(np.ascontiguousarray(part)) for part in self.parts[name])
        return F.conv2d(x, weight, bias, padding=weight.shape[2] // 2)

    def _raised(self, x: torch.Tensor, name: str, block: int) -> torch.Tensor:
        """A layer and DepthToSpace, whose output channels are (row, column, channel)."""
        y = self._conv(x, name)
        n, outputs, h, w = y.shape
        channels = outputs // block**2
        y = y.reshape(n, block, block, channels, h, w).permute(0, 3, 4, 1, 5, 2)
        return y.reshape(n, channels, block * h, block * w)

    def synthesis(
        self, exponents: Mapping[str, np.ndarray], moments: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """The tensors of the integer synthesis."""
        latents = exponents["latents"]
        made: dict[str, np.ndarray] = {}
        # Layers add to what is stored: all stages at 1/4 resolution have the exponents of the widest.
        stage = np.min([exponents[f"stage.{i}"] for i in range(self.layers + 1)], axis=0)
        if self.predicted:
            own = latents[self.first : self.first + self.predicted]
            made |= self._layer("prediction", latents[: self.known], own, moments["known"])
        made |= self._layer("up", latents, np.tile(stage, 16), moments["up"])
        for i in range(self.layers):
            hidden = exponents[f"hidden.{i}"]
            made |= self._layer(f"render.{i}.first", stage, hidden, moments[f"stage.{i}"])
            made |= self._layer(f"render.{i}.second", hidden, stage, moments[f"hidden.{i}"])
        weight, bias = self.parts["last"]
        pixels = np.zeros(48, np.int64)
        self.parts["last"] = weight * np.float32(255), (bias + np.float32(0.5)) * np.float32(255)
        made |= self._layer("last", stage, pixels, moments[f"stage.{self.layers}"])
        self.parts["last"] = weight, bias
        sizes = np.array([self.width, self.layers, self.first], np.int32)
        return made | {"exponent": latents.astype(np.uint8), "sizes": sizes}

    def hyper(
        self, exponents: Mapping[str, np.ndarray], moments: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """The tensors of the integer hyper synthesis."""
        inputs = np.full(self.parts["mean.0"][0].shape[1], HYPER_EXPONENT)
        made: dict[str, np.ndarray] = {}
        for i in range(2):
            outputs = exponents[f"mean.{i + 1}"]
            made |= self._layer(f"mean.{i}", inputs, np.tile(outputs, 4), moments[f"mean.{i}"])
            inputs = outputs
        made |= self._layer("mean.2", inputs, exponents["latents"], moments["mean.2"])
        for i, channels in enumerate(self.near):
            own, hidden = exponents["latents"][channels], exponents[f"near.{i}.mid"]
            made |= self._layer(f"near.{i}.hidden", np.tile(own, 4), hidden, moments[f"near.{i}.in"])
            made |= self._layer(f"near.{i}.out", hidden, own, moments[f"near.{i}.mid"])
        return made | {"exponent": exponents["latents"].astype(np.uint8)}

    def _layer(
        self, name: str, inputs: np.ndarray, outputs: np.ndarray, moment: np.ndarray
    ) -> dict[str, np.ndarray]:
        weight, bias = self.parts[name]
        units = np.repeat(np.ldexp(1.0, inputs), weight.shape[2] ** 2)
        integers = moment * units[:, None] * units + np.eye(len(units)) / 12  # rounding to integers
        most = LEAST_WEIGHT if name.startswith(IN_8_BITS) else MOST_WEIGHT
        return integer_layer(weight, bias, inputs, outputs, integers, most).tensors(name)


def _spread(weight: np.ndarray, bias: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows in the order of DepthToSpace, CRD (channel, row, column), brought to (row, column, channel)."""
    order = np.arange(len(bias)).reshape(-1, block, block).transpose(1, 2, 0).reshape(-1)
    return weight[order], bias[order]
