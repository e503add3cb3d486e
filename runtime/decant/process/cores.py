"""The number of processor cores that this process may use: those that it may run on (taskset, container CPU
sets), limited by its container's CPU quota.
"""

import math
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

_PROC = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")
_V1_FOLDERS = ("cpu", "cpu,cpuacct", "cpuacct,cpu")


def usable_cores() -> int:
    """Cores that this process may use, at least 1; part of a core counts as one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _own_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


@cache
def _own_quota() -> float | None:
    return cpu_quota(_PROC, _MOUNT)


def cpu_quota(proc: Path, mount: Path) -> float | None:
    """The CPU quota in cores, or None without one: the least of the process's control group and those above
    it. ``proc`` is /proc/self/cgroup, ``mount`` where control groups (version 1 or 2) are mounted.
    """
    quotas: list[float] = []
    for line in _read(proc).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            for root in (mount, mount / "unified"):
                quotas += _along(root, path, _quota_v2)
        elif "cpu" in controllers.split(","):
            for name in _V1_FOLDERS:
                quotas += _along(mount / name, path, _quota_v1)
    return min(quotas, default=None)


def _along(root: Path, path: str, quota_in: Callable[[Path], float | None]) -> list[float]:
    """The quotas of the group ``path`` below ``root`` and of all groups above it. A container may see its own
    group as the root, and ``path`` not at all.
    """
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    folders = [root.joinpath(*parts[:count]) for count in range(len(parts) + 1)]
    found = [quota_in(folder) for folder in folders]
    return [quota for quota in found if quota is not None]


def _quota_v2(folder: Path) -> float | None:
    """cpu.max holds "max 100000" or "150000 100000": microseconds of every period."""
    return _ratio(_read(folder / "cpu.max").split())


def _quota_v1(folder: Path) -> float | None:
    """Microseconds of every period; -1 is no quota."""
    return _ratio([_read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()])


def _ratio(words: list[str]) -> float | None:
    try:
        quota, period = (int(word) for word in words)
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
