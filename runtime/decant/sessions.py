"""One protocol, ``Session.run``, over ONNX Runtime and OpenVINO; the only file that imports either, and only
when one is used.

A session is made from bytes that were checked against the bundle's hashes, so what was checked is what runs.
Sessions may be used from several threads at once. The device asked for and the device that runs are two
attributes.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol, TypeAlias

import numpy as np

from decant import lifecycle
from decant.cores import usable_cores
from decant.devices import Device, find_device
from decant.errors import BundleError, DeviceError, MissingExtraError
from decant.failures import is_from
from decant.graph_check import check_graph
from decant.manifest import Graph, TensorSpec

_log = logging.getLogger("decant")

# The first release of ONNX Runtime whose threads are known to take a time to spin for, and that time.
_SPINS_BRIEFLY, _SPIN_US = (1, 31), 100


class Session(Protocol):
    """A loaded graph with one output."""

    runtime: str
    runtime_version: str
    requested_device: str
    device: str  # the kind that runs: cpu, gpu or npu
    device_name: str
    precision: str

    def run(self, *inputs: np.ndarray) -> np.ndarray:
        """Inputs (n, ...), in the bundle's order -> output (n, ...), of the types and shapes that the bundle
        gives for the graph.
        """

    def start(self, *inputs: np.ndarray) -> "Pending":
        """Begin ``run`` on the session's own threads, where it has more than one; what is returned gives the
        result when called, and must be called.
        """


Pending: TypeAlias = Callable[[], np.ndarray]


def create_session(
    graph: Graph,
    blobs: Sequence[bytes],
    *,
    device: str = "cpu",
    requested_device: str | None = None,
    threads: int = 0,
    strict_device: bool = False,
    where: str = "<bytes>",
) -> Session:
    """Build the session of ``graph`` from the content of its files, in their order.

    ``device`` is cpu, gpu or npu and is never replaced by another; ``requested_device`` is what the user said
    ("auto", say). ``threads`` 0 means all cores that this process may use. ``strict_device`` also refuses
    single operators that would run elsewhere.

    Raises DeviceError when the device is not here or cannot take the graph, BundleError when the graph cannot
    be loaded or is not what the bundle says, MissingExtraError when the runtime is not installed.
    """
    if graph.runtime not in _SESSIONS:
        raise BundleError(
            f"{where}: runtime {graph.runtime} is unknown to this decant ({', '.join(_SESSIONS)})"
        )
    check_graph(graph.runtime, blobs, f"{where}: {graph.label}")
    found = find_device(graph.runtime, device)
    threads = threads or usable_cores()
    plan = SessionPlan(graph, blobs, found, requested_device or device, threads, strict_device, where)
    return _SESSIONS[graph.runtime](plan)


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


@dataclass(frozen=True)
class SessionPlan:
    """What a session is made from."""

    graph: Graph
    blobs: Sequence[bytes]
    device: Device
    requested_device: str
    threads: int
    strict_device: bool
    where: str


_Tensor = tuple[str, str, Sequence[int | None]]  # name, dtype, shape (None: open)


class CheckedSession:
    """What both sessions share: names, the check of what the graph is, and the mapping of errors."""

    runtime: str

    def __init__(self, plan: SessionPlan) -> None:
        self.requested_device = plan.requested_device
        self.device = plan.device.kind
        self.device_name = plan.device.name
        self.precision = plan.graph.precision
        self._label = f"{plan.where}: {plan.graph.label}"
        if not plan.graph.inputs or len(plan.graph.outputs) != 1:
            raise BundleError(f"{self._label}: at least one input and exactly one output expected")
        self._inputs, self._output = plan.graph.inputs, plan.graph.outputs[0]

    def _compare(
        self, what: str, declared: TensorSpec, name: str, dtype: str, shape: Sequence[int | None]
    ) -> None:
        """Refuse a graph whose tensor is not the one that bundle.json declares. A dimension that the graph
        leaves open (None), or bundle.json does (a name), is checked when it has run.
        """
        fits = len(shape) == len(declared.shape) and all(
            size in (None, wanted) or (size == 1 and isinstance(wanted, str))
            for size, wanted in zip(shape, declared.shape, strict=True)
        )
        if not fits or (name, dtype) != (declared.name, declared.dtype):
            raise BundleError(
                f"{self._label}: {what} is {name} {dtype} {list(shape)}; bundle.json says "
                f"{declared.name} {declared.dtype} {list(declared.shape)}"
            )

    def _compare_all(self, what: str, declared: Sequence[TensorSpec], found: Sequence[_Tensor]) -> None:
        if len(found) != len(declared):
            raise BundleError(f"{self._label}: {len(found)} {what}s; {len(declared)} expected")
        for expected, tensor in zip(declared, found, strict=True):
            self._compare(what, expected, *tensor)

    def _checked_result(self, inputs: Sequence[np.ndarray], y: np.ndarray) -> np.ndarray:
        """``y``, whose dimensions must be those declared; a name that no input has may be any size."""
        sizes = {
            name: size
            for x, declared in zip(inputs, self._inputs, strict=True)
            for name, size in zip(declared.shape, x.shape, strict=True)
        }
        wanted = [sizes.get(size) if isinstance(size, str) else size for size in self._output.shape]
        fits = len(wanted) == y.ndim and all(
            size in (None, has) for size, has in zip(wanted, y.shape, strict=True)
        )
        if not fits or y.dtype.name != self._output.dtype:
            raise BundleError(
                f"{self._label}: gave {y.dtype} {y.shape}; {self._output.dtype} {tuple(wanted)} expected"
            )
        return y

    def _given(self, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """The inputs by name. Raises BundleError for another number of them than the graph takes."""
        if len(inputs) != len(self._inputs):
            raise BundleError(f"{self._label}: {len(inputs)} inputs given; it takes {len(self._inputs)}")
        return {declared.name: x for declared, x in zip(self._inputs, inputs, strict=True)}

    def _called(self, verb: str, work: Callable[..., Any], *arguments: Any) -> Any:
        """What ``work``, a function of the runtime, gives. The runtime's own exceptions become BundleError;
        those of signal handlers pass.
        """
        lifecycle.enter()
        try:
            return work(*arguments)
        except Exception as error:
            if not is_from(error, self.runtime):
                raise
            raise self._error(error, verb) from None
        finally:
            lifecycle.leave()

    def _error(self, error: Exception, verb: str) -> BundleError:
        return BundleError(f"{self._label} cannot be {verb} here: {str(error)[:300]}")


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


def _of_onnxruntime(tensor: Any) -> _Tensor:
    shape = [size if isinstance(size, int) else None for size in tensor.shape]
    return tensor.name, _ORT_TYPES.get(tensor.type, tensor.type), shape


_ORT_TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}


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
        core = _core()
        model = self._called("loaded", core.read_model, xml, weights)
        for what, specs, tensors in (
            ("input", self._inputs, model.inputs),
            ("output", (self._output,), model.outputs),
        ):
            names = [spec.name for spec in specs]
            self._compare_all(what, specs, [_of_openvino(tensor, names) for tensor in tensors])
        shapes = {
            declared.name: [1, *(-1 if isinstance(n, str) else n for n in declared.shape[1:])]
            for declared in self._inputs
        }
        self._called("loaded", model.reshape, shapes)
        try:
            # The id names one plugin (CPU, GPU.0, NPU), never AUTO or HETERO: no operator can move elsewhere.
            compiled = core.compile_model(model, plan.device.id, config)
            ran = compiled.get_property("EXECUTION_DEVICES")
        except Exception as error:
            if not is_from(error, self.runtime):
                raise
            raise DeviceError(
                f"{self._label} cannot be compiled for {plan.device.id}: {str(error)[:300]}"
            ) from None
        if any(name.split(".")[0] != plan.device.id.split(".")[0] for name in ran):
            raise DeviceError(
                f"{self._label}: asked for {plan.device.id}; openvino would run it on {', '.join(ran)}"
            )
        return _Compiled(compiled)

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


def _of_openvino(tensor: Any, wanted: Sequence[str]) -> _Tensor:
    shape = [None if size.is_dynamic else size.get_length() for size in tensor.get_partial_shape()]
    names = tensor.get_names()
    name = next((name for name in wanted if name in names), str(sorted(names)))
    return name, tensor.get_element_type().to_dtype().name, shape


def _native(plan: SessionPlan) -> Session:
    from decant.integer import IntegerSession

    return IntegerSession(plan)


_SESSIONS: dict[str, Callable[[SessionPlan], Session]] = {
    "native": _native,
    "onnxruntime": OnnxRuntimeSession,
    "openvino": OpenVinoSession,
}

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


def onnxruntime_devices() -> list[Device]:
    """What this onnxruntime was built for and sees. Raises MissingExtraError."""
    kinds = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "gpu", "ROCMExecutionProvider": "gpu"}
    found = onnxruntime_module().get_available_providers()
    return [Device("onnxruntime", kinds[name], name, name) for name in found if name in kinds]


def openvino_devices() -> list[Device]:
    """What openvino sees. Raises MissingExtraError."""
    core = _core()
    devices = []
    for plugin in core.available_devices:
        kind = plugin.split(".")[0].lower()
        if kind in ("cpu", "gpu", "npu"):
            devices.append(
                Device("openvino", kind, str(core.get_property(plugin, "FULL_DEVICE_NAME")), plugin)
            )
    return devices
