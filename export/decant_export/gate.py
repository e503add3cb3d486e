"""The gate: a graph is written only where it was run and gave the float graph's pixels, to its floor.

A quantized file is not one picture: the same one can be right in one runtime and garbage in another. So each
is run on the runtime that it is meant for, as the runtime package would run it.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from decant.errors import BundleError
from decant.sessions import Session, create_session

from decant_export.variants import Variant

Report = Callable[[str], None]


class Gate:
    """Keeps the variants that passed, with their PSNR on the golden pictures, and why others did not."""

    def __init__(
        self, name: str, image: tuple[int, int], floors: Mapping[str, float], golden: int, report: Report
    ) -> None:
        """``name``: the bundle's; ``image``: width and height; ``floors``: dB by precision; ``golden``: how
        many of the pictures compared are golden ones; ``report`` is told each verdict.
        """
        self.name = name
        self.image = image
        self.floors = floors
        self.golden = golden
        self.report = report
        self.passed: list[tuple[Variant, float]] = []
        self.refused: list[dict[str, Any]] = []

    def judge(self, variant: Variant, decode: Callable[[Session], np.ndarray], expected: np.ndarray) -> None:
        """Compare the pixels that ``decode`` makes with the variant's session to ``expected``, uint8 (n, H,
        W, 3).

        Both all of them and the golden ones alone must reach the floor.
        """
        floor = self.floors[variant.precision]
        try:
            found = decode(session_of(variant, self.name))
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
        self.passed.append((variant, golden))
        self.report(f"{variant.label}: {variant.bytes} bytes, {golden:.1f} dB to float")

    def _refuse(self, variant: Variant, psnr: float | None, reason: str) -> None:
        said = {"role": variant.role, "precision": variant.precision, "runtime": variant.runtime}
        figures = {"psnr_to_float_db": rounded_db(psnr), "floor_db": self.floors[variant.precision]}
        self.refused.append({**said, **figures, "reason": reason})
        self.report(f"{variant.label}: not written: {reason}")


def session_of(variant: Variant, where: str) -> Session:
    """The variant's session on one CPU thread. Raises BundleError when its runtime cannot load it."""
    return create_session(variant.described(), variant.blobs, threads=1, where=where)


def run_each(session: Session, inputs: np.ndarray) -> np.ndarray:
    """Outputs (n, ...) of inputs (n, ...), one by one: dynamic int8 takes its scales from the whole batch."""
    return np.concatenate([session.run(inputs[i : i + 1]) for i in range(len(inputs))])


def psnr_db(pixels: np.ndarray, expected: np.ndarray) -> float:
    """PSNR in dB of the mean squared error over uint8 (n, H, W, 3); infinity when they are equal."""
    total = sum(np.square(a.astype(np.float64) - b).sum() for a, b in zip(pixels, expected, strict=True))
    return math.inf if total == 0 else 10 * math.log10(255**2 * expected.size / total)


def rounded_db(psnr: float | None) -> float | None:
    """A PSNR as bundle.json holds it: two digits, null for equal pictures."""
    return None if psnr is None or math.isinf(psnr) else round(psnr, 2)


def evenly(items: np.ndarray, count: int) -> np.ndarray:
    """``count`` of ``items``, evenly spread, the first among them; all when there are fewer."""
    count = min(count, len(items))
    return items[np.arange(count) * len(items) // count]
