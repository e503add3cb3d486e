"""How ONNX Runtime loads a graph: its settings, the provider of a device, compiled graphs, and the check of
where the operators went.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from decant.backends import plugins
from decant.backends.device import Device
from decant.backends.session import SessionPlan
from decant.errors import DeviceError
from decant.process.failures import is_from

# The first release of ONNX Runtime whose threads are known to take a time to spin for, and that time.
_SPINS_BRIEFLY, _SPIN_US = (1, 31), 100
_CPU = "CPUExecutionProvider"


def load(ort: Any, plan: SessionPlan, label: str) -> Any:
    """The runtime's session of ``plan``, from the compiled graph where the plan's store has it.

    Raises what the runtime raises, and DeviceError where nothing of the graph would run on the device.
    """
    (model,) = plan.blobs
    store = plan.store
    if store is None:
        return _session(ort, plan, model, label)
    key = store.key(plan.blobs, **_key(ort, plan))
    compiled = store.read(key)
    if compiled is not None:
        try:
            return _session(ort, plan, compiled, label, compiled=True)
        except Exception as error:  # of a context that this driver refuses, say
            if not isinstance(error, DeviceError) and not is_from(error, "onnxruntime"):
                raise
            store.drop(key)
    if store.write:
        store.keep(key, compiled_graph(ort, plan))
    return _session(ort, plan, model, label)


def compiled_graph(ort: Any, plan: SessionPlan) -> bytes:
    """The graph of ``plan`` compiled for its device: a graph with the device's context in it, or for the
    processor the optimised graph. Raises what the runtime raises.
    """
    (model,) = plan.blobs
    options = _options(ort, plan)
    if plugins.is_plugin(plan.device):
        plugins.place(ort, options, plan.device)
        compiler = ort.ModelCompiler(options, model, embed_compiled_data_into_model=True)
        return bytes(compiler.compile_to_bytes())
    with tempfile.TemporaryDirectory(prefix="decant-") as folder:
        path = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(path)
        ort.InferenceSession(model, options, providers=_providers(plan))
        return path.read_bytes()


def _key(ort: Any, plan: SessionPlan) -> dict[str, Any]:
    """What a compiled graph of ``plan`` depends on, besides the graph and the machine."""
    device = plan.device
    return {
        "runtime": "onnxruntime",
        "runtime_version": ort.__version__,
        "provider": device.provider,
        "driver": device.driver,
        "device": [device.kind, device.name, device.id.partition(":")[0]],
        "settings": {"threads": plan.threads if device.kind == "cpu" else 0, "strict": plan.strict_device},
    }


def _session(ort: Any, plan: SessionPlan, model: bytes, label: str, *, compiled: bool = False) -> Any:
    options = _options(ort, plan)
    if plugins.is_plugin(plan.device):
        plugins.place(ort, options, plan.device)
        session = ort.InferenceSession(model, options)
    else:
        if compiled:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = ort.InferenceSession(model, options, providers=_providers(plan))
    if plan.device.kind != "cpu":
        _require_placed(ort, session, plan.device, label)
    return session


def _providers(plan: SessionPlan) -> list[str]:
    fallback = [_CPU] if plan.device.kind != "cpu" and not plan.strict_device else []
    return [plan.device.id, *fallback]


def _require_placed(ort: Any, session: Any, device: Device, label: str) -> None:
    """Raise DeviceError where no operator of a loaded graph runs on ``device``."""
    name = plugins.provider_name(ort, device) if plugins.is_plugin(device) else device.id
    if name not in session.get_providers():
        raise DeviceError(f"{label}: {name} was dropped by onnxruntime while loading; use --device cpu")
    if not hasattr(session, "get_provider_graph_assignment_info"):  # before ONNX Runtime 1.24
        return
    if not any(part.ep_name == name for part in session.get_provider_graph_assignment_info()):
        raise DeviceError(
            f"{label}: no operator of it can run on {device.name} ({name}), all would run on the cpu; "
            "use --device cpu, or a graph of static shapes (docs/devices.md)"
        )


def _options(ort: Any, plan: SessionPlan) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = plan.threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = plan.keep_memory
    options.log_severity_level = 4  # its log lines would stand beside our one-line errors
    # Threads that spin between runs take the cores from whoever else works here: a second session, a thread
    # that writes PNGs. Those that sleep between two operators of a run wake too late.
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
    if plan.device.kind != "cpu":
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        if plan.strict_device:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _release(version: str) -> tuple[int, ...]:
    """(1, 31) of "1.31.1"; () of what is not of that form."""
    parts = version.split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()
