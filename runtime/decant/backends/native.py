"""The runtime ``native``: a codec's integer synthesis and hyper synthesis in C (runtime/libdcn).

Both are in the bundle's model file ``NAME.dcnm``. Activations have 16 bits, weights 8 or 16, sums 32;
rescaling is a rounding shift (docs/synthesis.md). So every processor gives the same pixels, and pictures that
are very unlike photographs stay within the range. Inputs and outputs are float arrays, as for the other
runtimes. Means are exact multiples of a power of two.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from decant.backends.device import Device
from decant.backends.session import CheckedSession, Pending, SessionPlan
from decant.errors import BundleError, MissingExtraError
from decant.formats.manifest import MODEL_MAGIC
from decant.libdcn import library
from decant.process.workers import begin

_Layer: TypeAlias = tuple[int, int, int, np.ndarray, np.ndarray, np.ndarray]
_PIXELS = 16  # a latent's width in pixels
_MOST_LAYERS = 16


def kernels_module() -> ModuleType:
    """The compiled module. Raises MissingExtraError where it was not built."""
    module = library()
    if module is None:
        raise MissingExtraError(
            "the runtime native is not built here: install decant-codec where a C compiler is"
        )
    return module


def native_devices() -> list[Device]:
    """The processor, where the compiled module is. Raises MissingExtraError."""
    name = f"{kernels_module().kernels()} kernels"
    return [Device("native", "cpu", name, "CPU", provider="libdcn", precisions=("int16",))]


class IntegerSession(CheckedSession):
    """The role ``synthesis`` or ``hyper_mean`` of a codec in integers. Safe to use from several threads."""

    runtime = "native"

    def __init__(self, plan: SessionPlan) -> None:
        super().__init__(plan)
        self._kernels, self._threads = kernels_module(), plan.threads
        (blob,) = plan.blobs
        self.runtime_version = "1"
        self._role = plan.graph.role
        if self._role not in ("synthesis", "hyper_mean"):
            raise BundleError(f"{self._label}: the runtime native has no role {self._role}")
        self._net = self._opened(blob) if blob.startswith(MODEL_MAGIC) else self._built(blob)
        shapes = [spec.shape for spec in self._inputs]
        wanted = {
            "synthesis": [(1, self._latents, "h", "w")] * 2 + [(1, self._latents, 1, 1)],
            "hyper_mean": [(1, self._hyper, "hyper_h", "hyper_w")],
        }[self._role]
        if shapes != wanted or any(spec.dtype != "float32" for spec in self._inputs):
            raise BundleError(f"{self._label}: its inputs in bundle.json are not those of its tensors")

    _hyper = halved = 0

    def _opened(self, blob: bytes) -> Any:
        """The networks of a model file."""
        model = self._kernels.model(blob)
        if isinstance(model, tuple):
            raise BundleError(f"{self._label}: {model[1]}")
        self._latents, self._hyper, self.halved = self._kernels.sizes(model)
        return model

    def _built(self, blob: bytes) -> Any:
        """The network of a safetensors file, as bundles of earlier releases have one for each role."""
        tensors = _Tensors(blob, self._label)
        build = self._synthesis if self._role == "synthesis" else self._hyper_mean
        try:
            net = build(tensors)
        except ValueError as error:
            raise BundleError(f"{self._label}: {error}") from None
        tensors.all_used()
        return net

    def _synthesis(self, tensors: "_Tensors") -> Any:
        exponent = tensors.take("exponent", (np.uint8,), (None,))
        width, layers, first = (int(size) for size in tensors.take("sizes", (np.int32,), (3,)))
        if not 0 <= layers <= _MOST_LAYERS:
            raise BundleError(f"{self._label}: {layers} layers; 0 to {_MOST_LAYERS} expected")
        self._latents = len(exponent)
        residual = tuple(
            tensors.layer(f"render.{i}.{part}") for i in range(layers) for part in ("first", "second")
        )
        prediction = tensors.layer("prediction") if tensors.has("prediction.weight") else None
        up, last = tensors.layer("up"), tensors.layer("last")
        return self._kernels.synthesis(self._latents, width, first, exponent, prediction, up, last, residual)

    def _hyper_mean(self, tensors: "_Tensors") -> Any:
        exponent = tensors.take("exponent", (np.uint8,), (None,))
        layers = [tensors.layer(f"mean.{i}") for i in range(3)]
        contexts: list[_Layer] = []
        while tensors.has(f"near.{len(contexts) // 2}.hidden.weight"):
            name = f"near.{len(contexts) // 2}"
            contexts += [tensors.layer(f"{name}.hidden"), tensors.layer(f"{name}.out")]
        self.halved = sum(out for _, out, *_ in contexts[1::2])
        self._latents, self._hyper = len(exponent), layers[0][0]
        if layers[2][1] != self._latents:
            raise BundleError(f"{self._label}: {layers[2][1]} means; {self._latents} expected")
        return self._kernels.mean(exponent, *layers, tuple(contexts))

    def run(self, *inputs: np.ndarray) -> np.ndarray:
        """See Session.run; a batch of one. Raises BundleError for other inputs than the graph takes."""
        self._given(inputs)
        arrays = [np.ascontiguousarray(x, np.float32) for x in inputs]
        made = self._pixels(*arrays) if self._role == "synthesis" else self._means(*arrays)
        return self._checked_result(inputs, made)

    def _pixels(self, symbols: np.ndarray, mean: np.ndarray, step: np.ndarray) -> np.ndarray:
        if symbols.ndim != 4 or symbols.shape[:2] != (1, self._latents) or mean.shape != symbols.shape:
            raise BundleError(f"{self._label}: symbols {symbols.shape} and mean {mean.shape} do not fit")
        h, w = symbols.shape[2:]
        pixels = np.empty((1, _PIXELS * h, _PIXELS * w, 3), np.uint8)
        self._kernels.run_synthesis(
            self._net, symbols, mean, step, self._latents, h, w, self._threads, pixels
        )
        return pixels

    def _means(self, hyperlatents: np.ndarray) -> np.ndarray:
        if hyperlatents.ndim != 4 or hyperlatents.shape[:2] != (1, self._hyper):
            raise BundleError(f"{self._label}: hyperlatents {hyperlatents.shape} do not fit")
        hz, wz = hyperlatents.shape[2:]
        means = np.empty((1, self._latents, 4 * hz, 4 * wz), np.float32)
        self._kernels.run_mean(self._net, hyperlatents, hz, wz, means)
        return means

    def add_context(self, mean: np.ndarray, symbols: np.ndarray, step: np.ndarray) -> None:
        """Correct ``mean`` float32 (M, rows, columns) of one coding tile in place, at its non-anchor
        positions, by the checkerboard mean contexts. ``symbols`` float32 has the same shape; ``step`` is
        float32 (M,).
        """
        first, (rows, columns) = slice(0, self.halved), mean.shape[1:]
        known = np.ascontiguousarray(symbols[first], np.float32)
        steps = np.ascontiguousarray(step[first], np.float32)
        self._kernels.add_context(self._net, known, steps, rows, columns, mean[first])

    def start(self, *inputs: np.ndarray) -> Pending:
        """See Session.start: a thread of this run alone, since a kept one would not survive a fork."""
        if self._threads == 1:
            made = self.run(*inputs)
            return lambda: made
        return begin(lambda: self.run(*inputs))


class _Tensors:
    """The tensors of one file, checked as they are taken."""

    def __init__(self, blob: bytes, where: str) -> None:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        self._where = where
        try:
            self._left = load(blob)
        except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise BundleError(f"{where}: not a safetensors file: {str(error)[:200]}") from None

    def has(self, name: str) -> bool:
        """Whether a tensor of this name is left."""
        return name in self._left

    def take(self, name: str, dtypes: Sequence[type], shape: tuple[int | None, ...]) -> np.ndarray:
        """The tensor of this name, of one of ``dtypes``; None stands for any size. Raises BundleError."""
        tensor = self._left.pop(name, None)
        fits = tensor is not None and tensor.dtype in dtypes and len(tensor.shape) == len(shape)
        if (
            tensor is None
            or not fits
            or any(size not in (None, has) for size, has in zip(shape, tensor.shape, strict=True))
        ):
            wanted = " or ".join(np.dtype(dtype).name for dtype in dtypes)
            raise BundleError(f"{self._where}: tensor {name} is not {wanted} of shape {shape}")
        return tensor

    def layer(self, name: str) -> "_Layer":
        """(inputs, outputs, side, weights, bias, shift) as ``decant._libdcn`` takes it."""
        weight = self.take(f"{name}.weight", (np.int8, np.int16), (None, None, None, None))
        outputs, side, wide, inputs = weight.shape
        if side != wide:
            raise BundleError(f"{self._where}: {name}.weight has kernels of {side}x{wide}")
        bias = self.take(f"{name}.bias", (np.int32,), (outputs,))
        shift = self.take(f"{name}.shift", (np.uint8,), (outputs,))
        return inputs, outputs, side, np.ascontiguousarray(weight, np.int16), bias, shift

    def all_used(self) -> None:
        """Raises BundleError where a tensor is left that nothing took."""
        if self._left:
            raise BundleError(f"{self._where}: unknown tensors {', '.join(sorted(self._left)[:4])}")
