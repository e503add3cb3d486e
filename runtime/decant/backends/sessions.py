"""Makes the session of a graph in the runtime that the graph was written for."""

from collections.abc import Callable, Sequence

from decant.backends.devices import find_device
from decant.backends.graph_check import check_graph
from decant.backends.onnxruntime import OnnxRuntimeSession
from decant.backends.openvino import OpenVinoSession
from decant.backends.session import Session, SessionPlan
from decant.errors import BundleError
from decant.formats.manifest import Graph
from decant.process.cores import usable_cores


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


def _native(plan: SessionPlan) -> Session:
    from decant.backends.native import IntegerSession

    return IntegerSession(plan)


_SESSIONS: dict[str, Callable[[SessionPlan], Session]] = {
    "native": _native,
    "onnxruntime": OnnxRuntimeSession,
    "openvino": OpenVinoSession,
}
