"""Progress of long runs on archives: pictures and bytes a second, the time left, failures."""

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from decant.commands.terminal import say, say_progress

if TYPE_CHECKING:
    from decant.archive.tasks import Progress

_SECONDS_BETWEEN_LINES = 30.0
_SECONDS_BETWEEN_UPDATES = 0.2


class Shown:
    """Progress on standard error: a line that is overwritten on a terminal, one every 30 s elsewhere."""

    def __init__(self, verb: str, quiet: bool) -> None:
        self._verb = verb
        self._quiet = quiet
        self._began = self._last = time.monotonic()
        self._latest: Progress | None = None
        self._live = sys.stderr.isatty()

    def __enter__(self) -> "Callable[[Progress], None]":
        return self._report

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if self._latest is not None and not self._quiet:
            with suppress(OSError):
                say(self._text(self._latest))

    def _report(self, progress: "Progress") -> None:
        self._latest = progress
        now = time.monotonic()
        interval = _SECONDS_BETWEEN_UPDATES if self._live else _SECONDS_BETWEEN_LINES
        if self._quiet or now - self._last < interval:
            return
        self._last = now
        (say_progress if self._live else say)(self._text(progress))

    def _text(self, progress: "Progress") -> str:
        seconds = max(time.monotonic() - self._began, 1e-9)
        now = progress.pictures + progress.failed
        rate = now / seconds
        left = (progress.total - progress.done) / rate if rate else 0.0
        text = (
            f"{progress.done}/{progress.total} pictures {self._verb}, {rate:.1f} images/s, "
            f"{_speed(progress.bytes_in, seconds)} in, {_speed(progress.bytes_out, seconds)} out"
        )
        text += f", {_duration(left)} left" if progress.done < progress.total else ""
        return text + (f", {progress.failed} failed" if progress.failed else "")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _speed(size: int, seconds: float) -> str:
    return f"{size / seconds / 1e6:.1f} MB/s"
