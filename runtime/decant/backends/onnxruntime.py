"""ONNX Runtime; imported only when a session or its devices are asked for."""

import os
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np

from decant.backends import plugins
from decant.backends.device import Device
from decant.backends.onnxruntime_loading import load
from decant.backends.session import CheckedSession, Pending, SessionPlan, Tensor
from decant.errors import BundleError, DeviceError, MissingExtraError
from decant.process import lifecycle


def onnxruntime_module() -> Any:
    """The imported onnxruntime, its telemetry off. Raises MissingExtraError."""
    # Since 1.29 the import itself writes a device id and events into the home folder, and looks up a host.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            f"onnxruntime cannot be loaded ({error}): pip install --force-reinstall onnxruntime"
        ) from None
    return onnxruntime


class OnnxRuntimeSession(CheckedSession):
    """A graph in ONNX Runtime."""

    runtime = "onnxruntime"

    def __init__(self, plan: SessionPlan) -> None:
        super().__init__(plan)
        ort = onnxruntime_module()
        self.runtime_version: str = ort.__version__
        self._threads = plan.threads
        (model,) = plan.blobs
        # Old versions of ONNX Runtime take an address in memory from this mark; no exporter writes it.
        if b"_ORT_MEM_ADDR_" in model:
            raise BundleError(f"{self._label}: refers to data outside its file")
        self._session = lifecycle.Native(lambda: self._load(ort, plan))
        session = self._session.get()
        for what, declared, found in (
            ("input", self._inputs, session.get_inputs()),
            ("output", (self._output,), session.get_outputs()),
        ):
            self._compare_all(what, declared, [_of_onnxruntime(tensor) for tensor in found])

    def _load(self, ort: Any, plan: SessionPlan) -> Any:
        if plan.device.kind == "cpu":
            return self._called("loaded", load, ort, plan, self._label)
        try:
            return self._called(f"compiled for {plan.device.name}", load, ort, plan, self._label)
        except BundleError as error:  # another device or runtime may take the graph
            raise DeviceError(str(error)) from None

    def run(self, *inputs: np.ndarray) -> np.ndarray:
        """See Session.run. Raises BundleError when the runtime fails."""
        (y,) = self._called("run", self._session.get().run, None, self._given(inputs))
        return self._checked_result(inputs, y)

    def start(self, *inputs: np.ndarray) -> Pending:
        """See Session.start."""
        if self._threads == 1 or lifecycle.ending():  # run_async wants another thread
            made = self.run(*inputs)
            return lambda: made
        given = self._given(inputs)
        found: SimpleQueue[tuple[Sequence[np.ndarray], str]] = SimpleQueue()

        def keep(results: Sequence[np.ndarray], _: object, error: str) -> None:
            found.put((results, error))
            lifecycle.pending.discard(found)

        lifecycle.pending.add(found)
        self._called("run", self._session.get().run_async, [self._output.name], given, keep, None)

        def result() -> np.ndarray:
            results, error = found.get()
            if error:
                raise self._error(RuntimeError(error), "run")
            return self._checked_result(inputs, results[0])

        return result


def _of_onnxruntime(tensor: Any) -> Tensor:
    shape = [size if isinstance(size, int) else None for size in tensor.shape]
    return tensor.name, _ORT_TYPES.get(tensor.type, tensor.type), shape


_ORT_TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}


_BUILT_IN = {
    "CPUExecutionProvider": ("cpu", ("float", "int8")),
    "CUDAExecutionProvider": ("gpu", ("float", "float16", "int8")),
    "ROCMExecutionProvider": ("gpu", ("float", "float16")),
    "CoreMLExecutionProvider": ("npu", ("float16",)),
}


def onnxruntime_devices(kinds: Sequence[str] | None = None) -> list[Device]:
    """What this onnxruntime was built for and sees, and what its plugins see (``decant.backends.plugins``).
    The plugins are loaded only where ``kinds`` asks for more than the cpu. Raises MissingExtraError.
    """
    ort = onnxruntime_module()
    found = [
        Device(
            "onnxruntime",
            _BUILT_IN[name][0],
            name,
            name,
            provider=f"onnxruntime {ort.__version__}",
            precisions=_BUILT_IN[name][1],
            static_shapes=_BUILT_IN[name][0] == "npu",
        )
        for name in ort.get_available_providers()
        if name in _BUILT_IN
    ]
    if kinds is not None and set(kinds) <= {"cpu"}:
        return found
    return found + plugins.plugin_devices(ort)
