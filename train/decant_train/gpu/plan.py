"""What the prepared run does: its networks, its schedule, and what travels to the machine and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FOLDER = ".gpu"  # in the root of the repository, ignored by git
MOST_TRAVELLING = 64 * 2**20  # bytes: the working tree and what is carried beside it
MOST_BACK = 15 * 2**20  # bytes of one file that comes back
MOST_FILES = 8
SESSION_MINUTES = 15.0  # of the machine in all: its start, transfers and both calls
START_MINUTES = 2.5  # allowed for the start and the transfers
OVERHEAD_MINUTES = 0.8  # of a call: imports, decoding, trial steps, writing


@dataclass(frozen=True)
class Plan:
    """One training in ``calls`` calls of ``minutes`` each, resumed from one to the next.

    ``size``, ``shape`` and ``options`` are those of ``decant_train.codec.recipe.train_codec``; the budget of
    the learning rate's schedule is the sum of ``minutes``.
    """

    size: str = "lite"
    shape: Mapping[str, Any] = field(
        default_factory=lambda: {
            "beside": ("nano", "full"),
            "ssimulacra2": 0.6,
            "colour": "ycbcr",
            "analysis_width": 192,
            "analysis_blocks": 4,
        }
    )
    options: Mapping[str, Any] = field(
        default_factory=lambda: {
            "batch_size": 64,
            "crop": 256,
            "learning_rate": 6e-4,
            "hyper_rate": 0.1,  # at 0.3 hyperlatents grew without bound (docs/notebook/2026-11-28.md)
            "warmup": 300,
            "average": 0.999,
            "curriculum_start": 0.35,
            "curriculum_length": 0.3,
            "curriculum_range": 1.0,
            "refine_from": 0.85,
            "measured_every": 500,
            "validate_every": 2000,
            "save_minutes": 2.0,
            "device": "cuda",
            "precision": "bf16",
        }
    )
    minutes: tuple[float, ...] = (6.5, 3.5)
    shard_bytes: int = 20_000_000

    def __post_init__(self) -> None:
        used = START_MINUTES + sum(self.minutes) + OVERHEAD_MINUTES * len(self.minutes)
        if used > SESSION_MINUTES:
            raise ValueError(
                f"the calls take {used:.1f} minutes with their starts; {SESSION_MINUTES} are allowed"
            )
        if max(self.minutes) + OVERHEAD_MINUTES > 9:
            raise ValueError("a call is at most 9 minutes")

    @property
    def calls(self) -> int:
        """How many calls there are."""
        return len(self.minutes)

    def timeout_s(self, call: int) -> int:
        """Seconds after which call ``call`` (from 0) is cut off."""
        return round(60 * (self.minutes[call] + OVERHEAD_MINUTES)) + 20

    def carried(self, call: int) -> list[str]:
        """Paths that travel with call ``call``, relative to the repository."""
        shard = f"{FOLDER}/shard-{call}.safetensors"
        return [shard, f"{FOLDER}/packages"] if call == 0 else [shard, f"{FOLDER}/returned"]

    def command(self, call: int) -> str:
        """What call ``call`` runs."""
        return (
            f"PYTHONUNBUFFERED=1 PYTHONPATH=train:runtime:{FOLDER}/packages "
            f"python3 -m decant_train.gpu.run --call {call} --folder {FOLDER} --out $OUT "
            "2>&1 | tee $OUT/log.txt"
        )
