"""Reading the body of a request: a limit of bytes and of time, in memory, never in a file."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from flask import current_app, request

from decant_studio.errors import Refused
from decant_studio.security import BODY_KIND
from decant_studio.settings import MIB, Settings

_BLOCK = 1 << 16
AT_ONCE = 6  # uploads of the largest size that are received at once; smaller ones more

# Where an application keeps its allowance.
ALLOWANCE = "studio-uploads"


class Allowance:
    """Bytes that may be received at once, so that many clients together cannot take all memory."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = threading.Lock()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Hold ``size`` bytes of it. Raises Refused (429) where fewer are left."""
        with self._lock:
            if size > self._left:
                raise Refused(429, "The studio receives too many files at once. Wait a moment and try again.")
            self._left -= size
        try:
            yield
        finally:
            with self._lock:
                self._left += size


def body(settings: Settings, most: int | None = None) -> bytes:
    """The bytes that were uploaded: at least 1, at most ``most`` (the studio's limit). Raises Refused."""
    limit = settings.upload_bytes if most is None else most
    length = request.content_length
    if length is None:
        raise Refused(411, "The request does not say how long it is.")
    if request.mimetype != BODY_KIND:
        raise Refused(415, f"A body of type {BODY_KIND} is expected.")
    if length > limit:
        raise Refused(413, f"The file has {_megabytes(length)}; this studio takes up to {_megabytes(limit)}.")
    if not length:
        raise Refused(400, "The file is empty.")
    allowance: Allowance = current_app.extensions[ALLOWANCE]
    with allowance.taken(length):
        return _received(length, settings)


def _received(length: int, settings: Settings) -> bytes:
    stream = request.environ["wsgi.input"]
    read = getattr(stream, "read1", stream.read)
    end = time.monotonic() + settings.upload_seconds
    parts, left = [], length
    while left:
        try:
            part = read(min(left, _BLOCK))
        except (TimeoutError, ConnectionError, ValueError):
            raise Refused(408, "The upload stopped before its end. Try again.") from None
        if not part:
            raise Refused(400, "The upload ended early. Try again.")
        parts.append(part)
        left -= len(part)
        if left and time.monotonic() > end:
            raise Refused(408, f"The upload took longer than {settings.upload_seconds:g} seconds.")
    return b"".join(parts)


def text(name: str, most: int = 200) -> str:
    """A parameter of the address, at most ``most`` characters; '' where it is not given. Raises Refused."""
    value = request.args.get(name, "")
    if len(value) > most:
        raise Refused(400, f"{name} has more than {most} characters.")
    return value


def choice(name: str, known: "list[str] | tuple[str, ...]", default: str) -> str:
    """One of ``known``. Raises Refused."""
    value = text(name) or default
    if value not in known:
        raise Refused(400, f"{name}: choose one of {', '.join(known)}.")
    return value


def number(name: str, low: float, high: float, default: float, *, whole: bool = False) -> float:
    """A number from ``low`` to ``high``. Raises Refused."""
    said = text(name)
    try:
        value = float(said) if said else default
    except ValueError:
        value = float("nan")
    if not low <= value <= high or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        raise Refused(400, f"{name}: {kind} from {low:g} to {high:g} expected.")
    return int(value) if whole else value


def _megabytes(size: int) -> str:
    return f"{size / MIB:.1f} MB"
