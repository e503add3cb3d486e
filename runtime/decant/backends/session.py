"""The interface of every runtime: a loaded graph with one output, checked against its entry in bundle.json.

A session is created from bytes, after these were checked against the bundle's hashes. So the bytes that run
are the bytes that were checked. Several threads may use a session at once. The requested device and the
device that runs are two attributes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from decant.backends.compiled import CompiledStore
from decant.backends.device import Device
from decant.errors import BundleError
from decant.formats.manifest import Graph, TensorSpec
from decant.process import lifecycle
from decant.process.failures import is_from


class Session(Protocol):
    """A loaded graph with one output."""

    runtime: str
    runtime_version: str
    requested_device: str
    device: str  # the kind that runs: cpu, gpu, npu or emulator
    device_name: str
    driver: str  # what drives the device, and its version
    precision: str

    def run(self, *inputs: np.ndarray) -> np.ndarray:
        """Inputs (n, ...), in the bundle's order -> output (n, ...), of the types and shapes that the bundle
        gives for the graph.
        """

    def start(self, *inputs: np.ndarray) -> "Pending":
        """Begin ``run``, on the session's own threads if it has several. The returned function gives the
        result, and must be called.
        """


Pending: TypeAlias = Callable[[], np.ndarray]


@dataclass(frozen=True)
class SessionPlan:
    """What a session is made from.

    ``store`` has graphs compiled earlier. With ``keep_memory`` the session keeps the most that any run took
    for the next one: faster, but 0.3 GB for the graphs of an encoder, which run on windows of a megapixel.
    """

    graph: Graph
    blobs: Sequence[bytes]
    device: Device
    requested_device: str
    threads: int
    strict_device: bool
    where: str
    store: CompiledStore | None = None
    keep_memory: bool = True


Tensor = tuple[str, str, Sequence[int | None]]  # name, dtype, shape (None: open)


class CheckedSession:
    """Base of the sessions of ONNX Runtime and OpenVINO: names, check of tensors, mapping of errors."""

    runtime: str

    def __init__(self, plan: SessionPlan) -> None:
        self.requested_device = plan.requested_device
        self.device = plan.device.kind
        self.device_name = plan.device.name
        self.driver = " ".join(filter(None, (plan.device.provider, plan.device.driver)))
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

    def _compare_all(self, what: str, declared: Sequence[TensorSpec], found: Sequence[Tensor]) -> None:
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
        return BundleError(f"{self._label} cannot be {verb} here: {reason(error)}")


def reason(error: Exception) -> str:
    """What a runtime's error says, in one line and without the places in its sources."""
    lines = (line.strip() for line in str(error).splitlines())
    said = [line for line in lines if line and not line.startswith("Exception from ")]
    words = " ".join(said or [str(error)]).replace("Exception from src/", "src/")
    return words[:400]
