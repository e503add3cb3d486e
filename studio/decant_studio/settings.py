"""What `decant serve` can be asked for, and the limits that bound every request."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from decant.bundles.folders import user_data_folder
from decant.process.cores import usable_cores

MIB = 1 << 20


def default_workers() -> int:
    """Two worker processes where there are cores for two, else one."""
    return max(1, min(2, usable_cores() // 2))


@dataclass(frozen=True)
class Settings:
    """Limits and folders of one studio. Sizes are in bytes, times in seconds."""

    bundle_dir: Path | None = None
    data_dir: Path = field(default_factory=lambda: user_data_folder() / "studio")
    reports: tuple[Path, ...] = ()
    workers: int = field(default_factory=default_workers)
    waiting: int = 8  # jobs that may wait; more are refused with 429
    job_seconds: float = 300.0
    upload_bytes: int = 32 * MIB
    upload_seconds: float = 60.0
    pixels: int = 16_000_000
    kept_bytes: int = 512 * MIB  # results held in memory; the oldest go first
    kept_jobs: int = 64
    memory_bytes: int = 4 << 30  # of each worker
    hosts: frozenset[str] = frozenset({"localhost", "127.0.0.1", "::1"})

    @property
    def threads(self) -> int:
        """CPU threads of each worker."""
        return max(1, usable_cores() // self.workers)

    @property
    def votes_file(self) -> Path:
        """The SQLite file of all studies."""
        return self.data_dir / "votes.sqlite"

    @property
    def bundle_folder(self) -> str | None:
        """``bundle_dir`` as the runtime takes it."""
        return None if self.bundle_dir is None else os.fspath(self.bundle_dir)

    def worker_options(self) -> dict[str, object]:
        """What a worker process is told at its start."""
        return {
            "bundle_dir": self.bundle_folder,
            "threads": self.threads,
            "pixels": self.pixels,
            "memory_bytes": self.memory_bytes,
        }
