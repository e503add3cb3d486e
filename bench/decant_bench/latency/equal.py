"""Milliseconds at equal bytes and at equal SSIMULACRA2: every codec with the quality, picture by picture,
that meets a target; then decodes in interleaved rounds, in processes of their own.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from decant.encoder import Encoder
from decant.ssimulacra2 import ssimulacra2

from decant_bench.common.baselines import CODECS
from decant_bench.common.cases import BundleCase, Case, CodecCase
from decant_bench.common.intervals import paired
from decant_bench.common.pictures import Picture, PictureSet
from decant_bench.common.record import Record
from decant_bench.common.tables import Table, fixed, number
from decant_bench.common.visits import Pace, interleave
from decant_bench.latency.case_process import CaseProcess, as_files

CODEC_NAMES = ("jpeg", "webp", "avif", "jxl")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options(Pace):
    """Targets in bits per pixel and SSIMULACRA2; the pace is that of each of ``processes``."""

    rounds: int = 3
    images_per_visit: int = 2
    visit_ms: float = 15.0
    bits_per_pixel: float = 0.8
    score: float = 70.0
    processes: int = 4
    seed: int = 0


@dataclass
class _Made:
    """A picture at one quality."""

    data: bytes
    score: float


class _Ladder:
    """One codec's files of one picture, made when asked for."""

    def __init__(
        self,
        picture: Picture,
        encode: Callable[[np.ndarray, int], bytes],
        decode: Callable[[bytes], np.ndarray],
    ) -> None:
        self._picture, self._encode, self._decode = picture, encode, decode
        self._made: dict[int, _Made] = {}

    def at(self, quality: int) -> _Made:
        if quality not in self._made:
            data = self._encode(self._picture.pixels, quality)
            self._made[quality] = _Made(data, ssimulacra2(self._picture.pixels, self._decode(data)))
        return self._made[quality]

    def nearest(self, target: float, value: Callable[[_Made], float], low: int = 1, high: int = 100) -> _Made:
        """By bisection over the qualities; ``value`` grows with them."""
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if value(self.at(middle)) <= target else (low, middle)
        return min((self.at(low), self.at(high)), key=lambda made: abs(value(made) - target))


def measure(
    cases: Sequence[BundleCase],
    pictures: PictureSet,
    options: Options | None = None,
    *,
    codecs: Sequence[str] = CODEC_NAMES,
    say: Say = lambda line: None,
) -> list[Record]:
    """Rows of a latency record: a decoder and target each, with bytes, scores and ``decode_ns``. ``cases``
    are of bundles with encoders. Raises RuntimeError where one cannot run.
    """
    options = options or Options()
    pixels = [picture.pixel_count for picture in pictures.pictures]
    made: list[tuple[Case, str, list[_Made]]] = []
    for case, ladders in _entries(cases, codecs, pictures, say):
        by_bytes = [
            ladder.nearest(options.bits_per_pixel * count / 8, lambda one: len(one.data))
            for ladder, count in zip(ladders, pixels, strict=True)
        ]
        made.append((case, "bytes", by_bytes))
        made.append(
            (case, "score", [ladder.nearest(options.score, lambda one: one.score) for ladder in ladders])
        )
    rows = [_row(case, target, chosen, pixels) for case, target, chosen in made]
    with tempfile.TemporaryDirectory(prefix="decant-bench-") as place:
        files = [
            as_files(Path(place, str(i)), [one.data for one in chosen])
            for i, (_, _, chosen) in enumerate(made)
        ]
        for number_ in range(options.processes):
            say(f"equal bytes and quality: process {number_ + 1} of {options.processes}")
            with ExitStack() as stack:
                running = [
                    stack.enter_context(CaseProcess(case, paths))
                    for (case, _, _), paths in zip(made, files, strict=True)
                ]
                interleave(running, options, options.seed + number_)
                for row, process in zip(rows, running, strict=True):
                    row["decode_ns"] += process.rounds_ns
                    row["decode_processes"] += [number_] * len(process.rounds_ns)
    return rows


def _entries(
    cases: Sequence[BundleCase], codecs: Sequence[str], pictures: PictureSet, say: Say
) -> Iterator[tuple[Case, list[_Ladder]]]:
    for case in cases:
        say(f"{case.label}: files of equal bytes and of equal SSIMULACRA2")
        encoder, decode = Encoder(Path(case.bundle)), case.decoder().decode
        yield case, [_Ladder(one, _encoding(encoder), decode) for one in pictures.pictures]
    for name in codecs:
        codec = CODECS[name]
        say(f"{name}: files of equal bytes and of equal SSIMULACRA2")
        yield CodecCase(name), [_Ladder(one, codec.encode, codec.decode) for one in pictures.pictures]


def _encoding(encoder: Encoder) -> Callable[[np.ndarray, int], bytes]:
    return lambda pixels, quality: encoder.encode(pixels, quality)


def _row(case: Case, target: str, chosen: Sequence[_Made], pixels: Sequence[int]) -> Record:
    return {
        "label": case.label,
        "equal": target,
        "bytes": [len(one.data) for one in chosen],
        "bits_per_pixel": float(
            np.mean([8 * len(one.data) / count for one, count in zip(chosen, pixels, strict=True)])
        ),
        "ssimulacra2": float(np.mean([one.score for one in chosen])),
        "megapixels": float(np.mean(pixels)) / 1e6,
        "decode_ns": [],
        "decode_processes": [],
    }


TITLES = {"bytes": "Decode at equal bytes", "score": "Decode at equal quality"}


def table(rows: Sequence[Record], target: str) -> Table:
    """The rows of one target (``bytes`` or ``score``)."""
    chosen = [row for row in rows if row["equal"] == target]
    bases = {name: next((row for row in chosen if row["label"] == name), None) for name in ("jpeg", "avif")}
    cells: list[list[Any]] = []
    for row in chosen:
        ms = median_ms(row)
        cells.append(
            [
                row["label"],
                fixed(row["bits_per_pixel"], 3),
                fixed(row["ssimulacra2"], 1),
                number(ms),
                number(1e3 * row["megapixels"] / ms),
                *(_ratio(base, row) for base in bases.values()),
            ]
        )
    note = (
        "One thread; the quality of each file is the nearest to the target, bundles at the default effort of "
        "their encoders. In brackets: 95 % interval."
    )
    headers = ("decoder", "bits per\npixel", "SSIMULACRA2", "ms", "MP/s", "to JPEG", "to AVIF")
    return Table(headers, cells, TITLES[target], note)


def median_ms(row: Record) -> float:
    """Of all steady decodes of a row."""
    return float(np.median([ns for samples in row["decode_ns"] for ns in samples])) / 1e6


def _ratio(base: Record | None, row: Record) -> str:
    found = base and paired(base["decode_ns"], row["decode_ns"], row["decode_processes"])
    return "-" if not found else str(found)
