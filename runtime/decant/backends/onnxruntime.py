"""ONNX Runtime; imported only when a session or its devices are asked for."""

import os
from collections.abc import Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np

from decant.backends.device import Device
from decant.backends.session import CheckedSession, Pending, SessionPlan, Tensor
from decant.errors import BundleError, DeviceError, MissingExtraError
from decant.process import lifecycle

# The first release of ONNX Runtime whose threads are known to take a time to spin for, and that time.
_SPINS_BRIEFLY, _SPIN_US = (1, 31), 100


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


def _release(version: str) -> tuple[int, ...]:
    """(1, 31) of "1.31.1"; () of what is not of that form."""
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()


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
        options = ort.SessionOptions()
        options.intra_op_num_threads = plan.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # its log lines would stand beside our one-line errors
        # Threads that spin between runs take the cores from whoever else works here: a second session, a
        # thread that writes PNGs. Those that sleep between two operators of a run wake too late.
        brief = plan.threads > 1 and _release(ort.__version__) >= _SPINS_BRIEFLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if brief else "0")
        if brief:
            options.add_session_config_entry("session.intra_op.spin_duration_us", str(_SPIN_US))
        options.add_session_config_entry("session.load_model_format", "ONNX")
        if plan.graph.precision == "float":  # weights stored in 8 bits are restored once, not in every run
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        # A graph holds all of its weights; a folder that cannot exist makes any outside file an error.
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", os.devnull + "/none"
        )
        providers = [plan.device.id]
        if plan.device.kind != "cpu":
            if plan.strict_device:
                options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            else:
                providers.append("CPUExecutionProvider")
        self._session = lifecycle.Native(
            lambda: self._called("loaded", partial(ort.InferenceSession, model, options, providers=providers))
        )
        session = self._session.get()
        if plan.device.id not in session.get_providers():
            raise DeviceError(
                f"{self._label}: {plan.device.id} was dropped by onnxruntime while loading; use --device cpu"
            )
        for what, declared, found in (
            ("input", self._inputs, session.get_inputs()),
            ("output", (self._output,), session.get_outputs()),
        ):
            self._compare_all(what, declared, [_of_onnxruntime(tensor) for tensor in found])

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


def onnxruntime_devices() -> list[Device]:
    """What this onnxruntime was built for and sees. Raises MissingExtraError."""
    kinds = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "gpu", "ROCMExecutionProvider": "gpu"}
    found = onnxruntime_module().get_available_providers()
    return [Device("onnxruntime", kinds[name], name, name) for name in found if name in kinds]
