"""``decant bench latency --profile laptop``: one command for a machine's figures, in about six minutes.

The decoders that clients get by default, on one and two threads, next to JPEG, WebP, AVIF and JPEG XL; then
steady decodes at several picture sizes.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
from decant.bundles.bundle import Bundle
from decant.encoder import Encoder

from decant_bench.common import fitting
from decant_bench.common.baselines import CODECS, setting
from decant_bench.common.cases import BundleCase, default_case
from decant_bench.common.peer import PeerWork
from decant_bench.common.pictures import PictureSet, wheel_pictures
from decant_bench.common.record import Record
from decant_bench.common.visits import Work, interleave
from decant_bench.latency import measure as lab

BUNDLES = ("nano", "lite", "full")
SIDES = (256, 512, 1024, 2048)  # pixels of the squares of the sweep: 0.07 to 4.2 megapixels
SWEPT_CODECS = ("jpeg-q75", "avif-q60")
SWEEP_EFFORT = 0  # of encoding: what a file costs to decode hardly depends on it
LAPTOP = lab.Options(
    threads=(1, 2),
    codecs=("jpeg-q75", "jpeg-q90", "webp", "avif-q60", "jxl-q75"),
    rounds=30,
    min_samples=60,
    load_rounds=10,
    fresh_rounds=5,
    batch_rounds=3,
    max_minutes=4.0,
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Sweep:
    """``sides`` of the squares in pixels; ``rounds`` of decodes at each."""

    sides: tuple[int, ...] = SIDES
    rounds: int = 8
    images_per_visit: int = 1
    visit_ms: float = 20.0
    min_samples: int = 8
    min_seconds: float = 0.0


def measure(
    bundles: Sequence[Bundle],
    options: lab.Options = LAPTOP,
    sweep: Sweep | None = None,
    *,
    command: str | None = None,
    say: Say = lambda line: None,
) -> Record:
    """A latency record of the default decoders of ``bundles``, with ``sweep``: a row a decoder and side, with
    ``decode_ns`` in rounds. Raises what measuring raises.
    """
    sweep = sweep or Sweep()
    cases = [default_case(bundle, threads) for bundle in bundles for threads in options.threads]
    pictures = fitting.squares_for(bundles, None)
    found = lab.measure(bundles, pictures, options, cases=cases, command=command, say=say)
    single = [case for case in cases if case.threads == options.threads[0]]
    found["sweep"] = []
    for side in sweep.sides:
        say(f"decodes of {side}x{side} pixels")
        found["sweep"] += _at_side(bundles, single, tiled(side), sweep, options.seed)
    return found


def tiled(side: int) -> PictureSet:
    """Two squares of ``side`` pixels: photographs of the wheels, mirrored at their borders until they fill
    it.
    """
    chosen = [wheel_pictures().named(name) for name in ("coffee.png", "china.jpg")]
    squares = []
    for picture in chosen:
        height, width = picture.pixels.shape[:2]
        pad = ((0, max(0, side - height)), (0, max(0, side - width)), (0, 0))
        squares.append(np.ascontiguousarray(np.pad(picture.pixels, pad, mode="symmetric")[:side, :side]))
    return PictureSet.of([picture.name for picture in chosen], squares, "mirrored photos in the wheels")


def _at_side(
    bundles: Sequence[Bundle], cases: Sequence[BundleCase], pictures: PictureSet, sweep: Sweep, seed: int
) -> list[Record]:
    by_path = {str(bundle.path): bundle for bundle in bundles}
    works: list[Work] = []
    rows: list[Record] = []
    with ExitStack() as peers:
        for case in cases:
            encoder = Encoder(by_path[case.bundle])
            datas = [encoder.encode(p.pixels, effort=SWEEP_EFFORT) for p in pictures.pictures]
            works.append(Work(case.label, datas, case.decoder().decode))
        for label in SWEPT_CODECS:
            chosen = setting(label)
            datas = [chosen.encode(picture.pixels) for picture in pictures.pictures]
            works.append(peers.enter_context(PeerWork(label, CODECS[chosen.codec], 1, datas)))
        interleave(works, sweep, seed)
        for work in works:
            sizes = [len(data) for data in work.items]
            rows.append(
                {
                    "label": work.key,
                    "side": pictures.pixels.shape[1],
                    "megapixels": pictures.pictures[0].pixel_count / 1e6,
                    "file_bytes": float(np.mean(sizes)),
                    "decode_ns": work.rounds_ns,
                }
            )
    return rows


def shortened(minutes: float) -> lab.Options:
    """LAPTOP within ``minutes``."""
    return replace(LAPTOP, max_minutes=minutes)
