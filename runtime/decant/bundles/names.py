"""How a model is asked for by name: ``lite``, ``lite@0.9``, ``lite@f8b691d4dbb05374``."""

import re
from dataclasses import dataclass

from decant.formats.container import NAME_PATTERN

_WANTED = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}", re.ASCII)
_ID = re.compile(r"[0-9a-f]{8,64}", re.ASCII)


@dataclass(frozen=True)
class ModelName:
    """A model asked for: its ``name``, and a ``version`` or the first digits of a ``model_id``; a text
    that was not given is empty.
    """

    name: str
    version: str = ""
    model_id: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version}" if self.version else self.name

    def takes(self, version: str) -> bool:
        """Whether a bundle of this ``version`` is one asked for: 0.9 takes 0.9.0 and 0.9.1, not 0.90."""
        asked = self.version.split(".") if self.version else []
        return version.split(".")[: len(asked)] == asked


def parse_name(text: str) -> ModelName | None:
    """``NAME``, ``NAME@VERSION`` or ``NAME@ID`` (8 or more hexadecimal digits); None for anything else, such
    as a path.
    """
    name, at, wanted = text.partition("@")
    if not NAME_PATTERN.fullmatch(name) or (at and not _WANTED.fullmatch(wanted)):
        return None
    if _ID.fullmatch(wanted):
        return ModelName(name, model_id=wanted)
    return ModelName(name, version=wanted)


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Orders versions: numbers by value, and a part that is no number (``1.0.rc1``) before any number."""
    parts = re.split(r"[.+_-]", version)
    return tuple(
        (1, int(part), "") if part.isdecimal() and part.isascii() else (0, 0, part) for part in parts
    )
