"""From a request to a session that passed the golden check: tries the fitting graphs in order, and reports
those that were skipped.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from decant.bundles.bundle import Bundle
from decant.errors import BundleError, DeviceError
from decant.formats.manifest import Graph
from decant.selection import golden
from decant.selection.candidates import GraphRequest, candidates

if TYPE_CHECKING:
    from decant.backends.session import Session

_log = logging.getLogger("decant")


@dataclass(frozen=True)
class SelectedGraph:
    """A session, its graph, and the result of the golden check (None: not checked now). ``notes`` names the
    graphs that were skipped.
    """

    session: Session
    graph: Graph
    golden_psnr_db: float | None
    notes: tuple[str, ...] = ()


class RuntimeInfo:
    """What a decoder and an encoder tell about the session they run on. The device asked for and the device
    that runs are two attributes.
    """

    def __init__(self, loaded: SelectedGraph) -> None:
        session = self.session = loaded.session
        self.requested_device = session.requested_device
        self.device = session.device
        self.device_name = session.device_name
        self.runtime = session.runtime
        self.runtime_version = session.runtime_version
        self.precision = session.precision
        self.golden_psnr_db = loaded.golden_psnr_db
        self.notes = loaded.notes

    def warn(self) -> None:
        """Log each of ``notes`` once."""
        for note in dict.fromkeys(self.notes):
            _log.warning("%s", note)

    def _runs(self) -> str:
        devices = f"asked {self.requested_device} runs {self.device}"
        return f"{self.precision} {self.runtime} {self.runtime_version} {devices}"


def load_session(
    bundle: Bundle,
    role: str,
    wish: GraphRequest,
    threads: int = 0,
    check_golden: golden.CheckGolden = "once",
    *,
    keep_memory: bool = True,
) -> SelectedGraph:
    """Load the best graph of ``role`` for ``wish``.

    A graph that this runtime or device cannot run, or that fails its golden check, is skipped if ``wish``
    allows another one. ``SelectedGraph.notes`` names it. If none is left, the error of the last one is
    raised. BundleError is raised at once for a file that differs from bundle.json: damage is never skipped.
    ``keep_memory``: see ``decant.backends.session.SessionPlan``.
    """
    from decant.selection.opening import open_graph

    choices = candidates(bundle, role, wish)
    for graph, _ in choices:
        bundle.layout.check_graph(bundle, graph)
    notes: list[str] = []
    for left, (graph, device) in zip(range(len(choices) - 1, -1, -1), choices, strict=True):
        blobs = [bundle.read(entry) for entry in graph.files]
        try:
            session = open_graph(
                bundle,
                graph,
                blobs,
                device=device.kind,
                requested_device=wish.device,
                threads=threads,
                strict_device=wish.strict_device,
                keep_memory=keep_memory,
            )
            psnr = golden.check(bundle, graph, session, check_golden)
        except (BundleError, DeviceError) as error:
            if not left:
                raise
            notes.append(f"{error}; trying the next graph")
            continue
        if wish.device == "auto" and session.device == "cpu":
            notes.append("device auto: no npu or gpu could be used, running on the cpu")
        return SelectedGraph(session, graph, psnr, tuple(notes))
    raise AssertionError("candidates() gives at least one")


def load_companion(
    bundle: Bundle,
    role: str,
    wish: GraphRequest,
    runtime: str,
    threads: int = 0,
    check_golden: golden.CheckGolden = "once",
) -> SelectedGraph:
    """Load the graph of ``role`` that goes with a synthesis that was selected for ``wish`` in ``runtime``.

    It runs in the same runtime. For example, the integer synthesis takes the means of the integer hyper
    synthesis. Its precision is that of ``wish``, if the role has it. Raises the errors of ``load_session``.
    """
    same = any(
        (graph.role, graph.precision, graph.runtime) == (role, wish.precision, runtime)
        for graph in bundle.graphs
    )
    wish = replace(wish, runtime=runtime, precision=wish.precision if same else "auto")
    return load_session(bundle, role, wish, threads, check_golden)
