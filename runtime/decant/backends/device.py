"""A device as a runtime sees it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """A device as a runtime sees it: ``id`` is the runtime's own word for it.

    * ``kind``: cpu, gpu, npu, ``emulator`` (an NPU emulated by the processor), or ``virtual`` (a device for
      which graphs can be compiled, but which is not present);
    * ``provider``, ``driver``: the software that drives it, with its version;
    * ``precisions``: its arithmetic, if the runtime reports it;
    * ``static_shapes``: whether it takes graphs of static shapes only.
    """

    runtime: str
    kind: str
    name: str
    id: str
    provider: str = ""
    driver: str = ""
    precisions: tuple[str, ...] = ()
    static_shapes: bool = False
