"""What a voter's page sends, checked: sessions and answers as JSON; the collector stores the same."""

import json
import math
import re
from typing import Any, TypeGuard

from decant_studio.errors import Refused
from decant_studio.votes.study import Votes

MOST_BYTES = 1 << 20
_SESSION = re.compile(r"[0-9a-f]{16,64}", re.ASCII)
_CONDITIONS = frozenset(
    {
        *("pixel_ratio", "zoom", "distance_cm", "shown_width"),
        *("screen_width", "screen_height", "view_width", "view_height"),
    }
)
_LONGEST_MS = 24 * 3600 * 1000


def parsed(data: bytes) -> Any:
    """JSON of a body. Raises Refused."""
    try:
        return json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Refused(400, "The request does not hold JSON.") from None


def store(votes: Votes, study_id: str, message: Any) -> None:
    """Store one message: ``{"kind": "session", ...}`` or ``{"kind": "answer", ...}``. Raises Refused."""
    if not isinstance(message, dict):
        raise Refused(400, "An answer of a vote is expected.")
    session = _session(message.get("session"))
    if message.get("kind") == "session":
        trials = message.get("trials")
        votes.begin(study_id, session, _conditions(message.get("conditions")), _trials(trials))
    elif message.get("kind") == "answer":
        trial, ms, side = message.get("trial"), message.get("ms"), message.get("side")
        if not _whole(trial) or not _whole(ms) or side not in ("left", "right"):
            raise Refused(400, "An answer needs a trial, a time and a side.")
        ms = max(0, min(ms, _LONGEST_MS))
        votes.answer(study_id, session, trial, side, ms, _conditions(message.get("conditions")))
    else:
        raise Refused(400, "An answer of a vote is expected.")


def _session(value: Any) -> str:
    if not isinstance(value, str) or _SESSION.fullmatch(value) is None:
        raise Refused(400, "A session needs an id.")
    return value


def _trials(value: Any) -> list[dict[str, str]]:
    good = isinstance(value, list) and 1 <= len(value) <= 10_000
    if not good or not all(isinstance(one, dict) for one in value):
        raise Refused(400, "A session needs its trials.")
    trials = [{key: one.get(key) for key in ("pair", "left")} for one in value]
    if not all(isinstance(part, str) for one in trials for part in one.values()):
        raise Refused(400, "A trial needs a pair and what is at its left.")
    if len({one["pair"] for one in trials}) != len(trials):
        raise Refused(400, "A pair comes twice in this session.")
    return trials


def _conditions(value: Any) -> dict[str, float | None]:
    """Viewing conditions: numbers of known names; anything else is left out."""
    if not isinstance(value, dict):
        return {}
    return {key: _number(value[key]) for key in sorted(_CONDITIONS & value.keys())}


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and abs(value) < 1e6 else None


def _whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def many(data: bytes) -> list[Any]:
    """The messages of answers.jsonl, one a line, or of the list that the page offers. Raises Refused."""
    try:
        whole = json.loads(data.decode("utf-8"))
        return whole if isinstance(whole, list) else [whole]
    except (ValueError, RecursionError):
        return [parsed(line) for line in data.splitlines() if line.strip()]
