"""JSON read strictly: no repeated keys, finite numbers alone, bounded depth. Needs no numpy."""

import json
import math
from typing import Any

from decant.errors import BundleError

_MAX_DEPTH = 64


def load_json(data: bytes, where: str) -> dict[str, Any]:
    """Parse a JSON object strictly: no repeated keys, finite numbers alone. ``where`` names the file in
    messages. Raises BundleError.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key is given twice")
        return found

    def refuse(text: str) -> None:
        raise ValueError(f"{text} is not a JSON number")

    def finite(text: str) -> float:
        number = float(text)
        if not math.isfinite(number):
            raise ValueError(f"{text[:40]} is beyond the numbers that can be stored")
        return number

    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=once, parse_constant=refuse, parse_float=finite
        )
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: not the JSON expected: {error}") from None
    if not isinstance(value, dict):
        raise BundleError(f"{where}: a JSON object expected")
    if _depth(value) > _MAX_DEPTH:
        raise BundleError(f"{where}: nested deeper than {_MAX_DEPTH}")
    return value


def _depth(value: object) -> int:
    """How deep lists and objects are nested, found without recursion: the reader's own limit is not ours."""
    level: list[object] = [value]
    depth = 0
    while level:
        depth += 1
        inner = [
            item.values() if isinstance(item, dict) else item
            for item in level
            if isinstance(item, dict | list)
        ]
        level = [item for items in inner for item in items]
    return depth
