"""Makes the session of a graph in the runtime that the graph was written for."""

from collections.abc import Callable, Sequence

from decant.backends.compiled import CompiledStore
from decant.backends.device import Device
from decant.backends.devices import find_device
from decant.backends.graph_check import check_graph
from decant.backends.onnxruntime import OnnxRuntimeSession, onnxruntime_module
from decant.backends.onnxruntime_loading import compiled_graph
from decant.backends.openvino import OpenVinoSession
from decant.backends.session import Session, SessionPlan, reason
from decant.backends.tile_session import TileSession
from decant.backends.tiling import is_tile
from decant.errors import BundleError, DeviceError
from decant.formats.manifest import Graph
from decant.process.cores import usable_cores
from decant.process.failures import is_from


def create_session(
    graph: Graph,
    blobs: Sequence[bytes],
    *,
    device: str = "cpu",
    requested_device: str | None = None,
    threads: int = 0,
    strict_device: bool = False,
    where: str = "<bytes>",
    halo: int = 0,
    store: CompiledStore | None = None,
    keep_memory: bool = True,
) -> Session:
    """Build the session of ``graph`` from the content of its files, in their order.

    ``device`` is cpu, gpu, npu or emulator and is never replaced by another; ``requested_device`` is what the
    user said ("auto", say). ``threads`` 0 means all cores that this process may use. ``strict_device`` also
    refuses single operators that would run elsewhere. ``halo`` is how far the graph looks, in places of its
    input: a tile graph runs in tiles with it. ``store`` has graphs compiled earlier;
    ``keep_memory`` is that of SessionPlan.

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
    plan = SessionPlan(
        graph, blobs, found, requested_device or device, threads, strict_device, where, store, keep_memory
    )
    session = _SESSIONS[graph.runtime](plan)
    return TileSession(session, graph, halo, where) if is_tile(graph) else session


def compile_graph(graph: Graph, blob: bytes, device: Device, where: str = "<bytes>") -> bytes:
    """``graph`` of ONNX Runtime, whose file is ``blob``, compiled for ``device``, which may be virtual.

    Raises DeviceError where the device's compiler is missing or does not take the graph; BundleError.
    """
    label = f"{where}: {graph.label}"
    check_graph(graph.runtime, [blob], label)
    ort = onnxruntime_module()
    plan = SessionPlan(graph, [blob], device, device.kind, 1, True, where)
    try:
        return compiled_graph(ort, plan)
    except Exception as error:
        if not is_from(error, "onnxruntime"):
            raise
        raise DeviceError(f"{label} cannot be compiled for {device.name}: {reason(error)}") from None


def _native(plan: SessionPlan) -> Session:
    from decant.backends.native import IntegerSession

    return IntegerSession(plan)


_SESSIONS: dict[str, Callable[[SessionPlan], Session]] = {
    "native": _native,
    "onnxruntime": OnnxRuntimeSession,
    "openvino": OpenVinoSession,
}
