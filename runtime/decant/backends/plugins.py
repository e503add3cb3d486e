"""Execution providers of ONNX Runtime that come as packages of their own.

Each package has a library that is registered with ONNX Runtime once in a process. Its devices are listed by
``get_ep_devices`` then. Libraries are loaded only where another device than the processor is asked for.

https://onnxruntime.ai/docs/execution-providers/plugin-ep-libraries
"""

import importlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from decant.backends.device import Device
from decant.process import lifecycle

# What compiled Qualcomm graphs are for where no Qualcomm chip is: Snapdragon X Elite (SC8380XP, HTP v73).
EMULATED_SOC = "60"
_HALF = ("float16",)
_FLOATS = ("float16", "float")
_ALL = ("int8", "int16", "float16")


@dataclass(frozen=True)
class Plugin:
    """A provider package: the ``module`` that it is imported as, and the ``provider`` that it is registered
    as. Qualcomm's takes context binaries of no other name than its own.

    ``precisions``, ``static_shapes`` and ``options`` (of the provider, for a session) hold by kind of device.
    """

    name: str
    package: str
    module: str
    provider: str
    precisions: Mapping[str, tuple[str, ...]]
    static_shapes: frozenset[str] = frozenset({"npu", "emulator", "virtual"})
    options: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: MappingProxyType({}))


# Inputs are quantized on the device as well; by default the processor would do it.
_QNN = {"backend_type": "htp", "offload_graph_io_quantization": "0"}
PLUGINS = (
    Plugin(
        "qnn",
        "onnxruntime-qnn",
        "onnxruntime_qnn",
        "QNNExecutionProvider",
        {"npu": _ALL, "emulator": _ALL},
        options={
            "npu": {**_QNN, "htp_performance_mode": "burst"},
            "emulator": {**_QNN, "soc_model": EMULATED_SOC},
        },
    ),
    Plugin(
        "openvino",
        "onnxruntime-ep-openvino",
        "onnxruntime_ep_openvino",
        "OpenVINOExecutionProvider",
        {"npu": ("int8", "float16"), "virtual": ("int8", "float16"), "gpu": ("int8", "float16", "float")},
    ),
    Plugin(
        "tensorrt-rtx",
        "onnxruntime-ep-nv-tensorrt-rtx",
        "onnxruntime_ep_nv_tensorrt_rtx",
        "NvTensorRTRTXExecutionProvider",
        {"gpu": ("int8", "float16", "float")},
    ),
    Plugin("cuda", "onnxruntime-ep-cuda", "onnxruntime_ep_cuda", "CUDAExecutionProvider", {"gpu": _FLOATS}),
    Plugin(
        "webgpu",
        "onnxruntime-ep-webgpu",
        "onnxruntime_ep_webgpu",
        "WebGpuExecutionProvider",
        {"gpu": _FLOATS},
    ),
    Plugin("mlx", "onnxruntime-ep-mlx", "onnxruntime_ep_mlx", "MLXExecutionProvider", {"gpu": _HALF}),
)
_VIRTUAL = ".virtual"  # registered under such a name, OpenVINO lists the NPUs that it could compile for
_BY_NAME = {plugin.name: plugin for plugin in PLUGINS}

_lock = threading.Lock()
_registered: dict[str, str] = {}  # name of a plugin -> "" or why its library could not be registered


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


lifecycle.after_fork(_after_fork)


def failures() -> dict[str, str]:
    """Why plugins that are installed could not be registered, by name."""
    return {name: reason for name, reason in _registered.items() if reason}


def register(ort: Any) -> None:
    """Register the library of every plugin that is installed and not registered yet."""
    with _lock:
        for plugin in PLUGINS:
            if plugin.name in _registered:
                continue
            try:
                module = importlib.import_module(plugin.module)
            except ImportError:
                continue  # not installed; it may be later
            _registered[plugin.name] = _register(ort, plugin.provider, module)
            if plugin.name == "openvino" and not _registered[plugin.name]:
                _register(ort, plugin.provider + _VIRTUAL, module)


def _register(ort: Any, name: str, module: Any) -> str:
    try:
        ort.register_execution_provider_library(name, module.get_library_path())
    except Exception as error:  # a library that does not fit this system or this ONNX Runtime
        said = str(error)
        if "already registered" in said:  # by the program that decant is a part of
            return ""
        return said.splitlines()[0][:200] if said else type(error).__name__
    return ""


def plugin_devices(ort: Any) -> list[Device]:
    """The devices of the registered plugins, in the order of PLUGINS."""
    register(ort)
    found = []
    for index, (plugin, handle) in enumerate(_handles(ort)):
        kind = _kind(handle)
        if kind == "cpu" and plugin.name == "qnn":
            kind = "emulator"
        found.append(
            Device(
                "onnxruntime",
                kind,
                _name(plugin, handle, kind),
                f"{plugin.name}:{index}",
                provider=f"{plugin.package} {_version(plugin)}",
                driver=_driver(handle),
                precisions=tuple(plugin.precisions.get(kind, ())),
                static_shapes=kind in plugin.static_shapes,
            )
        )
    return found


def is_plugin(device: Device) -> bool:
    """Whether ``device`` is one of a plugin."""
    return device.runtime == "onnxruntime" and ":" in device.id


def place(ort: Any, options: Any, device: Device) -> None:
    """Have the session options ``options`` use the plugin's ``device``."""
    name, _, index = device.id.partition(":")
    _, handle = _handles(ort)[int(index)]
    options.add_provider_for_devices([handle], dict(_BY_NAME[name].options.get(device.kind, {})))


def provider_name(ort: Any, device: Device) -> str:
    """What ONNX Runtime calls the provider of a plugin's ``device``."""
    return str(_handles(ort)[int(device.id.partition(":")[2])][1].ep_name)


def _handles(ort: Any) -> list[tuple[Plugin, Any]]:
    """The plugins' devices as ONNX Runtime lists them, each with its plugin."""
    libraries = {}
    for plugin in PLUGINS:
        if _registered.get(plugin.name) == "":
            libraries[importlib.import_module(plugin.module).get_library_path()] = plugin
    found = [
        (libraries[path], handle)
        for handle in ort.get_ep_devices()
        if (path := dict(handle.ep_metadata).get("library_path", "")) in libraries
    ]
    return sorted(found, key=lambda pair: PLUGINS.index(pair[0]))


def _kind(handle: Any) -> str:
    if dict(handle.device.metadata).get("is_virtual") == "1":
        return "virtual"
    return {"CPU": "cpu", "GPU": "gpu", "NPU": "npu"}.get(handle.device.type.name, "other")


def _name(plugin: Plugin, handle: Any, kind: str) -> str:
    said = dict(handle.ep_metadata)
    if kind == "emulator":
        return "Qualcomm HTP, emulated by the processor"
    parts = [str(handle.ep_vendor or handle.device.vendor), handle.device.type.name]
    parts += [f"platform {said['npu_platform']}"] if "npu_platform" in said else []
    described = dict(handle.device.metadata).get("Description")
    return " ".join([described] if described else parts)


def _driver(handle: Any) -> str:
    said = {**dict(handle.device.metadata), **dict(handle.ep_metadata)}
    return next((str(said[key]) for key in ("driver_version", "DriverVersion") if key in said), "")


def _version(plugin: Plugin) -> str:
    from importlib.metadata import PackageNotFoundError, version

    for package in (plugin.package, f"{plugin.package}-cu13", f"{plugin.package}-cu12"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return "of unknown version"
