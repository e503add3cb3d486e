"""The session of a bundle's graph, started from what ``decant fit`` has compiled for this machine."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from decant.backends.compiled import CompiledStore
from decant.backends.session import Session
from decant.backends.sessions import create_session
from decant.bundles.bundle import Bundle
from decant.bundles.folders import user_cache_folder
from decant.formats.manifest import Graph
from decant.selection.machine import machine

_writing: ContextVar[bool] = ContextVar("_writing", default=False)


@contextmanager
def compiling() -> Iterator[None]:
    """Within the block, graphs that are opened and were not compiled yet are compiled and kept."""
    before = _writing.set(True)
    try:
        yield
    finally:
        _writing.reset(before)


def open_graph(
    bundle: Bundle,
    graph: Graph,
    blobs: Sequence[bytes] | None = None,
    *,
    device: str,
    requested_device: str | None = None,
    threads: int = 0,
    strict_device: bool = False,
    store: CompiledStore | None = None,
    keep_memory: bool = True,
) -> Session:
    """The session of ``graph``, whose files have been read as ``blobs`` or are read now, on ``device``;
    ``store`` is the user's where None. Raises what ``create_session`` and ``Bundle.read`` raise.
    """
    return create_session(
        graph,
        [bundle.read(entry) for entry in graph.files] if blobs is None else blobs,
        device=device,
        requested_device=requested_device,
        threads=threads,
        strict_device=strict_device,
        where=str(bundle.path),
        halo=bundle.layout.halo_of(graph.role),
        store=store or compiled_store(),
        keep_memory=keep_memory,
    )


def compiled_store() -> CompiledStore:
    """The compiled graphs in the user's cache folder; within ``compiling`` missing ones are written to it."""
    return CompiledStore(user_cache_folder() / "compiled", tuple(machine()), _writing.get())
