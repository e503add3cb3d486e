"""From what the user asked for to a session that passed the golden check: try the fitting graphs in order,
and say what was passed over.
"""

import logging
from dataclasses import dataclass, field

from decant import golden
from decant.bundle import Bundle
from decant.devices import Wish, candidates
from decant.errors import BundleError, DeviceError, GoldenError
from decant.manifest import Graph
from decant.sessions import Session, create_session

_log = logging.getLogger("decant")


@dataclass(frozen=True)
class Loaded:
    """A session, the graph in it, and what the golden check gave (None: not checked now); ``notes`` says what
    was passed over.
    """

    session: Session
    graph: Graph
    golden_psnr_db: float | None
    notes: tuple[str, ...] = field(default=())


def load_session(
    bundle: Bundle,
    role: str,
    wish: Wish,
    threads: int = 0,
    check_golden: golden.CheckGolden = "once",
) -> Loaded:
    """Load the best graph of ``role`` for ``wish``.

    A candidate that fails its golden check, or whose device cannot take it, is passed over with a warning
    when the wish leaves a choice. Raises what the last candidate raised when none is left; BundleError at
    once for a damaged file, which is no matter of choice.
    """
    notes: list[str] = []
    choices = candidates(bundle, role, wish)
    for graph, _ in choices:
        _check_shapes(bundle, graph)
    for last, (graph, device) in enumerate(choices, 1 - len(choices)):
        blobs = [bundle.read(entry) for entry in graph.files]
        try:
            session = create_session(
                graph,
                blobs,
                device=device.kind,
                requested_device=wish.device,
                threads=threads,
                strict_device=wish.strict_device,
                where=str(bundle.path),
            )
            psnr = golden.check(bundle, graph, session, check_golden)
        except (GoldenError, DeviceError) as error:
            if last == 0:
                raise
            notes.append(f"{error}; trying the next graph")
            _log.warning("%s", notes[-1])
            continue
        if wish.device == "auto" and session.device == "cpu":
            notes.append("device auto: no npu or gpu could be used, running on the cpu")
            _log.warning("%s", notes[-1])
        return Loaded(session, graph, psnr, tuple(notes))
    raise AssertionError("candidates() gives at least one")


def _check_shapes(bundle: Bundle, graph: Graph) -> None:
    """Refuse a graph whose declared tensors do not fit the bundle's picture size and latent layout."""
    width, height = bundle.image
    pixels = ("uint8", (height, width, 3))
    latents = ("float32", bundle.layout.shape(bundle.image))
    wanted = {"synthesis": (latents, pixels), "analysis": (pixels, latents), "denoiser": (pixels, pixels)}[
        graph.role
    ]
    declared = (graph.inputs, graph.outputs)
    if any(len(tensors) != 1 for tensors in declared):
        raise BundleError(f"bundle {bundle.name}: {graph.label} must have one input and one output")
    for (tensor,), (dtype, shape), what in zip(declared, wanted, ("input", "output"), strict=True):
        if tensor.dtype != dtype or tensor.shape[1:] != shape:
            raise BundleError(
                f"bundle {bundle.name}: {graph.label} has {what} {tensor.dtype} {list(tensor.shape)}; "
                f"{dtype} {['n', *shape]} expected"
            )
