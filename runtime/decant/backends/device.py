"""A device as a runtime sees it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """A device as a runtime sees it: ``id`` is the runtime's own word for it.

    ``kind`` is cpu, gpu, npu, ``emulator`` (an NPU computed by the processor), or ``virtual`` (a device that
    graphs can be compiled for and that is not here). ``provider`` and ``driver`` name what drives it and in
    which version, ``precisions`` what it computes in, where the runtime says so. ``static_shapes``: whether
    it takes graphs of static shapes alone.
    """

    runtime: str
    kind: str
    name: str
    id: str
    provider: str = ""
    driver: str = ""
    precisions: tuple[str, ...] = ()
    static_shapes: bool = False
