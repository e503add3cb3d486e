"""Steady decodes at several picture sizes, 256 pixels a side to 24 megapixels, and numbers of threads."""

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from decant.encoder import Encoder
from decant.process.cores import usable_cores

from decant_bench.common.baselines import CODECS, setting
from decant_bench.common.cases import BundleCase, Case, CodecCase
from decant_bench.common.pictures import PictureSet, wheel_pictures
from decant_bench.common.record import Record
from decant_bench.common.visits import Pace, interleave
from decant_bench.latency.case_process import CaseProcess, as_files

SIDES = (256, 512, 1024, 2048, 4899)  # pixels of the squares: 0.07 to 24 megapixels
THREADS_SIDE = 1024  # of the pictures of the thread sweep
_ONE_PICTURE = 2048  # from this side on, one picture instead of two
CODEC_LABELS = ("jpeg-q75", "avif-q60")
EFFORT = 0  # of encoding: what a file costs to decode hardly depends on it

Say = Callable[[str], None]


@dataclass(frozen=True)
class Sweep(Pace):
    """``sides`` of the squares in pixels, decoded at this pace each; ``end``: no encoding begins that would
    not end before this time (time.monotonic), None: all do.
    """

    rounds: int = 8
    images_per_visit: int = 1
    min_samples: int = 8
    sides: tuple[int, ...] = SIDES
    seed: int = 0
    end: float | None = None


def sizes(cases: Sequence[BundleCase], sweep: Sweep, say: Say) -> tuple[list[Record], list[str]]:
    """Rows of a decoder and side with ``decode_ns`` in rounds, and what was left out for want of time."""
    rows: list[Record] = []
    left_out: list[str] = []
    rates: dict[str, float] = {}  # seconds of encoding a pixel
    everyone: list[Case] = [*(CodecCase(label) for label in CODEC_LABELS), *cases]
    for side in sweep.sides:
        say(f"decodes of {side}x{side} pixels")
        pictures = tiled(side)
        pixels = pictures.pixels.size / 3
        chosen: list[tuple[Case, list[bytes]]] = []
        for case in everyone:
            due = time.monotonic() + rates.get(case.label, 0.0) * pixels
            if sweep.end is not None and due > sweep.end:
                left_out.append(f"{case.label} at {side}x{side}: no time left to encode it")
                continue
            before = time.monotonic()
            chosen.append((case, _encoded(case, pictures)))
            rates[case.label] = (time.monotonic() - before) / pixels
        rows += _timed(chosen, pictures, sweep)
    return rows, left_out


def threads(cases: Sequence[BundleCase], sweep: Sweep, say: Say) -> list[Record]:
    """Rows of a decoder and number of threads (1, 2, 4 ... all cores) on pictures of THREADS_SIDE."""
    say("decodes on several numbers of threads")
    pictures = tiled(THREADS_SIDE)
    everyone: list[Case] = [*cases, *(CodecCase(label) for label in CODEC_LABELS)]
    chosen: list[tuple[Case, list[bytes]]] = []
    for case in everyone:
        datas = _encoded(case, pictures)
        alone = isinstance(case, CodecCase) and not CODECS[setting(case.name).codec].threaded
        chosen += [(replace(case, threads=count), datas) for count in ((1,) if alone else thread_counts())]
    return _timed(chosen, pictures, sweep)


def thread_counts(cores: int | None = None) -> tuple[int, ...]:
    """1, 2, 4 ... and all cores that this process may use."""
    cores = cores or usable_cores()
    return tuple(sorted({1 << power for power in range(cores.bit_length()) if 1 << power <= cores} | {cores}))


def tiled(side: int) -> PictureSet:
    """Squares of ``side`` pixels, two or, where they are large, one: photographs of the wheels, mirrored at
    their borders until they fill it.
    """
    names = ("coffee.png", "china.jpg")[: 1 if side >= _ONE_PICTURE else 2]
    chosen = [wheel_pictures().named(name) for name in names]
    squares = []
    for picture in chosen:
        height, width = picture.pixels.shape[:2]
        pad = ((0, max(0, side - height)), (0, max(0, side - width)), (0, 0))
        squares.append(np.ascontiguousarray(np.pad(picture.pixels, pad, mode="symmetric")[:side, :side]))
    return PictureSet.of([picture.name for picture in chosen], squares, "mirrored photos in the wheels")


def _encoded(case: Case, pictures: PictureSet) -> list[bytes]:
    if isinstance(case, CodecCase):
        return [setting(case.name).encode(picture.pixels) for picture in pictures.pictures]
    encoder = Encoder(Path(case.bundle))
    return [encoder.encode(picture.pixels, effort=EFFORT) for picture in pictures.pictures]


def _timed(chosen: Sequence[tuple[Case, list[bytes]]], pictures: PictureSet, sweep: Sweep) -> list[Record]:
    """Interleaved rounds of all, each in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="decant-bench-") as place, ExitStack() as stack:
        running = []
        for number, (case, datas) in enumerate(chosen):
            files = as_files(Path(place, str(number)), datas)
            running.append(stack.enter_context(CaseProcess(case, files)))
        interleave(running, sweep, sweep.seed)
        return [
            {
                "label": case.label,
                "threads": case.threads,
                "side": pictures.pixels.shape[1],
                "megapixels": pictures.pictures[0].pixel_count / 1e6,
                "file_bytes": float(np.mean([len(data) for data in datas])),
                "decode_ns": process.rounds_ns,
            }
            for (case, datas), process in zip(chosen, running, strict=True)
        ]
