"""The devices that the installed runtimes see (docs/devices.md)."""

from collections.abc import Callable, Sequence

from decant.backends.device import Device
from decant.errors import DeviceError, MissingExtraError

# Kinds that can run a graph. An emulator is never chosen unless it is asked for by name.
KINDS = ("cpu", "gpu", "npu", "emulator")


# native gives the same pixels everywhere and loads at once; onnxruntime is always installed; openvino follows
# where it brings a device of its own.
RUNTIMES = ("native", "onnxruntime", "openvino")


def available_devices(runtime: str | None = None, kinds: Sequence[str] | None = None) -> list[Device]:
    """The devices that the installed runtimes see and that can run a graph; of one runtime when it is named,
    and of some ``kinds``: provider plugins of ONNX Runtime are loaded only where they may be of use.

    Raises MissingExtraError when the runtime named is not installed.
    """
    from decant.backends import native as integer
    from decant.backends import onnxruntime, openvino

    listing: dict[str, Callable[[], list[Device]]] = {
        "native": integer.native_devices,
        "onnxruntime": lambda: onnxruntime.onnxruntime_devices(kinds),
        "openvino": openvino.openvino_devices,
    }
    devices: list[Device] = []
    for name in RUNTIMES if runtime is None else (runtime,):
        try:
            devices += listing[name]()
        except MissingExtraError:
            if runtime is not None:
                raise
    return [device for device in devices if device.kind in (kinds or KINDS)]


def virtual_devices() -> list[Device]:
    """Devices that graphs can be compiled for and that are not here: Intel NPUs, where the provider plugin
    ``onnxruntime-ep-openvino`` is installed. Raises MissingExtraError.
    """
    from decant.backends import onnxruntime

    return [device for device in onnxruntime.onnxruntime_devices() if device.kind == "virtual"]


def find_device(runtime: str, kind: str) -> Device:
    """The first device of ``kind`` in ``runtime``. Raises DeviceError by name, MissingExtraError."""
    devices = available_devices(runtime, (kind,))
    if devices:
        return devices[0]
    raise DeviceError(absent(kind, {runtime: available_devices(runtime)}))


def absent(kind: str, seen: dict[str, list[Device]]) -> str:
    """The message that there is no device of ``kind``, with those that each runtime has ``seen``."""
    sees = "; ".join(
        f"{runtime} sees {', '.join(device.kind.upper() for device in devices) or 'nothing'}"
        for runtime, devices in seen.items()
    )
    return f"no {kind.upper() if kind in KINDS else kind} here: {sees}; --device cpu runs everywhere"
