"""Is the machine quiet? Times a fixed piece of work many times, and reads the system's counters.

On a busy machine times are longer and vary more, and not equally for all codecs. A record has this check from
before and after its measurement, so that readers can judge it.
"""

import hashlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

_WORK = bytes(256 * 1024)  # hashed: about a quarter of a millisecond
_LEAST = 20  # pieces, however long they take
QUIET_SPREAD = 1.15  # 90th percentile over least
QUIET_SHARE = 0.97  # of a core
QUIET_STOLEN = 0.01


@dataclass(frozen=True)
class Quiet:
    """The result of the check.

    * ``spread``: 90th percentile of equal pieces of work, divided by the fastest;
    * ``core_share``: share of a core that this process got; 1 without competition;
    * ``stolen``: share of time that a virtual machine's host took; None if the system does not report it.
    """

    spread: float
    core_share: float
    stolen: float | None

    @property
    def quiet(self) -> bool:
        """Can times taken now be believed?"""
        return (
            self.spread <= QUIET_SPREAD
            and self.core_share >= QUIET_SHARE
            and (self.stolen or 0) <= QUIET_STOLEN
        )

    def as_dict(self) -> dict[str, Any]:
        """For a record."""
        return asdict(self) | {"quiet": self.quiet}


def check(seconds: float = 0.25) -> Quiet:
    """Work for ``seconds`` and look."""
    stolen = _stolen()
    started, used = time.perf_counter(), time.process_time()
    samples: list[int] = []
    while len(samples) < _LEAST or time.perf_counter() - started < seconds:
        before = time.perf_counter_ns()
        hashlib.sha256(_WORK).digest()
        samples.append(time.perf_counter_ns() - before)
    took = time.perf_counter() - started
    share = min(1.0, (time.process_time() - used) / took)
    stolen_after = _stolen()
    spread = float(np.percentile(samples, 90) / min(samples))
    return Quiet(
        round(spread, 3),
        round(share, 3),
        None if stolen is None or stolen_after is None else _share(stolen, stolen_after),
    )


def told(before: dict[str, Any] | None, after: dict[str, Any] | None) -> str:
    """The checks of a record in a sentence; empty if it has none."""
    if before is None or after is None:
        return ""
    noisy = [when for when, found in (("before", before), ("after", after)) if not found["quiet"]]
    if not noisy:
        return "The machine was quiet before and after."
    shares = " and ".join(f"{100 * found['core_share']:.0f} %" for found in (before, after))
    return (
        f"The machine was not quiet {' and '.join(noisy)}: a process had {shares} of a core before and "
        "after. Times are long and scattered; ratios of one run hold better."
    )


def _stolen() -> tuple[int, int] | None:
    """Ticks stolen and ticks in all, of /proc/stat."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]
    except (OSError, IndexError):
        return None
    ticks = [int(field) for field in fields[:8]]
    return (ticks[7], sum(ticks)) if len(ticks) == 8 else None


def _share(before: tuple[int, int], after: tuple[int, int]) -> float:
    ticks = after[1] - before[1]
    return round((after[0] - before[0]) / ticks, 4) if ticks else 0.0
