"""Conformance sets of the integer layers: random and extreme cases with results of numpy, as
runtime/libdcn/tests/conformance.c reads them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import reference_synthesis as reference

STORE, RELU, ADD, PIXELS = range(4)


@dataclass(frozen=True)
class LayerCase:
    """A layer of ``inputs`` to ``outputs`` channels at ``rows`` x ``count`` positions.

    ``largest``: bound of the inputs, or "extremes" for values of -32768 and 32767 alone.
    """

    inputs: int
    outputs: int
    side: int
    epilogue: int
    rows: int
    count: int
    segments: int = 1
    largest: int | str = 8191

    def written(self, random: np.random.Generator) -> bytes:
        """The case in bytes, with the output expected."""
        depth = self.side**2 * self.inputs
        weight = random.integers(-(20000 // depth), 20000 // depth + 1, (self.outputs, depth))
        if self.largest == "extremes":  # the largest sum that a reader accepts
            weight = np.where(random.random(weight.shape) < 0.5, -1, 1) * (65000 // depth)
        weight = weight.reshape(self.outputs, self.side, self.side, self.inputs)
        tensors = {
            "x.weight": weight.astype(np.int16),
            "x.bias": random.integers(-(2**14), 2**14, self.outputs).astype(np.int32),
            "x.shift": random.integers(1, 16, self.outputs).astype(np.uint8),
        }
        shape = (self.rows + self.side - 1, self.count + self.side - 1, self.inputs)
        if self.largest == "extremes":
            x = random.choice(np.array([-32768, 32767]), shape)
        else:
            x = random.integers(-int(self.largest) - 1, int(self.largest) + 1, shape)
        margin = self.side // 2
        inside = slice(margin, -margin or None)
        values = reference.layer(tensors, "x", x)[inside, inside]
        before = np.zeros(values.shape, np.int64)
        if self.epilogue == ADD:
            before = random.integers(-32768, 32768, values.shape)
        expected = _finished(values, before, self.epilogue)
        dtype = np.uint8 if self.epilogue == PIXELS else np.int16
        sizes = (1, self.outputs // self.segments, self.epilogue, self.rows, self.count)
        return b"".join(
            [
                np.array(sizes, np.int32).tobytes(),
                _layer(tensors, "x"),
                x.astype(np.int16).tobytes(),
                self._segmented(before).astype(dtype).tobytes(),
                self._segmented(expected).astype(dtype).tobytes(),
            ]
        )

    def _segmented(self, values: np.ndarray) -> np.ndarray:
        parts = values.reshape(self.rows, self.count, self.segments, -1)
        return np.ascontiguousarray(parts.transpose(0, 2, 1, 3))


def _finished(values: np.ndarray, before: np.ndarray, epilogue: int) -> np.ndarray:
    if epilogue == PIXELS:
        return np.clip(values, 0, 255)
    values = np.clip(values, 0 if epilogue == RELU else -32768, 32767)
    return reference.sat(values + before) if epilogue == ADD else values


def _layer(tensors: dict[str, Any], name: str) -> bytes:
    if f"{name}.weight" not in tensors:
        return np.zeros(3, np.int32).tobytes()
    weight = tensors[f"{name}.weight"]
    outputs, side, _, inputs = weight.shape
    return b"".join(
        [
            np.array([inputs, outputs, side], np.int32).tobytes(),
            weight.astype(np.int16).tobytes(),
            tensors[f"{name}.bias"].astype(np.int32).tobytes(),
            tensors[f"{name}.shift"].astype(np.uint8).tobytes(),
        ]
    )


def synthesis_case(tensors: dict[str, Any], symbols: np.ndarray, mean: np.ndarray, step: np.ndarray) -> bytes:
    """A synthesis with ``symbols`` and integer ``mean`` (latents, h, w) and ``step`` (latents,)."""
    width, layers, first = (int(size) for size in tensors["sizes"])
    latents, h, w = symbols.shape
    units = np.ldexp(np.float32(1), -tensors["exponent"].astype(int))[:, None, None]
    names = ["prediction", "up", "last"]
    names += [f"render.{i}.{part}" for i in range(layers) for part in ("first", "second")]
    return b"".join(
        [
            np.array([2, latents, width, layers, first, h, w], np.int32).tobytes(),
            tensors["exponent"].astype(np.uint8).tobytes(),
            *(_layer(tensors, name) for name in names),
            symbols.astype(np.float32).tobytes(),
            (mean * units).astype(np.float32).tobytes(),
            step.astype(np.float32).tobytes(),
            reference.pixels(tensors, symbols, step, mean).astype(np.uint8).tobytes(),
        ]
    )


LAYERS = [
    *(LayerCase(24, 48, 3, PIXELS, rows, count) for rows in (1, 2) for count in (1, 2, 3, 23, 47, 50)),
    *(
        LayerCase(32, 64, 3, RELU, 2, count, largest=size)
        for count in (1, 26)
        for size in (8191, 8192, 32767)
    ),
    *(LayerCase(inputs, 24, 3, ADD, 2, 9) for inputs in (2, 10, 62, 64, 66)),
    *(LayerCase(16, outputs, 3, STORE, 2, 31) for outputs in (1, 7, 16, 17, 33, 47, 63, 65, 80, 112, 240)),
    *(LayerCase(inputs, 40, 1, epilogue, 1, 13) for inputs in (2, 64, 256) for epilogue in range(4)),
    *(LayerCase(48, 96, 1, STORE, rows, 29, segments=4) for rows in (1, 2)),
    *(LayerCase(64, 256, 3, RELU, 2, 12, segments=2, largest=size) for size in (8191, 20000)),
    *(LayerCase(24, 48, side, STORE, rows, 14, largest="extremes") for side in (1, 3) for rows in (1, 2)),
    *(LayerCase(64, 30, 3, ADD, 2, 5, largest="extremes") for _ in range(2)),
]


def layer_set(seed: int = 0) -> tuple[bytes, int]:
    """All layer cases in bytes, without the end, and how many there are."""
    random = np.random.default_rng(seed)
    return b"".join(case.written(random) for case in LAYERS), len(LAYERS)
