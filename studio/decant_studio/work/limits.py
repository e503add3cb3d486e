"""What every task is told: where bundles are, how many threads it may use, and how large a picture may be."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """``pixels`` bounds the pictures that are decoded; ``threads`` the CPU threads of one worker."""

    bundle_dir: str | None
    threads: int
    pixels: int
