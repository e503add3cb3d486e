"""What a job gives: figures for the page, and files that live in memory alone."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# The stage that a job has reached, in words, and how much of it is done, 0..1.
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class File:
    """A file for the browser; ``name`` is offered when it is saved."""

    kind: str  # media type
    data: bytes
    name: str


@dataclass(frozen=True)
class Result:
    """``figures`` can be said in JSON; ``files`` by the name that their address ends in."""

    figures: dict[str, Any]
    files: dict[str, File] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(len(file.data) for file in self.files.values())
