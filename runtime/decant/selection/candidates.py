"""The devices that are present, and the graphs of a bundle that fit the requested one (docs/devices.md).

``cpu``, ``gpu``, ``npu`` and ``emulator`` mean that device, or an error that names it. ``auto`` means the
first of npu, gpu, cpu that is present, has a graph, and decodes the bundle's golden files. If it ends on the
cpu, a message says so; in strict mode that is an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from decant.errors import BundleError, DecantError, DeviceError, MissingExtraError

if TYPE_CHECKING:
    from decant.bundles.bundle import Bundle
    from decant.formats.manifest import Graph
    from decant.selection.fitted import Choice
from decant.backends.device import Device
from decant.backends.devices import KINDS, RUNTIMES, absent, available_devices

AUTO_KINDS = ("npu", "gpu", "cpu")


# Precisions that "auto" tries, in order, by role and kind of device. Graphs that pixels pass through more
# than once (analysis, denoiser) have a float form only in most bundles.
AUTO_PRECISIONS = {
    "cpu": ("int16", "int8", "int8-static", "float", "int4"),
    "gpu": ("float", "int8-static", "int8", "int4"),
    "npu": ("int8-static", "float16", "int8", "float"),
    "emulator": ("int8-static", "float16", "int8", "float"),
}


@dataclass(frozen=True)
class GraphRequest:
    """The request of the user."""

    runtime: str = "auto"
    device: str = "cpu"
    precision: str = "auto"
    strict_device: bool = False
    first: "Choice | None" = None  # what ``decant fit`` chose here

    def __post_init__(self) -> None:
        for what, value, known in (
            ("runtime", self.runtime, ("auto", *RUNTIMES)),
            ("device", self.device, ("auto", *KINDS)),
        ):
            if value not in known:
                raise DeviceError(f"{what} {value!r} is unknown; one of {', '.join(known)} expected")


def candidates(bundle: "Bundle", role: str, wish: GraphRequest) -> "list[tuple[Graph, Device]]":
    """The graphs of ``role`` to try, each with its device, best first; never empty.

    Raises DeviceError when no device fits, BundleError when the bundle has no such graph, MissingExtraError
    when the runtime asked for is not installed.
    """
    runtimes = RUNTIMES if wish.runtime == "auto" else (wish.runtime,)
    graphs = [graph for graph in bundle.graphs if graph.role == role and graph.runtime in runtimes]
    if wish.precision != "auto":
        graphs = [graph for graph in graphs if graph.precision == wish.precision]
    if not graphs:
        asked = [role, *(w for w in (wish.precision, wish.runtime) if w != "auto")]
        have = ", ".join(graph.label for graph in bundle.graphs) or "none"
        raise BundleError(f"bundle {bundle.name}: no graph {' '.join(asked)}; it has {have}")
    kinds = AUTO_KINDS if wish.device == "auto" else (wish.device,)
    asked_of = [runtime for runtime in runtimes if any(graph.runtime == runtime for graph in graphs)]
    seen, missing = _seen(asked_of, kinds)
    if not seen:
        raise missing[0]
    found: list[tuple[Graph, Device]] = []
    for kind in kinds:
        for runtime, devices in seen.items():
            device = next((device for device in devices if device.kind == kind), None)
            if device is not None:
                fitting = [graph for graph in graphs if graph.runtime == runtime]
                found += [(graph, device) for graph in _by_precision(fitting, kind)]
    if wish.first is not None:
        chosen = wish.first.kind, wish.first.runtime, wish.first.precision
        found.sort(key=lambda pair: (pair[1].kind, pair[0].runtime, pair[0].precision) != chosen)
    if wish.strict_device and wish.device == "auto":
        found = [(graph, device) for graph, device in found if device.kind != "cpu"]
    if not found:
        kind = "npu or gpu" if wish.device == "auto" else wish.device
        raise DeviceError("; ".join([absent(kind, _seen(asked_of, KINDS)[0]), *map(str, missing)]))
    return found


def _by_precision(graphs: "Sequence[Graph]", kind: str) -> "list[Graph]":
    from decant.backends.tiling import is_static  # with numpy

    order = AUTO_PRECISIONS[kind]

    def rank(graph: "Graph") -> tuple[bool, int]:
        # NPUs take static shapes; elsewhere tiles only cost time.
        fits = is_static(graph) == (kind in ("npu", "emulator"))
        return not fits, order.index(graph.precision) if graph.precision in order else len(order)

    return sorted(graphs, key=rank)


def _seen(runtimes: Sequence[str], kinds: Sequence[str]) -> tuple[dict[str, list[Device]], list[DecantError]]:
    seen: dict[str, list[Device]] = {}
    missing: list[DecantError] = []
    for runtime in runtimes:
        try:
            seen[runtime] = available_devices(runtime, kinds)
        except MissingExtraError as error:
            missing.append(error)
    return seen, missing
