"""The gate: a graph is written only if it was run, and its pixels match the float graph's down to its floor.

The same quantized graph can be right in one runtime and wrong in another. So each graph is run on the runtime
that it is meant for, as the runtime package would run it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from decant.backends.session import Session
from decant.backends.sessions import create_session
from decant.errors import BundleError

from decant_export.common.variants import Variant

Report = Callable[[str], None]


@dataclass(frozen=True)
class Check:
    """A comparison with float over pictures of one kind: the largest loss of PSNR to the originals, in dB,
    the picture ``worst`` that has it, and the limit.
    """

    pictures: str
    count: int
    worst: str
    loss_db: float
    limit_db: float

    @property
    def passed(self) -> bool:
        """Whether no picture loses more than the limit."""
        return self.loss_db <= self.limit_db  # a NaN fails too

    def described(self) -> dict[str, Any]:
        """As bundle.json has it."""
        return {
            "pictures": self.pictures,
            "count": self.count,
            "worst": self.worst,
            "loss_db": round(self.loss_db, 3),
            "limit_db": self.limit_db,
        }


Checks = Callable[[Session], Sequence[Check]]


def no_checks(_: Session) -> Sequence[Check]:
    """Nothing beyond the golden pictures."""
    return ()


class Gate:
    """Collects the variants that passed, with their PSNR on the golden pictures, and why others failed."""

    def __init__(
        self,
        name: str,
        image: tuple[int, int],
        floors: Mapping[str, float],
        golden: int,
        report: Report,
        margins: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """``name``: the bundle's; ``image``: width and height; ``floors``: dB by precision; ``golden``: how
        many of the pictures compared are golden ones; ``report`` is told each verdict. ``margins``: dB by
        precision; the floor that bundle.json gives lies so far below what a graph reached, where that is
        higher.
        """
        self.name = name
        self.image = image
        self.floors = floors
        self.golden = golden
        self.report = report
        self.margins = margins
        self.passed: list[tuple[Variant, float]] = []
        self.checks: dict[str, Sequence[Check]] = {}  # by label
        self.refused: list[dict[str, Any]] = []
        self._unfit: set[bytes] = set()  # the files of graphs that were refused

    def judge(
        self,
        variant: Variant,
        decode: Callable[[Session], "np.ndarray | Sequence[np.ndarray]"],
        expected: "np.ndarray | Sequence[np.ndarray]",
        checks: Checks = no_checks,
    ) -> None:
        """Compare the pixels that ``decode`` makes with the variant's session to ``expected``, uint8 (n, H,
        W, 3) or n pictures (H, W, 3).

        Both all of them and the golden ones alone must reach the floor, and every one of ``checks`` pass.
        """
        floor = self.floors[variant.precision]
        try:
            session = session_of(variant, self.name)
            found, checked = decode(session), checks(session)
        except BundleError as error:
            self._refuse(variant, None, str(error))
            return
        golden = psnr_db(evenly(found, self.golden), evenly(expected, self.golden))
        lowest = min(golden, psnr_db(found, expected))
        if not lowest >= floor:
            over = f"{self.golden} golden pictures" if lowest == golden else f"{len(expected)} pictures"
            reason = f"{lowest:.1f} dB to the float pixels over {over}, below its floor of {floor:.1f} dB"
            self._refuse(variant, lowest, reason)
            return
        for check in checked:
            if not check.passed:
                lost = f"loses {check.loss_db:.2f} dB against float on {check.pictures} ({check.worst})"
                self._refuse(variant, lowest, f"{lost}, more than {check.limit_db:.2f} dB")
                return
        self.checks[variant.label] = checked
        self.passed.append((variant, golden))
        losses = "".join(f", {check.pictures} lose at most {check.loss_db:.2f} dB" for check in checked)
        self.report(f"{variant.label}: {variant.bytes} bytes, {golden:.1f} dB to float{losses}")

    @property
    def whole(self) -> list[tuple[Variant, float]]:
        """Those that passed, without graphs whose file holds a graph that was refused too."""
        return [
            (variant, psnr) for variant, psnr in self.passed if not self._unfit.intersection(variant.blobs)
        ]

    def figures(self, variant: Variant, psnr: float) -> dict[str, Any]:
        """What bundle.json says of a variant that passed with ``psnr`` dB on the golden pictures."""
        floor = self.floors[variant.precision]
        if variant.precision in self.margins and not math.isinf(psnr):
            floor = max(floor, float(math.floor(psnr - self.margins[variant.precision])))
        found: dict[str, Any] = {"psnr_to_float_db": rounded_db(psnr), "floor_db": floor}
        if checks := self.checks.get(variant.label):
            found["checks"] = [check.described() for check in checks]
        return found

    def _refuse(self, variant: Variant, psnr: float | None, reason: str) -> None:
        said = {"role": variant.role, "precision": variant.precision, "runtime": variant.runtime}
        figures = {"psnr_to_float_db": rounded_db(psnr), "floor_db": self.floors[variant.precision]}
        self._unfit.update(variant.blobs)
        self.refused.append({**said, **figures, "reason": reason})
        self.report(f"{variant.label}: not written: {reason}")


def session_of(variant: Variant, where: str) -> Session:
    """The variant's session on one CPU thread. Raises BundleError when its runtime cannot load it."""
    return create_session(variant.described(), variant.blobs, threads=1, where=where)


def run_each(session: Session, inputs: np.ndarray) -> np.ndarray:
    """Inputs (n, ...) -> outputs (n, ...), one by one, since dynamic int8 takes its scales from the batch."""
    return np.concatenate([session.run(inputs[i : i + 1]) for i in range(len(inputs))])


def psnr_db(
    pixels: "np.ndarray | Sequence[np.ndarray]", expected: "np.ndarray | Sequence[np.ndarray]"
) -> float:
    """PSNR in dB of the mean squared error over pictures uint8 (H, W, 3), with equal weights; infinity if
    they are equal.
    """
    pairs = zip(pixels, expected, strict=True)
    error = float(np.mean([np.square(a.astype(np.float64) - b).mean() for a, b in pairs]))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def rounded_db(psnr: float | None) -> float | None:
    """A PSNR as bundle.json holds it: two digits, null for equal pictures."""
    return None if psnr is None or math.isinf(psnr) else round(psnr, 2)


def evenly(items: Any, count: int) -> Any:
    """``count`` of ``items``, an array or a list, evenly spread, the first among them; all when there are
    fewer.
    """
    count = min(count, len(items))
    chosen = np.arange(count) * len(items) // count
    return items[chosen] if isinstance(items, np.ndarray) else [items[i] for i in chosen]
