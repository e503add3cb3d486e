"""OpenVINO; imported only when a session or its devices are asked for. Its telemetry stays off."""

import io
import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from decant.backends.device import Device
from decant.backends.session import CheckedSession, Pending, SessionPlan, Tensor, reason
from decant.errors import BundleError, DeviceError, MissingExtraError
from decant.process import lifecycle
from decant.process.failures import is_from


def openvino_module() -> Any:
    """The imported openvino. Raises MissingExtraError."""
    # `import openvino` reports itself to a server through openvino_telemetry when that is installed; without
    # it, it does not.
    silenced = "openvino" not in sys.modules and "openvino_telemetry" not in sys.modules
    if silenced:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError(
            f"openvino cannot be loaded ({error}): pip install 'decant-codec[openvino]'"
        ) from None
    finally:
        if silenced:
            sys.modules.pop("openvino_telemetry", None)
    return openvino


class OpenVinoSession(CheckedSession):
    """A graph in OpenVINO, compiled for batch 1: NPUs need static shapes, and CPUs are quicker with them."""

    runtime = "openvino"

    def __init__(self, plan: SessionPlan) -> None:
        super().__init__(plan)
        ov = openvino_module()
        self.runtime_version: str = ov.__version__.split("-")[0]
        xml, weights = plan.blobs
        if not xml.lstrip().startswith((b"<?xml", b"<net")):  # OpenVINO would try its other formats on it
            raise BundleError(f"{self._label}: not an OpenVINO IR")
        config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if plan.device.kind == "cpu":
            config["INFERENCE_NUM_THREADS"] = plan.threads
        # Left alone, OpenVINO computes in bf16 or f16 where the device can, up to 11/255 off, and does not
        # say so. NPUs have no f32: there the golden files decide whether theirs is good enough.
        if plan.device.kind != "npu":
            config["INFERENCE_PRECISION_HINT"] = "f32"
        self._compiled_native = lifecycle.Native(lambda: self._compile(plan, xml, weights, config))

    def _compile(self, plan: SessionPlan, xml: bytes, weights: bytes, config: dict[str, Any]) -> "_Compiled":
        core, store, device = _core(), plan.store, plan.device
        key: dict[str, Any] = {}
        if store is not None:
            key = store.key(
                plan.blobs,
                runtime=self.runtime,
                runtime_version=openvino_module().__version__,
                driver=device.driver,
                device=[device.kind, device.name, device.id],
                settings={name: str(value) for name, value in config.items()},
            )
            if (blob := store.read(key)) is not None:
                try:
                    return _Compiled(
                        self._checked(core.import_model(io.BytesIO(blob), device.id, config), device)
                    )
                except Exception as error:  # of a blob that this driver refuses, say
                    if not isinstance(error, BundleError | DeviceError) and not is_from(error, self.runtime):
                        raise
                    store.drop(key)
        compiled = self._checked(self._compiled_anew(core, plan, xml, weights, config), device)
        if store is not None and store.write:
            store.keep(key, self._called("exported", compiled.export_model).getvalue())
        return _Compiled(compiled)

    def _compiled_anew(
        self, core: Any, plan: SessionPlan, xml: bytes, weights: bytes, config: dict[str, Any]
    ) -> Any:
        model = self._called("loaded", core.read_model, xml, weights)
        self._check_tensors(model)
        shapes = {
            declared.name: [1, *(-1 if isinstance(n, str) else n for n in declared.shape[1:])]
            for declared in self._inputs
        }
        self._called("loaded", model.reshape, shapes)
        try:
            # The id names one plugin (CPU, GPU.0, NPU), never AUTO or HETERO: no operator can move elsewhere.
            return core.compile_model(model, plan.device.id, config)
        except Exception as error:
            if not is_from(error, self.runtime):
                raise
            raise DeviceError(
                f"{self._label} cannot be compiled for {plan.device.id}: {reason(error)}"
            ) from None

    def _check_tensors(self, model: Any) -> None:
        for what, specs, tensors in (
            ("input", self._inputs, model.inputs),
            ("output", (self._output,), model.outputs),
        ):
            names = [spec.name for spec in specs]
            self._compare_all(what, specs, [_of_openvino(tensor, names) for tensor in tensors])

    def _checked(self, compiled: Any, device: Device) -> Any:
        """``compiled``, which has the declared tensors and runs on ``device`` alone."""
        self._check_tensors(compiled)
        ran = compiled.get_property("EXECUTION_DEVICES")
        if any(name.split(".")[0] != device.id.split(".")[0] for name in ran):
            raise DeviceError(
                f"{self._label}: asked for {device.id}; openvino would run it on {', '.join(ran)}"
            )
        return compiled

    @property
    def _compiled(self) -> Any:
        return self._compiled_native.get().model

    def run(self, *inputs: np.ndarray) -> np.ndarray:
        """See Session.run. Raises BundleError when the runtime fails."""
        given, compiled = self._given(inputs), self._compiled_native.get()
        request = compiled.request()
        parts = [
            self._called("run", request.infer, {name: x[i : i + 1] for name, x in given.items()})[0]
            for i in range(len(inputs[0]))
        ]
        compiled.free.append(request)
        return self._checked_result(inputs, parts[0] if len(parts) == 1 else np.concatenate(parts))

    def start(self, *inputs: np.ndarray) -> Pending:
        """See Session.start. Takes a batch of one."""
        given, compiled = self._given(inputs), self._compiled_native.get()
        request = compiled.request()
        self._called("run", request.start_async, given)

        def result() -> np.ndarray:
            self._called("run", request.wait)
            made: np.ndarray = request.get_output_tensor(0).data.copy()
            compiled.free.append(request)
            return self._checked_result(inputs, made)

        return result


class _Compiled:
    """A compiled model and its idle infer requests. A request holds one run's tensors: each run takes one
    that no other thread has, and puts it back unless it was interrupted.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.free: list[Any] = []

    def request(self) -> Any:
        """An infer request that no other thread has."""
        try:
            return self.free.pop()
        except IndexError:
            return self.model.create_infer_request()


def _of_openvino(tensor: Any, wanted: Sequence[str]) -> Tensor:
    shape = [None if size.is_dynamic else size.get_length() for size in tensor.get_partial_shape()]
    names = tensor.get_names()
    name = next((name for name in wanted if name in names), str(sorted(names)))
    return name, tensor.get_element_type().to_dtype().name, shape


_core_lock = threading.Lock()


_core_made: lifecycle.Native[Any] | None = None


def _core() -> Any:
    """The process's one openvino.Core: making it loads the plugins."""
    global _core_made
    with _core_lock:
        if _core_made is None:
            module = openvino_module()
            _core_made = lifecycle.Native(lambda: module.Core())
        return _core_made.get()


def _unlock() -> None:
    global _core_lock
    _core_lock = threading.Lock()


lifecycle.after_fork(_unlock)


def openvino_devices() -> list[Device]:
    """What openvino sees. Raises MissingExtraError."""
    core, version = _core(), openvino_module().__version__.split("-")[0]
    devices = []
    for plugin in core.available_devices:
        kind = plugin.split(".")[0].lower()
        if kind in ("cpu", "gpu", "npu"):
            devices.append(
                Device(
                    "openvino",
                    kind,
                    str(core.get_property(plugin, "FULL_DEVICE_NAME")),
                    plugin,
                    provider=f"openvino {version}",
                    driver=_property(core, plugin, f"{kind.upper()}_DRIVER_VERSION"),
                    precisions=_precisions(core, plugin),
                    static_shapes=kind == "npu",
                )
            )
    return devices


# What openvino calls the precisions that a device computes in, and what bundles call them.
_PRECISIONS = {"FP32": "float", "FP16": "float16", "BF16": "bfloat16", "INT8": "int8"}


def _precisions(core: Any, plugin: str) -> tuple[str, ...]:
    try:
        found = core.get_property(plugin, "OPTIMIZATION_CAPABILITIES")
    except RuntimeError:
        return ()
    return tuple(ours for theirs, ours in _PRECISIONS.items() if theirs in found)


def _property(core: Any, plugin: str, name: str) -> str:
    try:
        return str(core.get_property(plugin, name))
    except RuntimeError:  # a property that this plugin has not
        return ""
