"""A device as a runtime sees it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """A device as a runtime sees it: ``kind`` is cpu, gpu or npu; ``id`` is the runtime's own word for it."""

    runtime: str
    kind: str
    name: str
    id: str
