"""``decant bench latency --profile laptop``: one command for a machine's figures, within six minutes.

The decoders that clients get by default, on one and two threads, next to JPEG, WebP, AVIF and JPEG XL; then
the blocks: stages of a decode, throughput of several workers, thread counts, equal bytes and equal quality,
picture sizes. ``--sustained`` adds its minutes.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from decant.bundles.bundle import Bundle
from decant.encoder import Encoder
from decant.errors import DecantError
from decant.process.cores import usable_cores

from decant_bench.common import fitting, machine, quiet
from decant_bench.common.baselines import CODECS
from decant_bench.common.cases import BundleCase, default_case
from decant_bench.common.pictures import PictureSet
from decant_bench.common.record import Record
from decant_bench.latency import breakdown, equal, loadgen, sustained, sweeps, throughput
from decant_bench.latency import measure as lab
from decant_bench.latency.breakdown import Options as StageOptions
from decant_bench.latency.equal import Options as EqualOptions
from decant_bench.latency.sustained import Options as SustainedOptions
from decant_bench.latency.throughput import Options as ThroughputOptions

BUNDLES = ("nano", "lite", "full")
MINUTES = 6.0
PICTURES = 8  # of the main table
LAPTOP = lab.Options(
    threads=(1, 2),
    codecs=("jpeg-q75", "jpeg-q90", "simplejpeg-q90", "webp", "avif-q60", "jxl-q75"),
    rounds=50,
    min_samples=200,
    min_seconds=0.0,
    load_rounds=10,
    fresh_rounds=10,
    batch_rounds=2,
    max_minutes=2.5,
)
_DECODING = 0.12  # of the minutes: what decodes of the largest pictures take after they are encoded
_STAGES = StageOptions(match_bpp=0.0, rounds=4)
_THROUGHPUT = ThroughputOptions(pictures=250, rounds=4, processes=5)
_THREADS = sweeps.Sweep(rounds=6)
_EQUAL = EqualOptions(processes=3)
_SIZES = sweeps.Sweep()
_EQUAL_CODECS = ("jpeg", "webp", "avif")
OPTIONAL_CODECS = ("turbojpeg-q90", "torchcodec-q90")  # where they are installed

Say = Callable[[str], None]


@dataclass(frozen=True)
class Blocks:
    """What follows the main table; None leaves a block out. ``minutes``: for all, the main table included,
    without ``sustained``.
    """

    minutes: float = MINUTES
    stages: StageOptions | None = _STAGES
    throughput: ThroughputOptions | None = _THROUGHPUT
    threads: sweeps.Sweep | None = _THREADS
    equal: EqualOptions | None = _EQUAL
    sizes: sweeps.Sweep | None = _SIZES
    sustained: SustainedOptions | None = None
    loadgen_seconds: float = 0.0


def measure(
    bundles: Sequence[Bundle],
    options: lab.Options = LAPTOP,
    blocks: Blocks | None = None,
    *,
    command: str | None = None,
    say: Say = lambda line: None,
) -> Record:
    """A latency record of the default decoders of ``bundles`` with ``blocks``. Raises what measuring
    raises.
    """
    blocks = blocks or Blocks()
    end = time.monotonic() + (1 - _DECODING) * 60 * blocks.minutes
    cases = [default_case(bundle, threads) for bundle in bundles for threads in options.threads]
    single = [case for case in cases if case.threads == options.threads[0]]
    pictures = fitting.squares_for(bundles, None, PICTURES)
    options = replace(options, codecs=(*options.codecs, *_installed(OPTIONAL_CODECS)))
    found = lab.measure(bundles, pictures, options, cases=cases, command=command, say=say)
    found["left_out"] = []
    first = PictureSet(pictures.pictures[:2], pictures.source)
    small = _small(bundles, single[0], first)
    jobs: list[tuple[str, object, Callable[[], Any]]] = [
        ("stages", blocks.stages, lambda: _stages(bundles, single, first, blocks, say)),
        ("throughput", blocks.throughput, lambda: [_throughput(*small, blocks, say)]),
        ("thread_sweep", blocks.threads, lambda: sweeps.threads(single, blocks.threads or _THREADS, say)),
        (
            "equal",
            blocks.equal,
            lambda: equal.measure(single, first, blocks.equal, codecs=_EQUAL_CODECS, say=say),
        ),
        ("loadgen", blocks.loadgen_seconds, lambda: _single_streams(bundles, single, pictures, blocks, say)),
        ("sweep", blocks.sizes, lambda: _sizes(single, blocks, end, found["left_out"], say)),
        ("sustained", blocks.sustained, lambda: _sustained(*small, blocks, say)),
    ]
    for name, wanted, block in jobs:
        if wanted and name != "sustained" and time.monotonic() > end:
            found["left_out"].append(f"{name.replace('_', ' ')}: no time left")
        elif wanted:
            try:
                found[name] = block()
            except (RuntimeError, DecantError) as error:
                found["left_out"].append(f"{name.replace('_', ' ')}: {error}")
                say(found["left_out"][-1])
    found["machine"]["load_average_after"] = machine.load_average()
    found["machine"]["quiet_after"] = quiet.check().as_dict()
    return found


def _installed(labels: Sequence[str]) -> tuple[str, ...]:
    there = []
    for label in labels:
        try:
            CODECS[label.split("-q")[0]].prepare()
        except ImportError:
            continue
        there.append(label)
    return tuple(there)


def _small(
    bundles: Sequence[Bundle], case: BundleCase, pictures: PictureSet
) -> tuple[BundleCase, list[bytes], float]:
    """The case, the files of ``pictures`` for it, and the megapixels of one."""
    encoder = Encoder(next(bundle for bundle in bundles if str(bundle.path) == case.bundle))
    datas = [encoder.encode(picture.pixels, effort=sweeps.EFFORT) for picture in pictures.pictures]
    return case, datas, pictures.pictures[0].pixel_count / 1e6


def _stages(
    bundles: Sequence[Bundle], cases: Sequence[BundleCase], pictures: PictureSet, blocks: Blocks, say: Say
) -> list[Record]:
    runtimes = tuple({case.runtime for case in cases})
    codecs = [bundle for bundle in bundles if bundle.layout.name == "grid"]
    if not codecs:
        return []
    options = replace(blocks.stages or _STAGES, runtimes=runtimes)
    rows = breakdown.measure(codecs, pictures, options, say=say)["rows"]
    defaults = {(case.label, case.runtime) for case in cases}
    return [row for row in rows if (row["label"], row["runtime"]) in defaults]


def _throughput(case: BundleCase, datas: list[bytes], megapixels: float, blocks: Blocks, say: Say) -> Record:
    workers = tuple(sorted({1, 2, usable_cores()}))
    options = replace(blocks.throughput or _THROUGHPUT, workers=workers)
    return throughput.measure(case, datas, megapixels, options, say)


def _sizes(
    cases: Sequence[BundleCase], blocks: Blocks, end: float, left_out: list[str], say: Say
) -> list[Record]:
    sweep = blocks.sizes or _SIZES
    rows, missing = sweeps.sizes(cases, replace(sweep, end=sweep.end or end), say)
    left_out += missing
    return rows


def _sustained(case: BundleCase, datas: list[bytes], megapixels: float, blocks: Blocks, say: Say) -> Record:
    options = replace(blocks.sustained or SustainedOptions(), workers=usable_cores())
    return sustained.measure(case, datas, megapixels, options, say)


def _single_streams(
    bundles: Sequence[Bundle], cases: Sequence[BundleCase], pictures: PictureSet, blocks: Blocks, say: Say
) -> list[Record]:
    blocks_ = []
    for case in cases:
        say(f"MLPerf LoadGen, single stream: {case.label}")
        _, datas, _ = _small(bundles, case, pictures)
        blocks_.append(loadgen.measure(case.label, case.decoder().decode, datas, blocks.loadgen_seconds))
    return blocks_
