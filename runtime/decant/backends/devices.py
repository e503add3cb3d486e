"""The devices that the installed runtimes see (docs/devices.md)."""

from decant.backends.device import Device
from decant.errors import DeviceError, MissingExtraError

KINDS = ("cpu", "gpu", "npu")


# native gives the same pixels everywhere and loads at once; onnxruntime is always installed; openvino follows
# where it brings a device of its own.
RUNTIMES = ("native", "onnxruntime", "openvino")


def available_devices(runtime: str | None = None) -> list[Device]:
    """The devices that the installed runtimes see; of one runtime when it is named.

    Raises MissingExtraError when the runtime named is not installed.
    """
    from decant.backends import native as integer
    from decant.backends import onnxruntime, openvino

    listing = {
        "native": integer.native_devices,
        "onnxruntime": onnxruntime.onnxruntime_devices,
        "openvino": openvino.openvino_devices,
    }
    if runtime is not None:
        return listing[runtime]()
    devices: list[Device] = []
    for name in RUNTIMES:
        try:
            devices += listing[name]()
        except MissingExtraError:
            continue
    return devices


def find_device(runtime: str, kind: str) -> Device:
    """The first device of ``kind`` in ``runtime``. Raises DeviceError by name, MissingExtraError."""
    devices = available_devices(runtime)
    for device in devices:
        if device.kind == kind:
            return device
    raise DeviceError(absent(kind, {runtime: devices}))


def absent(kind: str, seen: dict[str, list[Device]]) -> str:
    """The message that there is no device of ``kind``, with those that each runtime has ``seen``."""
    sees = "; ".join(
        f"{runtime} sees {', '.join(device.kind.upper() for device in devices) or 'nothing'}"
        for runtime, devices in seen.items()
    )
    return f"no {kind.upper() if kind in KINDS else kind} here: {sees}; --device cpu runs everywhere"
